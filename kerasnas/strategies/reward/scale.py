"""The scales that scores are put on for the reward models: about normal, with mean 0 and deviation 1."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = [
    "LinearScale",
    "RankScale",
    "Scale",
    "from_rank_normal",
    "is_near_copy",
    "lowest_usual",
    "near_copies",
    "rank_normal",
    "scale_for",
]

Array = NDArray[np.float64]

# A diverged training says "bad", and not how far the others are apart: farther from the best than so many times what is usual.
_FAR = 10.0
# How many rows that lie far apart tell what is usual: a quarter of all, between these.
_FEWEST, _MOST = 10, 64
# Near-copies differ in decisions of more values than this alone, and there by less than this share of the range; where they are
# more than this share of all trials, most of the scale of ranks would be luck.
_FINE, _NEARBY, _CROWDED = 32, 0.1, 0.1


class Scale(Protocol):
    """Scores as targets of the reward models, and back.

    Attributes:
        targets: shape (trials,), finite.
    """

    targets: Array

    def scores(self, targets: Array) -> Array:
        """Return the scores that stand at `targets`; NaN where that cannot be told."""


class RankScale:
    """The normal quantiles of the ranks, which no outlier and no unit can bend."""

    def __init__(self, scores: Array) -> None:
        self.targets = rank_normal(scores)
        self._scores = scores

    def scores(self, targets: Array) -> Array:
        """Return the scores that stand at `targets`."""
        return from_rank_normal(targets, self._scores)


class LinearScale:
    """The scores themselves, standardised; those that are far below the usual count as the lowest of the usual.

    For trials that are near-copies of each other, as those of a search that closes in on the best point of a continuous space:
    they differ by luck, and ranks would give that luck most of the scale and squeeze into the rest what tells other
    configurations apart. Failed trials count as one deviation below the lowest usual one.

    Args:
        units: rows of an `Encoding`, shape (trials, decisions).
        scores: shape (trials,), higher is better; not finite for a failed trial.
    """

    def __init__(self, units: Array, scores: Array) -> None:
        finite = np.isfinite(scores)
        self._known = bool(finite.any())
        size = float(np.abs(scores[finite]).max(initial=0.0)) or 1.0  # no sum of squares overflows
        raised = np.zeros(len(scores))
        if self._known:
            usual = scores[finite] / size
            usual = np.maximum(usual, lowest_usual(usual, units[finite]))
            raised[finite], raised[~finite] = usual, usual.min() - (usual.std() or 1.0)
        centre, unit = raised.mean() if len(raised) else 0.0, (raised.std() if len(raised) else 0.0) or 1.0
        self.targets: Array = (raised - centre) / unit
        self._line = float(centre), float(unit), size

    def scores(self, targets: Array) -> Array:
        """Return the scores that stand at `targets`."""
        centre, unit, size = self._line
        with np.errstate(over="ignore"):
            return np.asarray((centre + unit * targets) * size if self._known else np.full(np.shape(targets), np.nan))


def is_near_copy(row: Array, earlier: Array, sizes: Sequence[int | None]) -> bool:
    """Return whether a configuration differs from one of the earlier ones by no more than a little in real numbers.

    Args:
        row: of an `Encoding`, shape (decisions,).
        earlier: shape (trials, decisions).
        sizes: how many values each decision has; None for a real number.
    """
    allowed = np.array([_NEARBY if size is None or size > _FINE else 1e-9 for size in sizes])
    apart = np.abs(np.nan_to_num(earlier, nan=-1.0) - np.nan_to_num(row, nan=-1.0))
    return bool((apart <= allowed).all(axis=1).any())


def near_copies(units: Array, sizes: Sequence[int | None]) -> list[bool]:
    """Return of each row whether it is a near-copy of one before it; arguments as for `is_near_copy`."""
    return [is_near_copy(row, units[:i], sizes) for i, row in enumerate(units)]


def scale_for(units: Array, scores: Array, copies: Sequence[bool]) -> Scale:
    """Return the scale that suits these trials: that of ranks, unless more than a tenth of the trials are near-copies.

    Args:
        units: rows of an `Encoding`, shape (trials, decisions).
        scores: shape (trials,), higher is better; not finite for a failed trial.
        copies: of each trial whether it is a near-copy of an earlier one.
    """
    return LinearScale(units, scores) if sum(copies) > _CROWDED * len(scores) else RankScale(scores)


def rank_normal(scores: Array) -> Array:
    """Return the normal quantiles of the ranks of `scores`; NaN and infinity (failed trials) share the lowest rank.

    The result does not depend on the unit of the scores, and no outlier can bend a model that is fitted to it.
    """
    ranks = rankdata(np.where(np.isfinite(scores), scores, -np.inf))
    return np.asarray(ndtri((ranks - 0.5) / max(len(scores), 1)), np.float64)


def from_rank_normal(targets: Array, scores: Array) -> Array:
    """Return the scores that stand at `targets` on the scale of `rank_normal(scores)`; linear between them and beyond.

    Beyond the best and the worst the slope is that between the median and them.
    """
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return np.full(np.shape(targets), np.nan)
    known, first = np.unique(rank_normal(scores)[np.isfinite(scores)], return_index=True)
    values = finite[first]
    result = np.interp(targets, known, values)
    if len(known) > 1:
        centre, median = float(np.median(known)), float(np.median(values))
        for end, outside in ((-1, targets > known[-1]), (0, targets < known[0])):
            slope = (values[end] - median) / (known[end] - centre) if known[end] != centre else 0.0
            result = np.where(outside, values[end] + slope * (targets - known[end]), result)
    return np.asarray(result)


def lowest_usual(scores: Array, units: Array) -> float:
    """Return the lowest score that is still usual, as which anything lower counts.

    Far is what is ten times as far from the best as the median of all trials, or of those whose configurations lie farthest
    apart: a search that has closed in on its best would take all that it saw before for unusual.

    Args:
        scores: shape (trials,), finite, higher is better.
        units: rows of an `Encoding`, shape (trials, decisions).
    """
    distances = scores.max() - scores
    apart = distances[_far_apart(units, min(max(_FEWEST, len(scores) // 4), _MOST))]
    usual = [float(np.median(some[some > 0])) for some in (distances, apart) if (some > 0).any()]
    return float(scores[distances <= _FAR * max(usual, default=0.0)].min())


def _far_apart(units: Array, count: int) -> list[int]:
    """Return up to `count` rows, from the first one on always that which is farthest from those before it."""
    places = np.nan_to_num(units, nan=-0.5)  # a decision that is not made is another place
    chosen = [0]
    nearest = np.linalg.norm(places - places[0], axis=1)
    while len(chosen) < count and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return chosen
