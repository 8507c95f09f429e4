"""Whether a map marks what the score rests on: hide what it marks, and look at the score."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.baseline import neutral_images
from kerasnas.explain.model.cell_grid import cell_grid
from kerasnas.explain.model.scores import Scores
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["Faithfulness", "faithfulness"]

_CELLS = 8  # of the grid whose cells are hidden together, along a side
_HIDDEN = 0.2  # share of the cells in a subset


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How maps fare when what they mark is hidden or shown; each of shape (maps, batch).

    Attributes:
        deletion: mean probability of the target while pixels are hidden, the most marked first; from 0 to 1, low is good.
        insertion: the same while they are shown on a neutral image; high is good.
        mu_fidelity: rank correlation between the sum of a map over a random fifth of the image and the fall of the score
            when that fifth is hidden; from -1 to 1, high is good; 0 for a map or a score that does not vary.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    mu_fidelity: np.ndarray


def faithfulness(
    scores: Scores,
    maps: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    *,
    baseline: str | ArrayLike = "mean",
    steps: int = 16,
    subsets: int = 200,
    curves: int | None = None,
    seed: int | None = 0,
) -> Faithfulness:
    """Judge maps of the same images by the scores of images of which a part is hidden.

    The subsets of muFidelity are the same for all maps, so that any number of them costs `subsets` predictions an image; each
    deletion and insertion costs `steps` + 1 predictions a map and an image.

    Args:
        scores: the classifier and its images.
        maps: shape (maps, batch, height, width), or a sequence of arrays of shape (batch, height, width).
        targets: shape (batch,), the class of each image that the maps explain.
        baseline: what hides, as `occlusion` takes it.
        steps: into how many parts the pixels are divided for deletion and insertion, at least 1.
        subsets: how many fifths of each image are hidden, at least 2.
        curves: deletion and insertion are measured for the first so many maps, and are NaN for the others; None for all.
        seed: seed of the subsets, and of the order of pixels that a map marks alike.

    Returns:
        The figures of each map and image.

    Raises:
        InvalidArgument: if the shapes do not belong together, or `baseline`, `steps` or `subsets` are not as above.

    Source:
        Petsiuk et al. 2018, section 3.3 (deletion, insertion); Bhatt et al. 2020, definition 3, with the subsets of cells
        and the rank correlation of Fel et al. 2022.
    """
    for name, value, least in (("steps", steps, 1), ("subsets", subsets, 2)):
        require_whole_number(name, value, least)
    wrong = [one.shape for one in maps if one.shape != scores.images.shape[:3]]
    if wrong:
        raise InvalidArgument(
            f"Expected maps of shape (maps, {', '.join(map(str, scores.images.shape[:3]))}), as the images are; "
            f"came one of shape {wrong[0]}."
        )
    require_seed(seed)
    pixels = scores.pixels()
    neutral = np.asarray(neutral_images(baseline, pixels), np.float32)
    judged = len(maps) if curves is None else min(curves, len(maps))
    shape = len(maps), len(pixels)
    deletion, insertion, fidelity = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for index, (image, hidden, target) in enumerate(zip(pixels, neutral, targets, strict=True)):
        rng = np.random.default_rng(seed)
        fidelity[:, index] = _mu_fidelity(scores, [one[index] for one in maps], image, hidden, int(target), subsets, rng)
        for number in range(judged):
            order = _rank(maps[number][index], rng)
            deletion[number, index] = _area(scores, order, image, hidden, int(target), steps)
            insertion[number, index] = _area(scores, order, hidden, image, int(target), steps)
    return Faithfulness(deletion, insertion, fidelity)


def _rank(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the place of each pixel, from 0 for the most marked; equals in random order."""
    order = np.lexsort((rng.random(values.size), -values.reshape(-1)))
    place = np.empty(values.size, np.int64)
    place[order] = np.arange(values.size)
    return place.reshape(values.shape)


def _area(scores: Scores, place: np.ndarray, before: np.ndarray, after: np.ndarray, target: int, steps: int) -> float:
    """Return the mean probability of the target while pixel after pixel changes from `before` to `after`."""
    counts = np.rint(np.linspace(0, place.size, steps + 1))
    probability = []
    for start in range(0, len(counts), scores.chunk):
        changed = place < counts[start : start + scores.chunk, None, None]
        answers = scores.evaluate(np.where(changed[..., None], after, before))
        probability.append(scores.probabilities(answers)[:, target])
    return float(np.trapezoid(np.concatenate(probability), counts) / place.size)


def _mu_fidelity(
    scores: Scores,
    maps: Sequence[np.ndarray],
    image: np.ndarray,
    hidden: np.ndarray,
    target: int,
    subsets: int,
    rng: np.random.Generator,
) -> np.ndarray:
    height, width = image.shape[:2]
    down, across = min(_CELLS, height), min(_CELLS, width)
    cell = cell_grid(height, width, (down, across))
    count = max(1, round(_HIDDEN * down * across))
    chosen = np.zeros((subsets, down * across), bool)
    np.put_along_axis(chosen, np.argsort(rng.random(chosen.shape), axis=1)[:, :count], True, axis=1)
    mass = np.stack([np.bincount(cell.reshape(-1), one.reshape(-1), minlength=down * across) for one in maps])
    falls = np.empty(subsets)
    step = max(1, scores.chunk - 1)
    for start in range(0, subsets, step):
        part = slice(start, min(start + step, subsets))
        batch = np.concatenate([image[None], np.where(chosen[part][:, cell][..., None], hidden, image)])
        answers = scores.evaluate(batch)[:, target]
        falls[part] = answers[0] - answers[1:]
    return _rank_correlation(mass @ chosen.T, falls)


def _rank_correlation(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each row with `other`; 0 where one of them does not vary."""
    # Sums of the same numbers differ in the last bits: what is equal but for rounding is equal.
    size = np.abs(rows).max(axis=1, keepdims=True)
    rows = rankdata(np.rint(rows / np.where(size > 0, size, 1) * 1e9), axis=1)
    other = rankdata(other)
    rows, other = rows - rows.mean(axis=1, keepdims=True), other - other.mean()
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(other)
    return np.asarray(np.divide(rows @ other, norms, out=np.zeros(len(rows)), where=norms > 0))
