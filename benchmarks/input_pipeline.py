"""What an epoch takes beside the work: Keras' own reading of arrays and batches against kerasnas' way, on TensorFlow.

For each network and way of reading, wall-clock and CPU seconds of each epoch after the first, with validation. Keep the process
on one core, so that the two can be compared:

    taskset -c 0 python benchmarks/input_pipeline.py
"""

import argparse
import time
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasnas.search.batches import Batches, as_fast_input

BATCH = 64


class Clock(keras.callbacks.Callback):
    """Wall-clock and CPU seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.laps: list[tuple[float, float]] = []

    def on_epoch_begin(self, *_: Any) -> None:
        """Start both clocks."""
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, *_: Any) -> None:
        """Stop them."""
        self.laps.append((time.perf_counter() - self._start[0], time.process_time() - self._start[1]))


def network(convolutions: int) -> keras.Model:
    """Return a small convolutional network."""
    body = [layers.Conv2D(16, 5, activation="relu") for _ in range(convolutions)] or [layers.MaxPooling2D(4)]
    model = keras.Sequential([keras.Input((28, 28, 1)), *body, layers.Flatten(), layers.Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6400)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(options.samples, 28, 28, 1)).astype("float32")
    y = rng.integers(0, 10, options.samples)
    few = options.samples // 4
    valid = x[:few], y[:few]

    def batches(arrays: Any) -> Batches:
        return Batches(arrays, batch_size=BATCH, seed=0)

    ways = {
        "arrays": lambda: {"x": x, "y": y, "batch_size": BATCH, "validation_data": valid},
        "PyDataset": lambda: {"x": batches((x, y)), "validation_data": batches(valid)},
        "kerasnas": lambda: {"x": as_fast_input(batches((x, y))), "validation_data": as_fast_input(batches(valid))},
    }
    print("| convolutions | steps at once | read by | wall s per epoch | CPU s per epoch | wall / CPU |")
    print("|---|---|---|---|---|---|")
    for convolutions in (0, 1, 2):
        for steps in (1, 32):
            for name, arguments in ways.items():
                model, clock = network(convolutions), Clock()
                model.steps_per_execution = steps
                model.fit(**arguments(), epochs=options.epochs, shuffle=False, verbose=0, callbacks=[clock])
                wall, cpu = np.mean(clock.laps[1:], axis=0)
                print(f"| {convolutions} | {steps} | {name} | {wall:.2f} | {cpu:.2f} | {wall / cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
