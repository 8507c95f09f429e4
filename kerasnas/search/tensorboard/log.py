"""The log of a whole search for TensorBoard."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from kerasnas.errors import InvalidArgument
from kerasnas.event_files import RunFile, images_summary
from kerasnas.search.tensorboard.hparams import STATUSES, begin_summary, end_summary, experiment_summary
from kerasnas.search.tensorboard.trial_callback import TrialCallback

__all__ = ["TensorBoardLog"]


class TensorBoardLog:
    """Writes what `tensorboard --logdir folder` shows of a search, on every backend and without TensorFlow.

    The folder of a trial is a run with its row in the HParams table, its graph and its final metrics, whose step is the number
    of the trial, from 1, so that a chart over the trials comes about. Below it are the runs of its trainings: `train` and
    `validation` (`execution_1/train`, ... for later ones) with a scalar `epoch_...` for each metric, which TensorBoard draws
    in one chart, and histograms of weights and gradients. The run `incumbent` holds images.

    Several processes may write to one folder, and a search that is resumed goes on in it.

    Args:
        folder: where the log goes; made at the first write.
        space: configuration of every hyperparameter, as in `SearchRecord.space`.
        objectives: names of the objectives, which become the first columns of the metrics.
    Raises:
        InvalidArgument: for a kind of hyperparameter that is not KerasTuner's.
    Example:
        >>> log = TensorBoardLog("search/tensorboard", space=record.space, objectives=["val_accuracy"])  # doctest: +SKIP
        >>> model.fit(x, y, callbacks=[log.callback("0000", values, x_batch=x[:32], y_batch=y[:32])])  # doctest: +SKIP
        >>> log.end_trial("0000", values, {"val_accuracy": 0.9, "parameters": 1234}, "COMPLETED")  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path, *, space: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> None:
        if isinstance(objectives, str):
            raise InvalidArgument(f"Expected a list of names for `objectives`, got {objectives!r}. Pass [{objectives!r}].")
        self._folder, self._space = Path(folder), list(space)
        self._metrics = list(dict.fromkeys(objectives))
        self._declared = False
        experiment_summary(self._space, self._metrics)  # checks the space
        self._images: RunFile | None = None

    def callback(
        self,
        trial_id: str,
        values: Mapping[str, Any],
        execution: int = 0,
        *,
        x_batch: Any = None,
        y_batch: Any = None,
        first_epoch: int = 0,
    ) -> keras.callbacks.Callback:
        """Return the callback that logs one training.

        Args:
            trial_id: name of the trial's folder, such as "0003".
            values: active hyperparameters, which are read when the training begins.
            execution: index of the training within the trial, >= 0.
            x_batch: inputs for the histograms of gradients, as the model takes them; at most 32 rows are used. None logs no
                gradients.
            y_batch: their labels.
            first_epoch: as `initial_epoch` of `fit`: > 0 for a training that goes on after an interruption. What was logged of
                this epoch and later ones is then replaced.
        Raises:
            InvalidArgument: for a trial_id that is no name of a folder, or a negative number.
        """
        self._check_trial(trial_id)
        for name, number in (("execution", execution), ("first_epoch", first_epoch)):
            if number < 0:
                raise InvalidArgument(f"Expected `{name}` to be at least 0, got {number}. It counts from 0.")
        return TrialCallback(
            self._folder / trial_id,
            partial(begin_summary, trial_id, values),
            execution=execution,
            x_batch=x_batch,
            y_batch=y_batch,
            first_epoch=first_epoch,
        )

    def end_trial(self, trial_id: str, values: Mapping[str, Any], metrics: Mapping[str, Any], status: str) -> None:
        """Write the final row of a trial, whether or not it was trained.

        Args:
            trial_id: as for `callback`.
            values: active hyperparameters.
            metrics: whatever describes the trial, such as score, parameters, macs, latency_ms; None and numbers that are not
                finite are left out.
            status: "COMPLETED", "FAILED" or "INVALID".
        Raises:
            InvalidArgument: for another status, or a trial_id that is no name of a folder.
        """
        self._check_trial(trial_id)
        if status not in STATUSES:
            raise InvalidArgument(f"Expected a status among {', '.join(STATUSES)}, got {status!r}. Pass trial.status.")
        shown = {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
        number = int(trial_id) + 1 if trial_id.isdecimal() else 1
        scalars = [scalar_pb(name, value) for name, value in shown.items()]
        # From step 1: what the callback wrote at step 0 stays.
        RunFile(self._folder / trial_id, 1).write(number, [begin_summary(trial_id, values), *scalars, end_summary(status)])
        self._declare(shown)

    def images(self, tag: str, images: NDArray[np.uint8], step: int) -> None:
        """Write images to the run `incumbent`.

        Args:
            tag: name in TensorBoard, such as "grad_cam".
            images: shape (n, height, width, channels) with 1, 3 or 4 channels, uint8.
            step: number of the trial whose model they are of, >= 0.
        Raises:
            InvalidArgument: for images of another shape or type.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
            raise InvalidArgument(
                "Expected images of shape (n, height, width, channels), 1, 3 or 4 channels, uint8; "
                f"got shape {images.shape}, {images.dtype}. Scale them to 0 to 255 and cast them."
            )
        if self._images is None:
            self._images = RunFile(self._folder / "incumbent", step)
        self._images.write(step, [images_summary(tag, images)])

    def _declare(self, metrics: Mapping[str, float]) -> None:
        """Write the columns of the table once the metrics are known, and again when there are more of them."""
        new = [name for name in metrics if name not in self._metrics]
        if (self._declared and not new) or not metrics:
            return
        self._metrics += new
        self._declared = True
        RunFile(self._folder).write(0, [experiment_summary(self._space, self._metrics)])

    @staticmethod
    def _check_trial(trial_id: str) -> None:
        if trial_id in ("", "..") or Path(trial_id).name != trial_id:
            raise InvalidArgument(f"Expected a trial_id that can name a folder, got {trial_id!r}. Pass trial.trial_id.")
