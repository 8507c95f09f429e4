"""Moments and histogram of more numbers than are in memory at once, in two passes."""

import math

import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["StreamedMoments"]


class StreamedMoments:
    """The distribution of the numbers in arrays that come in parts: call `look` with each part, then `measure` with each.

    Two passes, since the central moments of one pass cancel badly and the range of the histogram is not known before.

    Attributes:
        count, zeros, mean: known after the first pass.
        low, high: the extremes at each position, over the first axis of all parts.
        sd, kurtosis, histogram, edges: known after the second pass; kurtosis is the excess over 3, NaN without variance.
    """

    def __init__(self, what: str, bins: int) -> None:
        self._what, self._bins = what, bins
        self.count = self.zeros = 0
        self._sum = self._second = self._fourth = 0.0
        self.low = self.high = np.zeros(0)
        self.histogram = np.zeros(bins, np.int64)

    def look(self, part: np.ndarray) -> None:
        """Take a part in the first pass; InvalidArgument if a number is not finite."""
        if not np.all(np.isfinite(part)):
            raise InvalidArgument(f"Expected finite numbers; {self._what} holds NaN or infinity. Train with a lower rate.")
        low, high = part.min(axis=0), part.max(axis=0)
        self.low = np.minimum(self.low, low) if self.count else low
        self.high = np.maximum(self.high, high) if self.count else high
        self.count += part.size
        self.zeros += int(np.count_nonzero(part == 0))
        self._sum += float(part.sum(dtype=np.float64))

    def measure(self, part: np.ndarray) -> None:
        """Take the same part in the second pass."""
        values = part.astype(np.float64).ravel()
        squares = (values - self.mean) ** 2
        self._second += float(squares.sum())
        self._fourth += float((squares**2).sum())
        self.histogram += np.histogram(values, self.edges)[0]

    @property
    def mean(self) -> float:
        """Mean of all numbers."""
        return self._sum / self.count

    @property
    def sd(self) -> float:
        """Standard deviation, over count; exactly 0 if all numbers are equal."""
        return 0.0 if self._constant else math.sqrt(self._second / self.count)

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis: 0 for a normal distribution."""
        variance = self._second / self.count
        return math.nan if self._constant or variance**2 == 0 else self._fourth / self.count / variance**2 - 3

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, from the smallest number to the largest; half a unit around it if there is only one."""
        return np.histogram_bin_edges([float(self.low.min()), float(self.high.max())], self._bins)

    @property
    def _constant(self) -> bool:
        return bool(self.low.min() == self.high.max())
