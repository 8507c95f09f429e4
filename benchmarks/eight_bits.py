"""What 8 bits, training for them, zeros and clusters are worth: LiteRT files of one network on Fashion-MNIST.

    TF_ENABLE_ONEDNN_OPTS=1 python benchmarks/eight_bits.py

A convolutional network (--width 8: some 15,000 parameters) learns Fashion-MNIST. Its LiteRT files are made in float32, float16,
int16 and int8, and in int8 after fine-tuning with the rounding simulated (QAT); so that it is not the fine-tuning itself that
is measured, the network is also fine-tuned in float32 for as many epochs at the same rate, and then written in int8. Then the
same after pruning to zeros and clustering. Accuracies are those of the files on 10,000 test pictures, agreement is with the
original network, bits are those of the file and of its gzip, latency is that of one picture on one thread in LiteRT, all files
in turn, the quietest of five rounds.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from compression import train
from image_search import data

ROUNDS = 5


def network(x: np.ndarray, width: int) -> Any:
    """Return the network, not trained."""
    import keras

    layers = keras.layers
    body = []
    for filters, pool in ((width, True), (2 * width, True), (4 * width, False), (4 * width, False)):
        body += [layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]
        body += [layers.MaxPooling2D()] if pool else []
    scale = layers.Rescaling(1 / float(x.std()), -float(x.mean() / x.std()))
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(10, activation="softmax")]
    return keras.Sequential([keras.Input(x.shape[1:]), scale, *body, *head])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=12500, help="training images, of which a fifth is left out")
    parser.add_argument("--epochs", type=int, default=8, help="of the original")
    parser.add_argument("--tuning", type=int, default=3, help="epochs of fine-tuning")
    parser.add_argument("--width", type=int, default=8, help="filters of the first layer")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    tables = [measure(options, seed) for seed in range(options.seeds)]
    print("| file | accuracy | agreement | kB | gzip kB | ms |")
    print("|---|---|---|---|---|---|")
    for name in tables[0]:
        rows = np.array([table[name] for table in tables])
        mean = rows.mean(axis=0)
        each = f" ({', '.join(f'{value:.4f}' for value in rows[:, 0])})" if len(rows) > 1 else ""
        print(f"| {name} | {mean[0]:.4f}{each} | {mean[1]:.4f} | {mean[2]:.1f} | {mean[3]:.1f} | {mean[4]:.3f} |")


def measure(options: argparse.Namespace, seed: int) -> dict[str, list[float]]:
    import keras

    from kerasnas.compress import cluster, prune, quantize_aware
    from kerasnas.export import benchmark, to_litert
    from kerasnas.litert import open_litert

    keras.utils.set_random_seed(seed)
    (x, y), _, (x_test, y_test) = data("fashion", options.limit, seed)
    original = network(x, options.width)
    train(original, x, y, options.epochs)
    original.compile(loss="sparse_categorical_crossentropy")
    tuning = {"epochs": options.tuning, "batch_size": 64, "seed": seed}
    tuned = keras.models.clone_model(original)
    tuned.set_weights(original.get_weights())
    rate = keras.optimizers.schedules.CosineDecay(5e-4, options.tuning * -(-len(x) // 64))
    tuned.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    tuned.fit(x, y, epochs=options.tuning, batch_size=64, verbose=0)
    sparse = prune(original, x, y, sparsity=0.7, **tuning)
    clustered = cluster(sparse, x, y, clusters=16, preserve_sparsity=True, **tuning)
    expected = original.predict(x_test, verbose=0).argmax(axis=1)

    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        # Whatever the loss: it is what is measured here.
        loose = {"max_loss": 1.0, "min_agreement": 0.0}

        def write(name: str, model: Any, format: str) -> None:
            files[name] = Path(folder, f"{len(files)}.tflite")
            calibration = {"calibration": x[:500], **loose} if format.startswith("int") else {}
            to_litert(model, files[name], format=format, x=x_test[:64], **calibration)

        def write_trained(name: str, model: Any, preserve_sparsity: bool) -> None:
            files[name] = Path(folder, f"{len(files)}.tflite")
            settings = {"validation_data": (x_test[:500], y_test[:500]), "preserve_sparsity": preserve_sparsity}
            quantize_aware(model, x, y, files[name], learning_rate=5e-4, **settings, **tuning, **loose)

        for format in ("float32", "float16", "int16", "int8"):
            write(f"the original, {format}", original, format)
        write_trained("trained for int8 (QAT)", original, False)
        write("fine-tuned in float32, float32", tuned, "float32")
        write("fine-tuned in float32, int8", tuned, "int8")
        write("pruned to 70 % zeros, float32", sparse, "float32")
        write("pruned to 70 % zeros, int8", sparse, "int8")
        write_trained("pruned, trained for int8 (PQAT)", sparse, True)
        write("pruned and clustered to 16 values, float32", clustered, "float32")
        write("pruned and clustered to 16 values, int8", clustered, "int8")
        rounds = [{name: benchmark(file) for name, file in files.items()} for _ in range(ROUNDS)]
        table = {}
        for name, file in files.items():
            session = open_litert(file)
            key = session.inputs[0][0]
            scores = [session.run({key: x_test[start : start + 100]})[0] for start in range(0, len(x_test), 100)]
            given = np.concatenate(scores).argmax(axis=1)
            latency = min((one[name] for one in rounds), key=lambda one: one.median_ms)
            kilobytes = [latency.size_bytes / 1000, latency.gzip_bytes / 1000]
            table[name] = [float(np.mean(given == y_test)), float(np.mean(given == expected)), *kilobytes, latency.median_ms]
    return table


if __name__ == "__main__":
    main()
