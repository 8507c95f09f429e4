"""Kill one search with SIGKILL at random instants, again and again, and compare it with one that was never killed.

    python benchmarks/crash_safety.py --kills 50

Every process runs the same script: a search for small networks that really train. When the last one has ended, the killed
search must have the trials of the other one, with the same scores, curves and weights; no finished trial may ever have
changed, and no epoch that a trial's file knew to be finished may have been trained again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from kerasnas.record import SearchRecord

SCRIPT = """
import sys
import keras, numpy as np
from keras import layers
from kerasnas.oracles import DynaOracle
from kerasnas.search import NASTuner

project, trials, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
x = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
y = (np.abs(x).sum(axis=1) > 4.5).astype("int32")

def build(hp):
    stack = [layers.Dense(hp.Int("units", 2, 24), activation=hp.Choice("activation", ["relu", "tanh"]))]
    if hp.Boolean("dropout"):
        stack.append(layers.Dropout(0.2))
    model = keras.Sequential([keras.Input((6,)), *stack, layers.Dense(2, activation="softmax")])
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

class Log(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        import time
        with open(project + ".log", "a") as log:
            log.write(f"{epoch} {logs['val_loss']!r}\\n")
        time.sleep(pause)

print("begin", flush=True)
tuner = NASTuner(
    build,
    DynaOracle(objective="val_loss", max_trials=trials, seed=3),
    stopping="asha",
    inherit=True,
    directory=".",
    project_name=project,
)
tuner.search(x, y, validation_data=(x, y), epochs=4, batch_size=16, callbacks=[Log()], verbose=0)
"""


def start(folder: Path, project: str, trials: int, pause: float) -> subprocess.Popen[str]:
    """Start a process that runs, or goes on with, the search `project`; it sleeps `pause` seconds after each epoch."""
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", SCRIPT, project, str(trials), str(pause)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 600) -> None:
    """Wait until a process has ended well."""
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    if process.returncode != 0:
        raise RuntimeError(errors)


def outcome(folder: Path) -> list[dict[str, Any]]:
    """Return all that is to be the same."""
    names = ("trial_id", "status", "score", "best_epoch", "values", "metrics", "curves")
    return [{name: getattr(trial, name) for name in names} for trial in SearchRecord.load(folder).trials]


def finished(folder: Path) -> dict[str, Any]:
    """Return the trials that a reader of the files sees as completed."""
    states = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("trial_*/trial.json"))]
    return {s["trial_id"]: (s["score"], s["hyperparameters"]["values"]) for s in states if s["status"] == "COMPLETED"}


def weights(folder: Path) -> dict[str, bytes]:
    """Return the checkpoints that are kept."""
    import h5py

    kept = {}
    for file in sorted(folder.glob("trial_*/checkpoint.weights.h5")):
        arrays: list[bytes] = []
        with h5py.File(file) as content:
            content.visititems(partial(_append, arrays))
        kept[file.parent.name] = b"".join(arrays)
    return kept


def _append(arrays: list[bytes], _: str, item: Any) -> None:
    if hasattr(item, "dtype"):  # not a group
        arrays.append(item[()].tobytes())


def states(folder: Path) -> dict[Path, int]:
    """Return the files of trials that are under way, and when they were written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("trial_*/epoch_state.npz")}


def known_epochs(folder: Path) -> set[str]:
    """Return the lines of the log for the epochs that the files of trials under way know to be finished."""
    import numpy as np

    lines = set()
    for file in states(folder):
        with np.load(file) as content:
            runs = json.loads(str(content["content"]))["history"]["executions"]
        lines |= {f"{epoch} {value!r}" for run in runs for epoch, value in enumerate(run["val_loss"])}
    return lines


def logged(file: Path) -> list[str]:
    """Return the lines of a log, which is made with the first epoch."""
    return file.read_text("utf-8").splitlines() if file.exists() else []


def crash_safety(
    folder: Path, *, kills: int, trials: int, span: float, pause: float, say: Any = lambda _: None
) -> dict[str, Any]:
    """Run a search that is killed `kills` times, and one that is not.

    It is killed within `span` seconds of its begin, and every second time of an epoch that it has kept: within a trial.

    Raises:
        AssertionError: if anything was lost or done twice.
    """
    finish(start(folder, "whole", trials, 0.0))
    chance, before, latest, known = random.Random(0), {}, 0, []
    killed, resumed = folder / "killed", 0
    for number in range(kills):
        earlier = states(killed)
        process = start(folder, "killed", trials, pause)
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        after = chance.uniform(0.0, span)
        while number % 2 and process.poll() is None and states(killed).items() <= earlier.items():
            time.sleep(0.005)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        now = finished(killed) if killed.exists() else {}
        assert before.items() <= now.items(), "a finished trial was lost or changed"
        under_way = list(killed.glob("trial_*/epoch_state.npz"))
        resumed += bool(under_way)
        known.append((len(logged(folder / "killed.log")), known_epochs(killed)))
        before, latest = now, number + 1
        say(f"kill {latest:>3} after {after:5.2f} s: {len(now)} of {trials} trials are finished, {len(under_way)} under way")
    finish(start(folder, "killed", trials, 0.0))

    assert outcome(killed) == outcome(folder / "whole"), "the trials are not those of the search that was not killed"
    assert weights(killed) == weights(folder / "whole"), "the weights that are kept are others"
    ran = {name: logged(folder / f"{name}.log") for name in ("whole", "killed")}
    again = len(ran["killed"]) - len(ran["whole"])
    assert set(ran["killed"]) == set(ran["whole"]), "an epoch had another result"
    assert not any(lines & set(ran["killed"][done:]) for done, lines in known), "an epoch that was kept was trained again"
    # Only an epoch that ended but was not yet on the disk is trained again: at most one for each kill.
    assert 0 <= again <= kills, f"{again} epochs were trained twice"
    return {
        "kills": kills,
        "trials": trials,
        "epochs": len(ran["whole"]),
        "epochs trained again": again,
        "within a trial": resumed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=25)
    parser.add_argument(
        "--span", type=float, default=8.0, help="a process is killed within so many seconds of its begin or an epoch"
    )
    parser.add_argument("--pause", type=float, default=0.2, help="seconds of sleep after each epoch of a search that is killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"kills": options.kills, "trials": options.trials, "span": options.span, "pause": options.pause}
        result = crash_safety(Path(folder), **settings, say=lambda text: print(text, flush=True))
    print("the same trials, scores, curves and weights as the search that was not killed")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
