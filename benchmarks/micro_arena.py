"""What LiteRT files need on a microcontroller: the kernels of TensorFlow Lite Micro, built for this computer.

    python benchmarks/micro_arena.py --make micro          # trains on scikit-learn's digits and writes the files
    python -m venv micro-env && micro-env/bin/pip install tflite-micro==0.dev20261023182759 numpy
    micro-env/bin/python benchmarks/micro_arena.py --run micro

The second half needs no TensorFlow. It prints for each file its size, the accuracy on 497 digits and the arena that the
interpreter uses: the memory for activations and its own records, beside the file, which stays in flash.
"""

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def make(folder: Path) -> None:
    """Train a network of 11,000 parameters and write it in several formats, with the digits to try it on."""
    import keras
    from sklearn.datasets import load_digits

    from kerasnas.compress import quantize_aware
    from kerasnas.export import to_litert

    layers = keras.layers
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    x, y = digits.images.astype("float32")[..., None], digits.target
    keras.utils.set_random_seed(0)
    body = [
        layers.Rescaling(1 / 8, -1),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(32, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *body])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x[:1300], y[:1300], epochs=8, verbose=0)
    for format in ("float32", "int16", "int8"):
        calibration = None if format == "float32" else x[:300]
        settings = {"format": format, "calibration": calibration, "x": x[1300:], "y": y[1300:]}
        to_litert(model, folder / f"{format}.tflite", batch_size=1, **settings)
    held = (x[1300:], y[1300:])
    quantize_aware(model, x[:1300], y[:1300], folder / "int8, trained for it.tflite", validation_data=held, seed=0)
    np.savez(folder / "digits.npz", x=x[1300:], y=y[1300:])


def run(folder: Path) -> None:
    """Run the files as a microcontroller would."""
    from tflite_micro import runtime

    digits = np.load(folder / "digits.npz")
    print("| file | kB | accuracy | arena, bytes |\n|---|---|---|---|")
    for path in sorted(folder.glob("*.tflite"), key=lambda path: -path.stat().st_size):
        interpreter = runtime.Interpreter.from_file(str(path))
        given = interpreter.get_input_details(0)
        scale, zero = (given["quantization_parameters"][key] for key in ("scales", "zero_points"))
        right = 0
        for row, label in zip(digits["x"], digits["y"], strict=True):
            if len(scale):
                limits = np.iinfo(given["dtype"])
                row = np.clip(np.round(row / scale[0] + zero[0]), limits.min, limits.max)
            interpreter.set_input(row[None].astype(given["dtype"]), 0)
            interpreter.invoke()
            right += int(interpreter.get_output(0)[0].argmax() == label)
        with _standard_error() as lines:
            interpreter.print_allocations()
        arena = int(re.findall(r"Arena allocation total (\d+) bytes", "".join(lines))[0])
        print(f"| {path.stem} | {path.stat().st_size / 1000:.1f} | {right / len(digits['y']):.4f} | {arena:,} |")


@contextlib.contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Gather what is printed from C++ within the block."""
    lines: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile("w+") as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sink.seek(0)
            lines += sink.readlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=Path, help="folder to write the files into")
    parser.add_argument("--run", type=Path, help="folder of the files")
    options = parser.parse_args()
    if options.make:
        make(options.make)
    if options.run:
        run(options.run)


if __name__ == "__main__":
    main()
