"""AutoKeras for `time_to_accuracy.py`, in a Python of its own that has autokeras, scikit-learn and Pillow.

    python -m venv autokeras-venv
    autokeras-venv/bin/pip install autokeras==3.0.0 keras==3.6.0 tensorflow==2.18.0 scikit-learn pillow
    python benchmarks/time_to_accuracy.py --limit 10000 --methods AutoKeras --autokeras autokeras-venv/bin/python

With Keras 3.15 every trial of AutoKeras 3.0 fails, since it takes no NumPy integer for the units of a layer. It searches a
space of its own, with the epochs, batch size and patience of the others, until the time is over, and is not let
train its winner once more: when a trial has ended, the network of the best trial is tested.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import autokeras
import keras
import numpy as np
from autokeras.pipeline import load_pipeline
from autokeras.tuners.task_specific import ImageClassifierTuner
from image_search import BATCH, EPOCHS, PATIENCE, Clock, arguments, data


def run(name: str, limit: int | None, budget: float, seed: int) -> dict[str, Any]:
    """Run one search; return the incumbent's test accuracy at the end of each trial."""
    train, valid, test = data(name, limit, seed)
    points: list[dict[str, Any]] = []
    clock = Clock()

    class Timed(ImageClassifierTuner):  # type: ignore[misc]
        def pre_create_trial(self) -> None:
            if clock.seconds >= budget:
                raise TimeoutError

        def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(trial, model, epoch, logs)
            model.stop_training = model.stop_training or clock.seconds >= budget

        def on_trial_end(self, trial: Any) -> None:
            super().on_trial_end(trial)
            clock.without(self.note)

        def note(self) -> None:
            best = [t for t in self.oracle.get_best_trials(1) if t.status == "COMPLETED"]
            accuracy = points[-1]["test"] if points else None
            if best and (not points or points[-1]["trial"] != best[0].trial_id):
                pipeline = load_pipeline(self._pipeline_path(best[0].trial_id))
                x = pipeline.transform_x(searcher._adapt(test[0], searcher.inputs))
                guesses = pipeline.postprocess(self.get_best_models()[0].predict(x, batch_size=256, verbose=0))
                accuracy = float(np.mean(np.asarray(guesses).reshape(-1).astype(int) == test[1]))
            trial, score = (best[0].trial_id, best[0].score) if best else (None, None)
            points.append({"seconds": clock.seconds, "test": accuracy, "trial": trial, "valid": score})
            print(
                f"  {clock.seconds:7.1f} s  {len(points):>3} trials  valid {score}  test {accuracy}",
                file=sys.stderr,
                flush=True,
            )

    with tempfile.TemporaryDirectory() as folder:
        searcher = autokeras.ImageClassifier(
            max_trials=10_000, objective="val_accuracy", tuner=Timed, directory=folder, seed=seed + 1
        )
        stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
        try:
            searcher.fit(*train, validation_data=valid, epochs=EPOCHS, batch_size=BATCH, callbacks=[stop], verbose=0)
        except TimeoutError:
            pass
    return {"points": points, "seconds": clock.seconds, "fit_seconds": None}


def main() -> None:
    options, _ = arguments(__doc__, Path()).parse_known_args()
    options.run.write_text(json.dumps(run(options.data, options.limit, options.budget, options.seeds)), encoding="utf-8")


if __name__ == "__main__":
    main()
