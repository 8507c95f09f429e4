"""What pruning of channels is worth: beside tfmot's zeros, and beside networks of the same size that are trained from scratch.

    TF_ENABLE_ONEDNN_OPTS=1 python benchmarks/compression.py --limit 12500 --epochs 10

A convolutional network of some 240,000 parameters learns Fashion-MNIST. For each ratio there are three small ones: its channels
pruned and fine-tuned with the original as a teacher; a network of that size with random weights and the same teacher, trained
for as many seconds as pruning took; and tfmot's pruning of the original to as many nonzero weights as the small one has. All
are exported to ONNX; accuracies are those of 10,000 test pictures, latencies those of one picture on one thread in onnxruntime,
all files in turn, the quietest of five rounds. At the end the file of each pruned network is quantised for size, and compared
with the original's.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from image_search import data

ROUNDS = 5
STATIC = ("S8S8", "S8S8 per tensor", "U8S8", "U8S8 reduce_range", "U8U8", "U8U8 percentile")  # dynamic ones are slow


def network(x: np.ndarray) -> Any:
    """Return the network to shrink, not trained."""
    import keras

    layers = keras.layers
    body = []
    for filters, pool in ((32, True), (64, True), (128, False), (128, False)):
        body += [layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]
        body += [layers.MaxPooling2D()] if pool else []
    scale = layers.Rescaling(1 / float(x.std()), -float(x.mean() / x.std()))
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input(x.shape[1:]), scale, *body, *head])


def train(model: Any, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """Train by Adam with half a cosine."""
    import keras

    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // 64))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=epochs, batch_size=64, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=12500, help="training images, of which a fifth is left out")
    parser.add_argument("--epochs", type=int, default=10, help="of the original")
    parser.add_argument("--tuning", type=int, default=6, help="epochs of fine-tuning")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.5, 0.5625, 0.625])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import keras

    from kerasnas.compress import from_scratch_control, prune, prune_channels
    from kerasnas.cost import cost_of
    from kerasnas.export import benchmark, quantize, to_onnx
    from kerasnas.export.session import open_session

    keras.utils.set_random_seed(options.seed)
    (x, y), _, (x_test, y_test) = data("fashion", options.limit, options.seed)
    original = network(x)
    train(original, x, y, options.epochs)
    tuned = {"epochs": options.tuning, "batch_size": 64, "seed": options.seed}
    models = {"the original": original}
    for ratio in options.ratios:
        start = time.perf_counter()
        pruned = prune_channels(original, x, y, ratio=ratio, distill=0.5, learning_rate=2e-3, **tuned)
        seconds = time.perf_counter() - start
        alike = {"teacher": original, "distill": 0.5, "batch_size": 64, "learning_rate": 2e-3, "seed": options.seed}
        scratch = from_scratch_control(pruned, x, y, (x_test, y_test), seconds=seconds, **alike).model
        zeros = prune(original, x, y, sparsity=1 - pruned.count_params() / original.count_params(), **tuned)
        models |= {f"pruned by {ratio:g}": pruned, f"its size from scratch ({seconds:.0f} s)": scratch}
        models[f"tfmot, as many weights as {ratio:g}"] = zeros

    def accuracy(file: Any) -> float:
        run, right = open_session(file), 0
        for start in range(0, len(x_test), 500):
            (answers,) = run.run({run.inputs[0][0]: x_test[start : start + 500]})
            right += int((answers.argmax(axis=1) == y_test[start : start + 500]).sum())
        return right / len(x_test)

    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Any] = {}
        for number, (name, model) in enumerate(models.items()):
            files[name] = to_onnx(model, Path(folder, f"{number}.onnx"), x=x_test[:64])
        for ratio in options.ratios:
            name = f"pruned by {ratio:g}"
            files[f"{name}, quantised"] = found = quantize(files[name], x[:1000], y=y[:1000], goal="size", formats=STATIC)
            print(f"{name}: {found.reason}", flush=True)
        rounds = [{name: benchmark(file) for name, file in files.items()} for _ in range(ROUNDS)]
        quietest = {name: min((one[name] for one in rounds), key=lambda latency: latency.median_ms) for name in files}
        base = quietest["the original"]
        print("| network | parameters | MACs | accuracy | kB | gzip kB | ms | smaller | faster |")
        print(f"|{'---|' * 9}")
        for name, file in files.items():
            model, latency = models.get(name), quietest[name]
            sizes = ["", ""] if model is None else [f"{model.count_params():,}", f"{cost_of(model).macs / 1e6:.2f}M"]
            figures = [f"{accuracy(file):.4f}", f"{latency.size_bytes / 1000:.0f}", f"{latency.gzip_bytes / 1000:.0f}"]
            ratios = [f"{base.size_bytes / latency.size_bytes:.1f}x", f"{base.median_ms / latency.median_ms:.1f}x"]
            print(f"| {name} | {' | '.join([*sizes, *figures, f'{latency.median_ms:.3f}', *ratios])} |")


if __name__ == "__main__":
    main()
