"""What a network may cost, and whether it does."""

import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kerasnas.cost import Cost
from kerasnas.errors import InvalidArgument

__all__ = ["CostReport", "Limits"]


@dataclass(frozen=True)
class CostReport:
    """How the cost of one network compares with the limits.

    Attributes:
        violations: a sentence for each limit that is exceeded, none if the network may be trained.
        excess: the largest of the costs, each in units of its limit; 0 without limits.
    """

    violations: tuple[str, ...]
    excess: float


@dataclass(frozen=True)
class Limits:
    """The most that a network may cost; None sets no limit.

    Attributes:
        parameters: numbers in its weights.
        macs: multiply-accumulates of one sample, see `kerasnas.cost.cost_of`.
        activation_bytes: memory of activations for one sample, bytes, see there.
        latency_ms: milliseconds of one sample on this machine, see `measure_latency`.

    Raises:
        InvalidArgument: for a limit that is not a finite number > 0.

    Example:
        >>> Limits.of({"parameters": 100_000})
        Limits(parameters=100000, macs=None, activation_bytes=None, latency_ms=None)
    """

    parameters: float | None = None
    macs: float | None = None
    activation_bytes: float | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        for name in _NAMES:
            value = getattr(self, name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if value is not None and not (number and math.isfinite(value) and value > 0):
                raise InvalidArgument(f"Expected the limit of {name} to be a finite number > 0, got {value!r}.")

    @classmethod
    def of(cls, limits: "Mapping[str, float | None] | Limits | None") -> "Limits":
        """Return `limits` as Limits: a mapping by the names of the attributes, or None for no limits.

        Raises:
            InvalidArgument: for an unknown name, or a limit that is not a finite number > 0.
        """
        if isinstance(limits, Limits):
            return limits
        if limits is not None and not isinstance(limits, Mapping):
            raise InvalidArgument(f"Expected limits by name, such as {{'parameters': 100_000}}, got {limits!r}.")
        for name in limits or {}:
            if name not in _NAMES:
                near = difflib.get_close_matches(str(name), _NAMES, n=1, cutoff=0.0)[0]
                raise InvalidArgument(f"Expected limits of {', '.join(_NAMES)}, got {name!r}. Did you mean {near!r}?")
        return cls(**dict(limits or {}))

    def as_json(self) -> dict[str, float]:
        """Return the limits that are set, by name."""
        return {name: float(limit) for name in _NAMES if (limit := getattr(self, name)) is not None}

    def check(self, cost: Cost, *, latency_ms: float | None = None, expected_ms: float | None = None) -> CostReport:
        """Compare the cost of a network with the limits.

        Args:
            cost: of the network.
            latency_ms: of one sample, measured; None leaves latency out.
            expected_ms: expected latency, where it is not measured.
        """
        excesses = {name: getattr(cost, name) / limit for name in _COMPUTED if (limit := getattr(self, name)) is not None}
        violations = [
            f"{getattr(cost, name):,} {_COMPUTED[name]}; at most {_number(getattr(self, name))} are allowed"
            for name, excess in excesses.items()
            if excess > 1
        ]
        ms = expected_ms if latency_ms is None else latency_ms
        if self.latency_ms is not None and ms is not None:
            excesses["latency_ms"] = ms / self.latency_ms
            if ms > self.latency_ms:
                known = f"{ms:.3g} ms of latency" if latency_ms is not None else f"about {ms:.2g} ms of latency expected"
                violations.append(f"{known}; at most {_number(self.latency_ms)} ms are allowed")
        return CostReport(tuple(violations), max(excesses.values(), default=0.0))


_NAMES = tuple(field.name for field in fields(Limits))
_COMPUTED = {"parameters": "parameters", "macs": "multiply-accumulates", "activation_bytes": "bytes of activations"}


def _number(value: Any) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{float(value):,g}"
