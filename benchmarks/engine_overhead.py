"""What the tuner itself costs: time outside of Keras' own work, and memory over many trials.

    python benchmarks/engine_overhead.py --trials 200

Small networks are searched on random pictures. Of the time of the search, on the wall and of the
CPU, which other work on the machine changes less, it tells the share spent outside of the HyperModel's `fit`, and the share
spent inside it in callbacks of the tuner; of memory, what the process holds after each trial and how much that grows from the
first quarter of the trials to the last.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasnas.oracles import DynaOracle
from kerasnas.record import SearchRecord
from kerasnas.search import NASTuner, best_epoch, fit_input, resumable_fit, trial_training

# Wall-clock and CPU seconds.
IN_CALLBACKS, IN_FIT = np.zeros(2), np.zeros(2)


def resident_mib() -> float:
    """Return the memory that this process holds, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def now() -> np.ndarray:
    """Return wall-clock and CPU seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(function: Callable[..., Any], spent: np.ndarray) -> Callable[..., Any]:
    """Return `function`, whose time is added to `spent`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = now()
        try:
            return function(*args, **kwargs)
        finally:
            spent[:] += now() - start

    return call


def build(hp: Any) -> keras.Model:
    """A network of one to three convolutions."""
    model = keras.Sequential([keras.Input((16, 16, 1))])
    for i in range(hp.Int("convolutions", 1, 3)):
        model.add(layers.Conv2D(hp.Int(f"filters_{i}", 4, 32), 3, activation="relu", padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(4, activation="softmax"))
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Watched(NASTuner):
    """Notes the memory after each trial."""

    memory: list[float]

    def on_trial_end(self, trial: Any) -> None:
        """End the trial, then look."""
        super().on_trial_end(trial)
        self.memory.append(resident_mib())
        if len(self.memory) % 10 == 0:
            print(f"  {len(self.memory)} trials, {self.memory[-1]:.0f} MiB", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    hooks = {
        trial_training._EpochHooks: ("on_epoch_begin", "on_epoch_end"),
        trial_training._Clock: ("on_train_batch_end",),
        fit_input._Steady: ("on_epoch_begin",),
        resumable_fit._Keeper: ("on_train_begin", "on_epoch_end"),
        best_epoch.BestEpoch: ("on_epoch_end",),
    }
    for kind, names in hooks.items():
        for name in names:
            setattr(kind, name, timed(getattr(kind, name), IN_CALLBACKS))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.samples, 16, 16, 1)).astype("float32")
    y = (np.abs(x).mean(axis=(1, 2, 3)) * 1e3).astype("int64") % 4
    valid = x[: options.samples // 5], y[: options.samples // 5]
    with tempfile.TemporaryDirectory() as folder:
        oracle = DynaOracle(objective="val_accuracy", max_trials=options.trials, seed=0)
        tuner = Watched(build, oracle, stopping="learning-curve", directory=folder, project_name="p")
        tuner.memory = []
        tuner.hypermodel.fit = timed(tuner.hypermodel.fit, IN_FIT)
        start = now()
        tuner.search(x, y, validation_data=valid, epochs=options.epochs, batch_size=32, verbose=0)
        seconds = now() - start
        trials = SearchRecord.load(Path(folder) / "p").trials
    memory, quarter = np.array(tuner.memory), max(len(trials) // 4, 1)
    first, last = memory[:quarter].mean(), memory[-quarter:].mean()
    for name, whole, fit, callbacks in zip(("wall", "CPU"), seconds, IN_FIT, IN_CALLBACKS, strict=True):
        print(
            f"{len(trials)} trials, {whole:.0f} s of {name} time, {whole / len(trials):.2f} s a trial; outside of fit "
            f"{1 - fit / whole:.1%}, in the tuner's callbacks within fit {callbacks / whole:.1%}"
        )
    print(f"memory after the first trial {memory[0]:.0f} MiB, after the last {memory[-1]:.0f} MiB")
    growth = (last - first) / len(trials)
    print(f"mean of the first quarter {first:.0f} MiB, of the last {last:.0f} MiB: {growth:+.2f} MiB a trial")


if __name__ == "__main__":
    main()
