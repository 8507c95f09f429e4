"""The weights of a trial's best epoch."""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.atomic import atomic_path
from kerasnas.errors import InvalidArgument
from kerasnas.search.trial_history import as_number

__all__ = ["BestEpoch", "load_weights"]


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best objective, of all executions of a trial, until they are written.

    KerasTuner's callback writes its file at each gain, in place: a kill meanwhile leaves a broken one.

    Args:
        objective: a `kt.Objective`; without its value among the logs the last epoch is the best.
        constants: metrics that are the same in each epoch, which the objective may use, too.
    """

    def __init__(self, objective: Any, constants: Mapping[str, float]) -> None:
        super().__init__()
        self._objective, self.constants = objective, constants
        # Without an underscore: EpochStateFile keeps them.
        self.best_value: float | None = None
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Take the weights if the epoch is the best so far."""
        known = {**{name: as_number(value) for name, value in (logs or {}).items()}, **self.constants}
        if self._objective.has_value(known):
            value = float(self._objective.get_value(known))
            if self.best_value is not None and not self._objective.better_than(value, self.best_value):
                return
            if not np.isfinite(value) and self.best_weights is not None:
                return
            self.best_value = value if np.isfinite(value) else None
        elif self.best_value is not None:
            return
        self.best_weights = self.model.get_weights()

    def write(self, model: keras.Model, path: Path) -> None:
        """Write the best weights, of a model built as `model` is, to an `.weights.h5` file; nothing if no epoch ended."""
        if self.best_weights is None:
            return
        now = model.get_weights()
        model.set_weights(self.best_weights)
        with atomic_path(path) as draft, _without_optimizer(model):
            _check_room(draft.parent, sum(weight.nbytes for weight in self.best_weights) + (1 << 20))
            model.save_weights(draft)
        model.set_weights(now)


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Read what `BestEpoch.write` wrote.

    Raises:
        InvalidArgument: if it is gone.
    """
    if not Path(path).exists():
        raise InvalidArgument(
            f"Expected the weights of a trial at {path}, found none: only those of the best trials are kept, of as many as "
            "`keep_checkpoints` said when the search ran. Search anew with a larger one."
        )
    with _without_optimizer(model):
        model.load_weights(path)


def _check_room(folder: Path, size: int) -> None:
    """Raise OSError unless a file of `size` bytes fits on the disk: HDF5 ends the process where it does not."""
    if not hasattr(os, "posix_fallocate"):
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # others: a file system that cannot tell
                raise


@contextmanager
def _without_optimizer(model: keras.Model) -> Iterator[None]:
    # Its variables would treble the file, and Keras warns when they do not fit an optimizer that has not trained yet.
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        yield
        return
    model.optimizer = None
    try:
        yield
    finally:
        model.optimizer = optimizer
