"""Useless copies of decisions."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["permuted"]

Array = NDArray[np.float64]


def permuted(units: Array, rng: np.random.Generator) -> Array:
    """Return rows of an encoding with each column permuted among the rows in which it is active.

    Such a column has the values of the decision, is active when the decision is, and has nothing to do with the score.
    """
    copies = units.copy()
    for column in range(units.shape[1]):
        rows = np.flatnonzero(~np.isnan(units[:, column]))
        copies[rows, column] = units[rng.permutation(rows), column]
    return copies
