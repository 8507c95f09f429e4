"""Scores without their unit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["centered_ranks"]


def centered_ranks(scores: Sequence[float]) -> NDArray[np.float64]:
    """Return the rank of each score among all, from -1 for the worst to 1 for the best.

    Equal scores share their mean rank; what is not a finite number counts as a failure, worse than all others and always -1.
    A single score has rank 0.

    Source:
        Salimans et al. 2017, section 2 (rank transformation of the returns).
    """
    values = np.asarray(scores, np.float64)
    failed = ~np.isfinite(values)
    _, inverse, counts = np.unique(np.where(failed, -np.inf, values), return_inverse=True, return_counts=True)
    places = (np.cumsum(counts) - (counts + 1) / 2)[inverse.ravel()]
    ranks = 2 * places / (len(values) - 1) - 1 if len(values) > 1 else np.zeros(len(values))
    return np.asarray(np.where(failed, -1.0, ranks))
