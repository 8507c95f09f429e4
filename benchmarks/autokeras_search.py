"""AutoKeras for `time_to_accuracy.py`, in a Python of its own that has autokeras, scikit-learn and Pillow.

    python -m venv autokeras-venv
    autokeras-venv/bin/pip install autokeras==3.0.0 keras==3.6.0 tensorflow==2.18.0 scikit-learn pillow
    python benchmarks/time_to_accuracy.py --limit 10000 --methods AutoKeras --autokeras autokeras-venv/bin/python

With Keras 3.15, which takes no NumPy integer for the units of a layer, AutoKeras 3.0 cannot build a network. It searches a
space of its own, with the epochs, batch size and patience of the others, until the time is over, and is not let train its
winner once more: when a trial has ended, the network of the best trial is tested. An epoch of its larger networks may take
longer than the whole budget, so that a trial under way ends with a batch, and does not count before its first epoch.
"""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import autokeras
import keras
import numpy as np
from autokeras.pipeline import load_pipeline
from autokeras.tuners.task_specific import ImageClassifierTuner
from followed_tuner import TimedTuner
from image_search import BATCH, EPOCHS, PATIENCE, Clock, arguments, data


def run(name: str, limit: int | None, budget: float, seed: int) -> dict[str, Any]:
    """Run one search; return the incumbent's test accuracy at the end of each trial."""
    train, valid, test = data(name, limit, seed)

    class Timed(TimedTuner, ImageClassifierTuner):
        def on_batch_end(self, trial: Any, model: Any, batch: int, logs: Any = None) -> None:
            super().on_batch_end(trial, model, batch, logs)
            if self.clock.seconds >= self.budget:
                if not model.history.epoch:
                    raise TimeoutError
                model.stop_training = True

        def test_accuracy(self, trial: Any) -> float:
            pipeline = load_pipeline(self._pipeline_path(trial.trial_id))
            x = pipeline.transform_x(searcher._adapt(test[0], searcher.inputs))
            guesses = pipeline.postprocess(self.get_best_models()[0].predict(x, batch_size=256, verbose=0))
            return float(np.mean(np.asarray(guesses).reshape(-1).astype(int) == test[1]))

    Timed.points, Timed.clock, Timed.budget = [], Clock(), budget
    with tempfile.TemporaryDirectory() as folder:
        searcher = autokeras.ImageClassifier(
            max_trials=10_000, objective="val_accuracy", tuner=Timed, directory=folder, seed=seed + 1
        )
        stop = keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max", patience=PATIENCE)
        with suppress(TimeoutError):
            searcher.fit(*train, validation_data=valid, epochs=EPOCHS, batch_size=BATCH, callbacks=[stop], verbose=0)
    return {"points": Timed.points, "seconds": Timed.clock.seconds, "fit_seconds": None}


def main() -> None:
    options, _ = arguments(__doc__, Path()).parse_known_args()
    options.run.write_text(json.dumps(run(options.data, options.limit, options.budget, options.seeds)), encoding="utf-8")


if __name__ == "__main__":
    main()
