"""What a policy over a decision chooses between: its values, or bins of neighbouring values where they are many."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.decision import Decision, Range

__all__ = ["Arms"]

# An ordered decision with more values than this is cut into about so many bins, alike on its own scale.
_MAX_ARMS = 32
_BINS = 16


class Arms:
    """A decision's values, or bins of them; inside a bin the draw is uniform on the decision's scale.

    No bin cuts the share of a value in two: what is drawn from an arm counts for that arm.

    Args:
        decision: its real numbers and long ordered lists are cut into bins.

    Attributes:
        edges: the borders of the arms in the unit interval, ascending from 0 to 1, one more than there are arms.
        shares: the width of each arm.
        are_values: whether each arm is a single value.
    """

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        size = decision.size
        self.are_values = size is not None and (size <= _MAX_ARMS or not decision.is_ordered)
        if size is not None and self.are_values:
            inner = [_border(decision, i) for i in range(1, size)]
        else:
            inner = [_near_border(decision, i / _BINS) for i in range(1, _BINS)]
        self.edges: NDArray[np.float64] = np.unique([0.0, *inner, 1.0])
        self.shares: NDArray[np.float64] = np.diff(self.edges)

    def __len__(self) -> int:
        """Return the number of arms."""
        return len(self.edges) - 1

    def of(self, units: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the arms that hold these positions in [0, 1]."""
        return np.searchsorted(self.edges[1:-1], units, side="right")

    def draw(self, arms: NDArray[np.int64], uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions in [0, 1] inside these arms, as far in as `uniforms` say."""
        return np.asarray(self.edges[arms] + uniforms * self.shares[arms])

    def labels(self) -> list[str]:
        """Return the value of each arm, or its ends."""
        if self.are_values:
            middles = (self.edges[1:] + self.edges[:-1]) / 2
            return [str(self._decision.from_unit(float(middle))) for middle in middles]
        ends = [self._decision.from_unit(float(edge)) for edge in self.edges]
        texts = [end if isinstance(end, str) else f"{end:.3g}" for end in ends]
        return [f"{low} to {high}" for low, high in pairwise(texts)]


def _border(decision: Decision, index: int) -> float:
    """Return where in [0, 1] the share of the value of this index begins."""
    if isinstance(decision, Range):
        return decision.to_unit(int(decision.low) + index - 0.5)  # the integer n owns [n, n + 1), and n is placed at its middle
    assert decision.size is not None
    return index / decision.size


def _near_border(decision: Decision, unit: float) -> float:
    """Return the border between two values that is nearest to `unit`."""
    if decision.size is None:
        return unit
    value = decision.from_unit(unit)
    if isinstance(decision, Range):
        borders = [decision.to_unit(float(value) - 0.5), decision.to_unit(float(value) + 0.5)]
    else:
        borders = [int(unit * decision.size) / decision.size, (int(unit * decision.size) + 1) / decision.size]
    return min(borders, key=lambda border: abs(border - unit))
