"""How small and how fast one command makes a trained network: the whole way from its float file to the file to ship.

    TF_ENABLE_ONEDNN_OPTS=1 python benchmarks/compression_search.py

The network of benchmarks/compression.py learns Fashion-MNIST, or CIFAR-10 with --data cifar10. `compress` then looks for the
smallest (or fastest) file within so many points of accuracy: candidates are trained on what the original was trained on,
judged on a fifth of the training pictures that neither has seen, and the last word is that of 10,000 test pictures. All
figures are those of ONNX files in onnxruntime on one thread, timed in turns.
"""

import argparse
import time
from pathlib import Path

from compression import network, train
from image_search import data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["fashion", "cifar10"], default="fashion")
    parser.add_argument("--limit", type=int, default=12500, help="training pictures, of which a fifth is held out")
    parser.add_argument("--epochs", type=int, default=10, help="of the original")
    parser.add_argument("--goal", choices=["smallest", "fastest"], default="smallest")
    parser.add_argument("--max-loss", type=float, default=0.01)
    parser.add_argument("--max-bytes", type=float, help="largest file")
    parser.add_argument("--max-trials", type=int, default=12)
    parser.add_argument("--max-time", type=float, default=480, help="seconds of the search")
    parser.add_argument("--tuning", type=int, default=8, help="epochs of fine-tuning at most")
    parser.add_argument("--out", type=Path, default=Path("compression-search"))
    parser.add_argument("--overwrite", action="store_true", help="begin anew instead of resuming")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    import keras

    from kerasnas.compression_search import compress

    keras.utils.set_random_seed(options.seed)
    pairs, held_out, test = data(options.data, options.limit, options.seed)
    original = network(pairs[0])
    start = time.perf_counter()
    train(original, *pairs, options.epochs)
    print(f"the original learnt for {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    result = compress(
        original,
        *pairs,
        goal=options.goal,
        max_loss=options.max_loss,
        max_bytes=options.max_bytes,
        max_trials=options.max_trials,
        max_time=options.max_time,
        epochs=options.tuning,
        held_out=held_out,
        test=test,
        directory=options.out,
        overwrite=options.overwrite,
        seed=options.seed,
    )
    print(result)
    print(f"compressed in {time.perf_counter() - start:.0f} s; see {options.out}/compression.png")


if __name__ == "__main__":
    main()
