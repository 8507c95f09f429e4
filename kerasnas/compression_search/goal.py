"""What a compression is for: what is to be made best, and within which bounds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasnas.errors import InvalidArgument
from kerasnas.export_checks import is_within

if TYPE_CHECKING:
    from kerasnas.compression_search.compression import Candidate

__all__ = ["GOALS", "Goal"]

GOALS = ("smallest", "fastest", "most accurate")
_BOUNDS = ("max_bytes", "max_latency_ms", "smaller", "faster")
_LOWEST = {"smaller": 1, "faster": 1}
_ALIKE = 0.02
_LEAST = 1e-9  # by which a broken bound counts at least, however close it is
_POINT = 0.05  # a loss that is over its bound by so much counts like a file of e times the allowed size


@dataclass(frozen=True)
class Goal:
    """What is to be made best, and the bounds that it must keep.

    Attributes:
        best: "smallest" (bytes of the file), "fastest" (latency) or "most accurate".
        max_loss: largest loss of accuracy on the held-out samples, against the original's float file, in [0, 1], its standard
            error included: the best of many on few samples is flattered. Of no account with "most accurate".
        max_bytes: largest size of the file, bytes; None for any.
        max_latency_ms: largest latency of one sample on one thread on this machine, milliseconds; None for any.
        smaller: how many times smaller than the original's float file it must be, at least, >= 1; None for any size.
        faster: how many times as fast, measured side by side, >= 1; None for any.

    Raises:
        InvalidArgument: for another goal, a bound that is none, or "most accurate" without a bound on size or latency.
    """

    best: str = "smallest"
    max_loss: float = 0.01
    max_bytes: float | None = None
    max_latency_ms: float | None = None
    smaller: float | None = None
    faster: float | None = None

    def __post_init__(self) -> None:
        if self.best not in GOALS:
            raise InvalidArgument(f"Expected a goal of {', '.join(map(repr, GOALS))}, got {self.best!r}.")
        if not (_is_number(self.max_loss) and 0 <= self.max_loss <= 1):
            raise InvalidArgument(f"Expected max_loss in [0, 1], got {self.max_loss!r}. It is a share: 0.01 is one point.")
        for name in _BOUNDS:
            bound = getattr(self, name)
            if bound is None or (_is_number(bound) and _LOWEST.get(name, 0) <= bound < math.inf and bound > 0):
                continue
            if name in _LOWEST:
                raise InvalidArgument(f"Expected {name} >= 1 (times, e.g. 10), or None for no bound, got {bound!r}.")
            raise InvalidArgument(f"Expected {name} > 0, or None for no bound, got {bound!r}.")
        if self.best == "most accurate" and all(getattr(self, name) is None for name in _BOUNDS):
            raise InvalidArgument(f"Expected {' or '.join(_BOUNDS)} with the goal 'most accurate': else nothing is to be done.")

    def excess(self, row: "Candidate") -> float:
        """Return by how much a file breaks its bounds, all of them added up; 0 where it keeps them."""
        loss = row.loss + row.loss_error
        if self.best == "most accurate" or is_within(loss, self.max_loss):
            return self._too_large(row)
        return max((loss - self.max_loss) / _POINT, _LEAST) + self._too_large(row)

    def _too_large(self, row: "Candidate") -> float:
        most = ((row.size_bytes, self.max_bytes), (row.latency_ms, self.max_latency_ms))
        least = ((row.reduction, self.smaller), (row.speedup, self.faster))
        over = [value / bound for value, bound in most if bound is not None and value > bound]
        under = [bound / value for value, bound in least if bound is not None and value < bound]
        return sum(max(math.log(times), _LEAST) for times in (*over, *under))

    def wants_less(self, rows: Sequence["Candidate"]) -> bool:
        """Tell whether a smaller network than that of these files is to be tried next, rather than a larger one."""
        if any(not self.excess(row) for row in rows):
            return self.best != "most accurate"
        return all(self._too_large(row) > 0 for row in rows) and bool(rows)

    def merit(self, row: "Candidate", original: "Candidate") -> float:
        """Return one number, higher is better: below -1 for a file that breaks a bound, above it for one that keeps all.

        Of those that keep them it is the logarithm of how many times smaller or faster than the original, or the accuracy.
        """
        excess = self.excess(row)
        if excess > 0:
            return -1 - excess
        if self.best == "smallest":
            gain = math.log(original.size_bytes / row.size_bytes)
        else:
            gain = math.log(row.speedup) if self.best == "fastest" else row.accuracy
        return max(gain, -1.0)

    def choose(self, rows: Iterable["Candidate"], original: "Candidate") -> "Candidate | None":
        """Return the best file of those that keep the bounds; None if none does.

        Sizes and latencies that differ by less than a fiftieth are alike: of these files the most accurate is taken.
        """
        fit = [row for row in rows if not self.excess(row)]
        best = max((self.merit(row, original) for row in fit), default=0.0)
        margin = 0.0 if self.best == "most accurate" else _ALIKE
        alike = [row for row in fit if self.merit(row, original) >= best - margin]
        return max(alike, key=lambda row: (row.accuracy, -row.size_bytes, row.speedup), default=None)

    def hopeless(self, least_bytes: float, best: "Candidate | None", original: "Candidate") -> str | None:
        """Return why a network whose weights take `least_bytes` at least need not be trained; None if it may do."""
        allowed = self._allowed_bytes(original)
        if least_bytes > allowed:
            return f"its weights alone take {least_bytes / 1000:.1f} kB, and {allowed / 1000:.1f} are allowed"
        if self.best == "smallest" and best is not None and least_bytes >= best.size_bytes:
            return f"its weights alone take {least_bytes / 1000:.1f} kB, as much as the best file so far"
        return None

    def merit_of_size(self, least_bytes: float, original: "Candidate") -> float:
        """Return the best merit that a network of this size could have had."""
        allowed = self._allowed_bytes(original)
        if least_bytes > allowed:
            return -1 - math.log(least_bytes / allowed)
        return math.log(original.size_bytes / least_bytes)

    def _allowed_bytes(self, original: "Candidate") -> float:
        return min(self.max_bytes or math.inf, original.size_bytes / self.smaller if self.smaller else math.inf)

    def to_dict(self) -> dict[str, Any]:
        """Return the goal as plain values that JSON can hold."""
        return dict(self.__dict__)

    def __str__(self) -> str:
        points = f"{100 * self.max_loss:g} {'point' if self.max_loss == 0.01 else 'points'}"
        bounds = [] if self.best == "most accurate" else [f"within {points} of accuracy (with its standard error)"]
        bounds += [f"within {self.max_bytes / 1000:g} kB"] if self.max_bytes else []
        bounds += [f"within {self.max_latency_ms:g} ms"] if self.max_latency_ms else []
        bounds += [f"at least {self.smaller:g} times smaller"] if self.smaller else []
        bounds += [f"at least {self.faster:g} times faster"] if self.faster else []
        return f"{self.best} {' and '.join(bounds)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
