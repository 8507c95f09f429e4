"""What the tuner itself costs: time outside of Keras' own work, and memory over many trials.

    python benchmarks/engine_overhead.py --trials 200
    python benchmarks/engine_overhead.py --trials 200 --isolate --side 48 --width 128 --epochs 1 --samples 300

Small networks are searched on random pictures. Of the time of the search, on the wall and of the
CPU, which other work on the machine changes less, it tells the share spent outside of the HyperModel's `fit`, and the share
spent inside it in callbacks of the tuner; of memory, what the process holds after each trial and how much that grows from the
first quarter of the trials to the last. With `--isolate` the trials have a process of their own, which is renewed when it has
grown, and only the memory of both is told.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
import psutil
from keras import layers

from kerasnas.oracles import DynaOracle
from kerasnas.record import SearchRecord
from kerasnas.search import NASTuner, best_epoch, fit_input, resumable_fit, trial_training

# Wall-clock and CPU seconds.
IN_CALLBACKS, IN_FIT = np.zeros(2), np.zeros(2)


def resident_mib() -> tuple[float, float]:
    """Return the memory that this process and that of its trials hold, MiB."""
    own = psutil.Process()
    children = [child.memory_info().rss for child in own.children() if "loky.backend.popen" in " ".join(child.cmdline())]
    return own.memory_info().rss / 2**20, max(children, default=0) / 2**20


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


class Networks(kt.HyperModel):
    """Networks of one to three convolutions of 4 to `width` filters on pictures of `side` pixels."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side, self.width = side, width

    def build(self, hp: Any) -> keras.Model:
        """Build one."""
        model = keras.Sequential([keras.Input((self.side, self.side, 1))])
        for i in range(hp.Int("convolutions", 1, 3)):
            model.add(layers.Conv2D(hp.Int(f"filters_{i}", 4, self.width), 3, activation="relu", padding="same"))
        model.add(layers.Flatten())
        model.add(layers.Dense(4, activation="softmax"))
        rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class Watched(NASTuner):
    """Notes the memory after each trial."""

    memory: list[tuple[float, float]]

    def on_trial_end(self, trial: Any) -> None:
        """End the trial, then look."""
        super().on_trial_end(trial)
        self.memory.append(resident_mib())
        if len(self.memory) % 10 == 0:
            own, child = self.memory[-1]
            print(f"  {len(self.memory)} trials, {own:.0f} + {child:.0f} MiB", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--isolate", action="store_true")
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
    x = rng.normal(size=(options.samples, options.side, options.side, 1)).astype("float32")
    y = (np.abs(x).mean(axis=(1, 2, 3)) * 1e3).astype("int64") % 4
    valid = x[: options.samples // 5], y[: options.samples // 5]
    with tempfile.TemporaryDirectory() as folder:
        oracle = DynaOracle(objective="val_accuracy", max_trials=options.trials, seed=0)
        networks = Networks(options.side, options.width)
        settings = {"stopping": "learning-curve", "directory": folder, "project_name": "p", "isolate": options.isolate}
        tuner = Watched(networks, oracle, **settings)
        tuner.memory = []
        if not options.isolate:  # what is timed cannot be sent to another process
            tuner.hypermodel.fit = timed(tuner.hypermodel.fit, IN_FIT)
        start = now()
        tuner.search(x, y, validation_data=valid, epochs=options.epochs, batch_size=32, verbose=0)
        seconds = now() - start
        trials = SearchRecord.load(Path(folder) / "p").trials
    memory, quarter = np.array(tuner.memory), max(len(trials) // 4, 1)
    for name, whole, fit, callbacks in zip(("wall", "CPU"), seconds, IN_FIT, IN_CALLBACKS, strict=True):
        if not options.isolate:
            print(
                f"{len(trials)} trials, {whole:.0f} s of {name} time, {whole / len(trials):.2f} s a trial; outside of fit "
                f"{1 - fit / whole:.1%}, in the tuner's callbacks within fit {callbacks / whole:.1%}"
            )
    for name, held in zip(("search", "trials"), memory.T, strict=True):
        first, last = held[:quarter].mean(), held[-quarter:].mean()
        print(
            f"process of the {name}: {held[0]:.0f} MiB after the first trial, {held[-1]:.0f} after the last, "
            f"{held.max():.0f} at most; mean of the first quarter {first:.0f}, of the last {last:.0f}"
        )


if __name__ == "__main__":
    main()
