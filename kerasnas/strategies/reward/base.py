"""The interface of every reward model, and the scale they work on."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

__all__ = ["RewardModel", "from_rank_normal", "rank_normal"]

Array = NDArray[np.float64]


class RewardModel(ABC):
    """Predicts the target of configurations, with its own uncertainty.

    Rows are those of an `Encoding`; targets are finite, about normal with mean 0 and deviation 1.
    """

    def tune(self, units: Array, targets: Array) -> None:  # noqa: B027 - most models have nothing to tune
        """Choose hyperparameters for these data; called far less often than `fit`."""

    @abstractmethod
    def fit(self, units: Array, targets: Array) -> None:
        """Learn from the rows `units`, shape (rows, decisions), and their `targets`, shape (rows,)."""

    @abstractmethod
    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noise-free target of each row, shape (rows,)."""

    @abstractmethod
    def held_out(self) -> Array:
        """Return for each fitted row what the model predicts when it has not seen that row, shape (rows,)."""


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
