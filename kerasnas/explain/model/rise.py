"""RISE: random parts of the image are hidden, and the score says which parts matter."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.baseline import baseline_detail, neutral_images
from kerasnas.explain.model.black_box import scores_of
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["rise"]


def rise(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    masks: int = 1000,
    cells: int | None = None,
    keep: float = 0.5,
    baseline: str | ArrayLike = "mean",
    seed: int | None = 0,
) -> Attribution:
    """Map how much higher the score of a class is, in the mean, when a pixel is seen than when it is hidden.

    A mask is a grid of cells that are kept with probability `keep`, enlarged bilinearly and shifted at random; the masked
    image is m x + (1 - m) b. M = sum(s m) / sum(m) - sum(s (1 - m)) / sum(1 - m), sums over masks, s the score of the masked
    image. It needs nothing of the model but its scores, one prediction per mask; the fewer masks, the noisier the map.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes), which is not changed; or a
            black box: the path of an ONNX or LiteRT file, or a function from images to class scores, such as `model.predict`.
        images: shape (batch, height, width, channels), or (batch, height, width) for a model or file of one channel; as the
            model takes them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        masks: how many, at least 2.
        cells: cells of the grid along each side of the image, at least 1 and at most the smaller side; None for 8 of them, or
            as many as there are pixels.
        keep: the probability that a cell is seen, between 0 and 1.
        baseline: what hides, as `occlusion` takes it.
        seed: seed of the masks, which are the same for all images.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; details: masks, cells, keep,
        baseline, seed, score.

    Raises:
        InvalidArgument: if the model, images, target, or one of the numbers is not as above.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> rise(model, np.ones((2, 8, 8, 1)), target=1, masks=50).values.shape
        (2, 8, 8)

    Source:
        Petsiuk et al. 2018, equation 6 and section 3.2. Deviations: the mean of the scores without a pixel is subtracted,
        so that a pixel that does nothing comes out as 0; what is hidden is the baseline instead of black.
    """
    scores = scores_of(model, images)
    height, width = scores.images.shape[1:3]
    require_seed(seed)
    cells = min(8, height, width) if cells is None else cells
    _check(masks, cells, keep, min(height, width))
    targets, pixels = scores.resolve_target(target), scores.pixels()
    neutral = neutral_images(baseline, pixels)
    rng = np.random.default_rng(seed)
    seen, score_seen = np.zeros((height, width)), np.zeros(scores.images.shape[:3])
    total, first, count = np.zeros(len(pixels)), np.zeros(len(pixels)), 0
    while count < masks:
        part = np.stack([_mask(rng, cells, keep, height, width) for _ in range(min(scores.chunk, masks - count))])
        seen += part.sum(axis=0)
        for index, (image, hidden, label) in enumerate(zip(pixels, neutral, targets, strict=True)):
            weights = part[..., None]
            answers = scores.evaluate((weights * image + (1 - weights) * hidden).astype(np.float32))[:, label]
            first[index] = answers[0] if count == 0 else first[index]
            answers = answers - first[index]  # no part of M: of a score that never changes not even rounding is left
            score_seen[index] += np.tensordot(answers, part, axes=1)
            total[index] += answers.sum()
        count += len(part)
    hidden_share = masks - seen
    without = (total[:, None, None] - score_seen) / np.where(hidden_share > 0, hidden_share, 1)
    values = np.where((seen > 0) & (hidden_share > 0), score_seen / np.where(seen > 0, seen, 1) - without, 0.0)
    details = {
        "masks": int(masks),
        "cells": int(cells),
        "keep": float(keep),
        "baseline": baseline_detail(baseline),
        "seed": seed,
        "score": scores.score_kind,
    }
    explained = Explained(model, partial(rise, masks=masks, cells=cells, keep=keep, baseline=baseline, seed=seed))
    return Attribution(values, scores.images, targets, "rise", details, explained=explained)


def _check(masks: int, cells: int, keep: float, side: int) -> None:
    require_whole_number("masks", masks, 2)
    require_whole_number("cells", cells, 1, side)
    if not isinstance(keep, float | np.floating) or not 0 < keep < 1:
        raise InvalidArgument(f"Expected keep to be a probability between 0 and 1; came {keep!r}.")


def _mask(rng: np.random.Generator, cells: int, keep: float, height: int, width: int) -> np.ndarray:
    """Return one mask of shape (height, width) in [0, 1], cut at random out of a grid that is one cell larger."""
    grid = (rng.random((cells + 2, cells + 2)) < keep).astype(np.float64)
    down, across = rng.random(2)
    rows, columns = down + np.arange(height) * cells / height, across + np.arange(width) * cells / width
    return np.asarray(map_coordinates(grid, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"))
