"""How unevenly a map is spread over its pixels."""

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument

__all__ = ["gini"]


def gini(values: ArrayLike) -> float:
    """Return the Gini index of |values|: 0 if all are alike, 1 - 1/n if one of n holds everything.

    G = 1 - 2 sum_k c_k / ||c||_1 (n - k + 1/2) / n with c the absolute values in ascending order, k from 1 to n. It does not
    change when the values are scaled or repeated.

    Args:
        values: any shape, finite, not all zero.

    Raises:
        InvalidArgument: if there are no values, all are zero, or one is not finite.

    Example:
        >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 5])
        (0.0, 0.75)

    Source:
        Hurley and Rickard 2009, "Comparing measures of sparsity", table I.
    """
    sizes = np.sort(np.abs(np.asarray(values, np.float64)).ravel())
    if sizes.size == 0 or sizes[-1] == 0 or not np.all(np.isfinite(sizes)):
        raise InvalidArgument(
            f"Expected finite values that are not all zero; came {sizes.size} with maximum {sizes.max(initial=0.0)}. "
            "A map of zeros has no Gini index: leave it out."
        )
    sizes = sizes / sizes[-1]  # first, for the sum of huge numbers would overflow
    ranks = np.arange(1, sizes.size + 1)
    index = 1 - 2 * float((sizes * (sizes.size - ranks + 0.5)).sum() / (sizes.sum() * sizes.size))
    return max(0.0, index)  # all alike may come out as -1e-16
