"""Occlusion: how far the score of a class falls when a patch of the image is hidden."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.baseline import baseline_detail, neutral_images
from kerasnas.explain.model.black_box import scores_of
from kerasnas.explain.model.scores import Scores

__all__ = ["occlusion"]

_CANVAS = 32  # tf-explain copies the canvas once per cell: 32**4 bytes are 1 MiB
_PASSES = 5  # after ten, deletion and insertion are worse on photographs: benchmarks/occlusion_passes.py
_MARK = 127  # what tf-explain's neutral value 127.5 becomes in a uint8 canvas


def occlusion(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    patch: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    baseline: str | ArrayLike = "mean",
) -> Attribution:
    """Map how much the score of a class falls when a patch is replaced by a neutral value.

    drop(P) = score(x) - score(x with patch P set to the baseline), before the softmax. Patches side by side have their
    drops as values. Where they overlap, a pixel has the mean drop of the patches that cover it, corrected in some passes
    so that the mean of the map over each patch comes close to its drop: what one patch lost by its left half alone is not
    shared by its right half, of which the next patch lost nothing. Where no patch makes a difference it is exactly 0.
    Negative values speak against the class. It needs no gradient and no convolution; it costs one prediction per patch,
    about (height / stride) * (width / stride) per image.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes), which is not changed; or a
            black box: the path of an ONNX or LiteRT file, or a function from images to class scores, such as `model.predict`.
        images: shape (batch, height, width, channels), or (batch, height, width) for a model or file of one channel; as the
            model takes them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        patch: pixels, side or (height, width). None: an eighth of the smaller side of the image, rounded, at least 2.
        stride: pixels from one patch to the next, one number or (down, across), at most `patch`. None: half the patch.
            The last patch of a row or column is moved back to end at the edge, so that every pixel is covered.
        baseline: "mean" for the mean of each channel of the image itself, a number, one number per channel, or an image
            of shape (height, width, channels); in the units of the images.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; details: patch,
        stride, baseline, score.

    Raises:
        InvalidArgument: if the model, images, target, patch, stride or baseline are not as above.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> occlusion(model, np.ones((2, 8, 8, 1)), target=1, patch=4, baseline=0.0).values.shape
        (2, 8, 8)

    Source:
        Zeiler and Fergus 2014, section 4.2, by the engine of tf-explain. Deviations: differences of scores instead of
        probabilities; overlapping patches divided among their pixels by the method of Gilbert 1972 (SIRT).
    """
    scores = scores_of(model, images)
    height, width = scores.images.shape[1:3]
    targets = scores.resolve_target(target)
    patches = _patches(height, width, patch, stride)
    neutral = neutral_images(baseline, scores.pixels())
    values = np.stack(
        [
            _map(_Occluder(scores, pixels, hidden, int(label), patches), patches)
            for pixels, hidden, label in zip(scores.pixels(), neutral, targets, strict=True)
        ]
    )
    details = {
        "patch": patches.size,
        "stride": patches.stride,
        "baseline": baseline_detail(baseline),
        "score": scores.score_kind,
    }
    explained = Explained(model, partial(occlusion, patch=patches.size, stride=patches.stride, baseline=baseline))
    return Attribution(values, scores.images, targets, "occlusion", details, explained=explained)


@dataclass(frozen=True)
class _Patches:
    """Where the patches lie: a row of them at each of `tops`, a column at each of `lefts`."""

    size: tuple[int, int]
    stride: tuple[int, int]
    shape: tuple[int, int]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def at(self, index: int) -> tuple[slice, slice]:
        """Return the rows and columns of a patch."""
        top, left = self.tops[index // len(self.lefts)], self.lefts[index % len(self.lefts)]
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def map_of(self, drops: np.ndarray) -> np.ndarray:
        """Return the map whose mean over each patch is its drop, as nearly as `_PASSES` passes bring it.

        Args:
            drops: shape (tops, lefts).

        Returns:
            Shape `shape`; 0 for pixels of which no patch made a difference.

        Source:
            Gilbert 1972, "Iterative methods for the three-dimensional reconstruction of an object from projections": SIRT.
        """
        down, across = (
            (np.arange(length) >= np.array(starts)[:, None]) & (np.arange(length) < np.array(starts)[:, None] + size)
            for length, starts, size in zip(self.shape, (self.tops, self.lefts), self.size, strict=True)
        )
        down, across = down.astype(float), across.astype(float)
        covered = np.outer(down.sum(axis=0), across.sum(axis=0))
        matters = down.T @ (drops != 0) @ across > 0
        values = np.zeros(self.shape)
        for _ in range(_PASSES):
            unexplained = drops - down @ values @ across.T / math.prod(self.size)
            values += np.where(matters, down.T @ unexplained @ across / covered, 0)
        return values


def _patches(height: int, width: int, patch: Any, stride: Any) -> _Patches:
    side = max(2, int(min(height, width) / 8 + 0.5))
    size = _pair("patch", patch, (min(side, height), min(side, width)), (height, width))
    step = _pair("stride", stride, (max(1, size[0] // 2), max(1, size[1] // 2)), size)
    tops, lefts = ((*range(0, length - p, s), length - p) for length, p, s in zip((height, width), size, step, strict=True))
    return _Patches(size, step, (height, width), tops, lefts)


def _pair(name: str, value: Any, default: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
    if value is None:
        return default
    pair = np.broadcast_to(np.asarray(value), (2,)) if np.shape(value) in ((), (2,)) else np.zeros(2)
    if pair.dtype.kind not in "iu" or np.any(pair < 1) or np.any(pair > most):
        raise InvalidArgument(
            f"Expected {name} to be a number of pixels or a pair (height, width), from 1 to {most}; came {value!r}. "
            "A patch fits into the image, a stride into the patch, or pixels would be left out."
        )
    return int(pair[0]), int(pair[1])


class _Occluder:
    """What tf-explain takes for the model: it marks a cell of a canvas, and the patch of that number is hidden.

    tf-explain's own patches are grey 127.5 in whatever units, square, side by side, and scramble images that are not
    square (https://github.com/sicara/tf-explain). On a square canvas of one-pixel cells all of that is exact.
    """

    def __init__(self, scores: Scores, pixels: np.ndarray, neutral: np.ndarray, label: int, patches: _Patches) -> None:
        self._scores, self._pixels, self._neutral, self._label, self._patches = scores, pixels, neutral, label, patches
        self._chunk = max(1, scores.chunk - 1)
        self.first = 0  # number of the patch that stands in the first cell

    def predict(self, canvases: np.ndarray, batch_size: int | None = None) -> np.ndarray:  # noqa: ARG002
        cells = np.argmax(canvases.reshape(len(canvases), -1) == _MARK, axis=1)
        falls = np.zeros((len(cells), 1))
        used = np.flatnonzero(self.first + cells < len(self._patches))
        for start in range(0, len(used), self._chunk):
            rows = used[start : start + self._chunk]
            falls[rows, 0] = self._falls(self.first + cells[rows])
        return 1 - falls  # tf-explain returns one minus this

    def _falls(self, numbers: np.ndarray) -> np.ndarray:
        # The whole image goes along in every batch, so that both scores of a difference are rounded alike.
        batch = np.repeat(self._pixels[None], len(numbers) + 1, axis=0)
        for row, number in enumerate(numbers, start=1):
            area = self._patches.at(int(number))
            batch[row][area] = self._neutral[area]
        scores = self._scores.evaluate(batch)[:, self._label]
        falls: np.ndarray = scores[0] - scores[1:]
        return falls


def _map(occluder: _Occluder, patches: _Patches) -> np.ndarray:
    from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity

    drops = np.empty(len(patches))
    for first in range(0, len(patches), _CANVAS**2):
        count = min(_CANVAS**2, len(patches) - first)
        side = math.isqrt(count - 1) + 1
        occluder.first = first
        canvas = np.zeros((side, side, 1), np.uint8)
        falls = OcclusionSensitivity().get_sensitivity_map(occluder, canvas, class_index=0, patch_size=1)
        drops[first : first + count] = falls.reshape(-1)[:count]
    return patches.map_of(drops.reshape(len(patches.tops), -1)).astype(np.float32)
