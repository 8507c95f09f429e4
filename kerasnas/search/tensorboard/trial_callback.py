"""What is logged while one model trains."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from kerasnas.event_files import RunFile, histogram_summary
from kerasnas.search.tensorboard.gradients import LossGradients
from kerasnas.search.tensorboard.model_graph import model_graph
from kerasnas.search.trial_history import as_number

__all__ = ["TrialCallback"]

_ROWS = 32


class TrialCallback(keras.callbacks.Callback):
    """Logs one training; made by `TensorBoardLog.callback`.

    It never changes the training: neither weights nor random states.

    Args:
        folder: the run of the trial.
        begin: makes the trial's row in the HParams table once the training begins: a build may have found new hyperparameters.
        execution: index of the training within the trial.
        x_batch: inputs for the gradients, or None.
        y_batch: their labels.
        first_epoch: the first epoch that will be logged.
    """

    def __init__(
        self, folder: Path, begin: Callable[[], Summary], *, execution: int, x_batch: Any, y_batch: Any, first_epoch: int
    ) -> None:
        super().__init__()
        training = folder / f"execution_{execution}" if execution else folder
        self._trial = None if execution else RunFile(folder)
        self._train, self._validation = (RunFile(training / name, first_epoch) for name in ("train", "validation"))
        self._begin = begin
        self._gradients: LossGradients | None = None
        self._batch: Any = None
        if x_batch is not None:
            self.watch(x_batch, y_batch)

    def watch(self, x_batch: Any, y_batch: Any) -> None:
        """Take the batch whose gradients are logged, as `fit` gets it."""
        self._batch = keras.tree.map_structure(lambda part: part[:_ROWS], (x_batch, y_batch))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Write the trial's row and its graph."""
        if self._trial:
            self._trial.write(0, [self._begin()], graph=model_graph(self.model))
            self._trial = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the metrics of the epoch, the weights after it, and the gradients of a batch."""
        train: list[Summary] = []
        validation: list[Summary] = []
        for name, value in (logs or {}).items():
            runs = validation if name.startswith("val_") else train
            runs.append(scalar_pb(f"epoch_{name.removeprefix('val_')}", as_number(value)))
        if self.model.optimizer is not None and "learning_rate" not in (logs or {}):
            train.append(scalar_pb("epoch_learning_rate", float(self.model.optimizer.learning_rate)))
        variables = self.model.trainable_variables
        # Keras puts the name of a Sequential model before the paths, which differs from trial to trial.
        names = [variable.path.removeprefix(f"{self.model.name}/") for variable in variables]
        for name, variable in zip(names, variables, strict=True):
            train.append(histogram_summary(f"weights/{name}", keras.ops.convert_to_numpy(variable.value)))
        for name, gradient in zip(names, self._compute_gradients(), strict=False):
            if gradient is not None:
                train.append(histogram_summary(f"gradients/{name}", gradient))
        self._train.write(epoch, train)
        if validation:
            self._validation.write(epoch, validation)

    def _compute_gradients(self) -> list[np.ndarray | None]:
        if self._batch is None:
            return []
        try:
            if self._gradients is None:
                self._gradients = LossGradients(self.model, *self._batch)
            return self._gradients()
        except Exception as error:  # a training step of one's own may need more than inputs and labels
            self._batch = None
            warnings.warn(f"No histograms of gradients, since the loss could not be computed: {error}", stacklevel=2)
            return []
