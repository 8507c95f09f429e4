"""Explanations of a few pictures while a model trains."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.event_files import RunFile, images_summary
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.grad_cam import grad_cam
from kerasnas.explain.random_states import random_states_kept
from kerasnas.explain.whole_number import require_whole_number

__all__ = ["ExplainCallback"]


class ExplainCallback(keras.callbacks.Callback):
    """Explains the same pictures at the end of epochs, for TensorBoard and as PNG files.

    TensorBoard shows the maps laid over the pictures, under the name of the method, in the run `explain/METHOD` of `log_dir`;
    the slider runs over the epochs. The training is the same to the bit as without it: the random states of Python, NumPy and
    Keras are put back. An explanation that fails warns once, and the training goes on without it.

    Args:
        images: shape (batch, height, width, channels), as the model takes them.
        method: `(model, images, *, target) -> Attribution`, such as `grad_cam`; functools.partial sets its options.
        target: the class to explain for all images, one class per image, or None for the predicted class.
        log_dir: folder for `tensorboard --logdir`; None writes no log.
        every: epochs from one explanation to the next, >= 1; the first one is after as many epochs.
        folder: where PNG files go, as `epoch_0003.png` for the third epoch; None writes none.

    Raises:
        InvalidArgument: if there is no image, `every` is no whole number of at least 1, `method` cannot be called, or
            neither `log_dir` nor `folder` is given.

    Example:
        >>> watch = ExplainCallback(x_test[:8], log_dir="logs", every=5)  # doctest: +SKIP
        >>> model.fit(x, y, epochs=50, callbacks=[watch])  # doctest: +SKIP
    """

    def __init__(
        self,
        images: ArrayLike,
        *,
        method: Callable[..., Attribution] = grad_cam,
        target: int | ArrayLike | None = None,
        log_dir: str | os.PathLike[str] | None = "logs",
        every: int = 1,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        self._images = np.array(images)
        if self._images.ndim < 3 or 0 in self._images.shape:
            raise InvalidArgument(
                f"Expected images of shape (batch, height, width, channels); came {self._images.shape}. Pass x[:8]."
            )
        require_whole_number("every", every, 1)
        if not callable(method):
            raise InvalidArgument(f"Expected method to be a function such as grad_cam; came {method!r}.")
        if log_dir is None and folder is None:
            raise InvalidArgument("Expected log_dir or folder; came None for both, so that nothing would be written.")
        self._method, self._target, self._every = method, target, every
        self._log_dir = None if log_dir is None else Path(log_dir)
        self._folder = None if folder is None else Path(folder)
        self._log: RunFile | None = None
        self._failed = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Explain the images, if it is the turn of this epoch."""
        if self._failed or (epoch + 1) % self._every:
            return
        try:
            with random_states_kept():
                explained = self._method(self.model, self._images, target=self._target)
                self._write(explained, epoch)
        except Exception as error:
            self._failed = True
            warnings.warn(f"No explanations from epoch {epoch + 1} on, since one failed: {error}", stacklevel=2)

    def _write(self, explained: Attribution, epoch: int) -> None:
        if self._folder is not None:
            explained.save(self._folder / f"epoch_{epoch + 1:04d}.png")
        if self._log_dir is None:
            return
        summaries = [images_summary(explained.method, explained.to_image())]
        if self._log is None:
            self._log = RunFile(self._log_dir / "explain" / explained.method, epoch)
            summaries.append(images_summary("images", explained.to_image(alpha=0.0)))
        self._log.write(epoch, summaries)
