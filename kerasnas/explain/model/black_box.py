"""Classifiers of which nothing is seen but their answers: a file, or any function."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.decided_classes import model_threshold
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.file_classifier import FileClassifier
from kerasnas.explain.model.image_batch import image_batch, require_channels_last
from kerasnas.explain.model.log_probabilities import log_probabilities
from kerasnas.explain.model.score_view import ScoreView, is_keras_2
from kerasnas.explain.model.scores import Scores

__all__ = ["Answers", "BlackBox", "scores_of"]

# Probabilities beyond these are taken for them; of a single one, 1 - p has been rounded, too.
_LEAST, _LEAST_SINGLE = 1e-30, 1e-7


@dataclass(frozen=True)
class Answers:
    """A Keras model as a function of which nothing is seen but its answers, as nothing else is of its file."""

    model: Any

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return what the model answers."""
        kind = keras.backend.standardize_dtype(self.model.inputs[0].dtype)
        return np.asarray(self.model.predict(_nearest(x, np.dtype(kind)) if "int" in kind else x, verbose=0))


def scores_of(model: Any, images: ArrayLike) -> Scores:
    """Return the scores of a Keras model, before its softmax, or of a black box.

    Args:
        model: a built Keras 3 Functional or Sequential classifier; the path of an ONNX or LiteRT file, or
            what stands for one (`OnnxFile`); or a function from float32 images of shape (n, height, width, channels) to an
            array of shape (n, classes) or (n, 1), such as `model.predict`.
        images: shape (batch, height, width, channels), as the model takes them.

    Raises:
        InvalidArgument: if `model` is none of these, or `images` do not fit it.
    """
    if isinstance(model, keras.Model) or is_keras_2(model):
        return ScoreView(model, images)
    if isinstance(model, str | os.PathLike):
        file = _of_images(model)
        run = partial(_answers_of, file)
        return BlackBox(run, images, file.inputs[0].shape, rounding=file.rounding, sigmoid=file.sigmoid)
    if callable(model):
        return BlackBox(model, images, sigmoid=isinstance(model, Answers) and model_threshold(model.model) > 0)
    raise InvalidArgument(
        "Expected a Keras 3 model, the path of an ONNX or LiteRT file, or a function from images to class scores; "
        f"came {type(model).__module__}.{type(model).__name__}."
    )


class BlackBox(Scores):
    """A function from images to probabilities or scores.

    Where the answers are probabilities p (from 0 to 1, with a sum of 1 where there is more than one column, unless each is
    known to be a sigmoid) the scores are log-odds, log(p / (1 - p)): a probability that is nearly 1 hides what speaks for the
    class.

    Args:
        run: takes float32 images of shape (n, height, width, channels), returns an array of shape (n, classes) or (n, 1).
        images: shape (batch, height, width, channels).
        input_shape: what the images must fit, None for any size.
        rounding: how far answers lie apart at least; what is nearer to 0 or 1 than half of it is taken to be that far.
        sigmoid: whether each answer is known to be a probability of its own, whatever their sum.

    Raises:
        InvalidArgument: if the images do not fit, or the answers are not as above.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], Any],
        images: ArrayLike,
        input_shape: tuple[int | None, ...] = (None, None, None, None),
        *,
        rounding: float = 0.0,
        sigmoid: bool = False,
    ) -> None:
        self.images = image_batch(images, input_shape)
        require_channels_last(self.images)
        self._run = run
        self._half_step = rounding / 2
        self.score_kind = "output"
        pixels = self.pixels(0, self.chunk)
        answers = self._answers(pixels)
        self.single = answers.shape[1] == 1
        self.classes = max(2, answers.shape[1])
        if self.single:  # a score may lie in [0, 1] by chance: ask for images that are upside down and empty, too
            low, high = pixels.min(), pixels.max()
            probes = (low + high - pixels, np.full_like(pixels[:1], low), np.full_like(pixels[:1], high))
            answers = np.concatenate([answers, *(self._answers(probe) for probe in probes)])
        within = bool(np.all((answers >= 0) & (answers <= 1)))
        self._apart = self.single or sigmoid
        if within and (self._apart or np.allclose(answers.sum(axis=1), 1, atol=1e-3 + answers.shape[1] * self._half_step)):
            self.score_kind = "log-odds"
        self.sigmoid = self.single or self.score_kind == "log-odds"

    def log_probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return the logarithms of probabilities that add up to 1, shape (n, classes): of several sigmoids the softmax."""
        if self._apart and not self.single:
            return log_probabilities(scores, from_logits=True)
        return super().log_probabilities(scores)

    def _evaluate(self, x: np.ndarray) -> np.ndarray:
        answers = self._answers(x)
        if self.score_kind == "log-odds":
            if answers.min() < -1e-3 or answers.max() > 1 + 1e-3:
                raise InvalidArgument(
                    f"Expected probabilities, as for the images themselves; came {answers.min():.4g} to {answers.max():.4g}. "
                    "Return a score for each of two classes, or probabilities for all images."
                )
            if self._apart:
                least = max(_LEAST_SINGLE, self._half_step)
                answers = np.clip(answers, least, 1 - least)
                others = 1 - answers
            else:  # the sum of the others keeps what 1 - p would round away
                answers = np.maximum(answers, max(_LEAST, self._half_step))
                others = np.stack([np.delete(answers, i, axis=1).sum(axis=1) for i in range(self.classes)], axis=1)
            answers = np.log(answers) - np.log(others)
        return np.concatenate([-answers, answers], axis=1) if self.single else answers

    def _answers(self, x: np.ndarray) -> np.ndarray:
        answers = np.asarray(self._run(x))
        if answers.ndim != 2 or len(answers) != len(x) or answers.shape[1] == 0 or answers.dtype.kind not in "biuf":
            raise InvalidArgument(
                f"Expected a classifier that answers {len(x)} images with real numbers of shape ({len(x)}, classes); came "
                f"{answers.dtype} of shape {answers.shape}. Wrap it in a function that returns one score per class."
            )
        if not np.all(np.isfinite(answers)):
            raise InvalidArgument("Expected finite scores; the classifier answered with NaN or infinity.")
        return answers.astype(np.float64)


def _of_images(path: str | os.PathLike[str]) -> FileClassifier:
    file = FileClassifier(path)
    if len(file.inputs) != 1 or len(file.inputs[0].shape) != 4:
        raise InvalidArgument(
            f"Expected a file with one input of shape (batch, height, width, channels); {file.path.name} came with "
            f"{', '.join(f'{one.name} {one.shape}' for one in file.inputs)}. Wrap it in a function of images."
        )
    (images,) = file.inputs
    if images.dtype is None or images.dtype.kind not in "iuf":
        raise InvalidArgument(f"Expected a file that takes numbers; {file.path.name} takes {images.kind}. Wrap it.")
    return file


def _answers_of(file: FileClassifier, x: np.ndarray) -> np.ndarray:
    """Return what a file answers to images; of integers it is given the nearest that it takes."""
    kind = file.inputs[0].dtype
    return file([_nearest(x, kind) if kind is not None and kind.kind in "iu" else x])


def _nearest(x: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """Return the whole numbers of a kind that are the nearest."""
    return np.clip(np.rint(x), np.iinfo(kind).min, np.iinfo(kind).max)
