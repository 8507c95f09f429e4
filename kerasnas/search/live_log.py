"""The TensorBoard logs of a search: what its tuner knows, as `TensorBoardLog` wants it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.trial_callback import TrialCallback

__all__ = ["LiveLog"]

_PICTURES = 4


class LiveLog:
    """Logs every trial of a search, and what the incumbent looks at.

    Args:
        tuner: the `NASTuner`.
    """

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner
        self._pictures: np.ndarray | None = None
        self._incumbent: str | None = None

    def training(self, trial: Any, execution: int, first_epoch: int) -> TrialCallback:
        """Return the callback of one training, which logs from `first_epoch` on."""
        return self._log().callback(trial.trial_id, trial.hyperparameters.values, execution, first_epoch=first_epoch)

    def look_at(self, fit_args: Any, fit_kwargs: Any) -> None:
        """Take the pictures that the incumbent is explained on: the first ones of the validation data."""
        validation = fit_kwargs.get("validation_data")
        x = validation[0] if isinstance(validation, tuple | list) else fit_kwargs.get("x", fit_args[0] if fit_args else None)
        if isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[-1] in (1, 3):
            self._pictures = x[:_PICTURES]

    def end_trial(self, trial: Any) -> None:
        """Write the row of a trial that has ended, and pictures if it is the new incumbent."""
        metrics = {name: history.get_last_value() for name, history in trial.metrics.metrics.items()}
        status = trial.status if trial.status in ("COMPLETED", "FAILED", "INVALID") else "FAILED"
        log = self._log()
        log.end_trial(trial.trial_id, trial.hyperparameters.values, {**metrics, "score": trial.score}, status)
        best = self._tuner.checkpoints.ranked()
        if best and best[0].trial_id != self._incumbent:
            self._incumbent = best[0].trial_id
            self._explain(log, best[0])

    def _explain(self, log: TensorBoardLog, trial: Any) -> None:
        # tf-explain, the engine of the maps, needs TensorFlow.
        if self._pictures is None or keras.backend.backend() != "tensorflow":
            return
        from kerasnas.errors import InvalidArgument
        from kerasnas.explain import grad_cam

        try:
            attribution = grad_cam(self._tuner.load_model(trial), self._pictures)
        except InvalidArgument:
            return  # a network that has no feature maps to look at
        log.images("grad_cam", attribution.to_image(), int(trial.trial_id) + 1 if trial.trial_id.isdecimal() else 1)

    def _log(self) -> TensorBoardLog:
        objective = self._tuner.oracle.objective
        names = [part.name for part in getattr(objective, "objectives", [objective])]
        space = self._tuner.oracle.get_space().space
        entries = [{"kind": type(hp).__name__, **hp.get_config()} for hp in space]
        return TensorBoardLog(Path(self._tuner.project_dir) / "tensorboard", space=entries, objectives=names)
