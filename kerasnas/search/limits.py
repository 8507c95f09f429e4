"""What a network may cost, and whether it does."""

import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import keras

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument

__all__ = ["CostReport", "Limits"]


@dataclass(frozen=True)
class CostReport:
    """What was found out about the cost of one network.

    Attributes:
        cost: computed from its graph.
        latency_ms: measured, milliseconds of one sample on this machine; None where no limit asked for it or what is known
            was enough to tell that limits are exceeded.
        violations: a sentence for each limit that is exceeded, none if the network may be trained.
        excess: the largest of what is known, or expected, of the costs, each in units of its limit; 0 without limits.
    """

    cost: Cost
    latency_ms: float | None = None
    violations: tuple[str, ...] = ()
    excess: float = 0.0

    @property
    def metrics(self) -> dict[str, float]:
        """What is known, by the names of the limits, ready to be metrics of a trial."""
        known: dict[str, float] = {name: float(getattr(self.cost, name)) for name in _COMPUTED}
        return known if self.latency_ms is None else known | {"latency_ms": self.latency_ms}


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

    def check(
        self,
        model: keras.Model,
        *,
        cost: Cost | None = None,
        expected_ms: float | None = None,
        known_ms: float | None = None,
    ) -> CostReport:
        """Find out what a model costs and which limits that exceeds.

        Latency is measured if it is limited, unless it is expected and other limits are exceeded, or itself by far.

        Args:
            model: a built model, see `cost_of`.
            cost: of the model, if it is known already.
            expected_ms: expected latency, milliseconds; None if nothing is known of it.
            known_ms: latency of a network that differs in its weights alone, milliseconds, if it was measured before.

        Raises:
            InvalidArgument: as `cost_of` and `measure_latency`.
        """
        cost = cost_of(model) if cost is None else cost
        excesses = {name: getattr(cost, name) / limit for name in _COMPUTED if (limit := getattr(self, name)) is not None}
        violations = [
            f"{getattr(cost, name):,} {_COMPUTED[name]}; at most {_number(getattr(self, name))} are allowed"
            for name, excess in excesses.items()
            if excess > 1
        ]
        latency_ms = None
        if self.latency_ms is not None:
            allowed = f"at most {_number(self.latency_ms)} ms are allowed"
            by_far = expected_ms is not None and expected_ms > _BY_FAR * self.latency_ms
            if known_ms is None and expected_ms is not None and (violations or by_far):
                excesses["latency_ms"] = expected_ms / self.latency_ms
                if by_far:
                    violations.append(f"about {expected_ms:.2g} ms of latency expected; {allowed}")
            else:
                # It brings the converter and onnxruntime with it.
                from kerasnas.search.latency import measure_latency

                latency_ms = measure_latency(model) if known_ms is None else known_ms
                excesses["latency_ms"] = latency_ms / self.latency_ms
                if latency_ms > self.latency_ms:
                    violations.append(f"{latency_ms:.3g} ms of latency; {allowed}")
        return CostReport(cost, latency_ms, tuple(violations), max(excesses.values(), default=0.0))


_NAMES = tuple(field.name for field in fields(Limits))
# A latency that is expected to be so many times the limit is not measured: see `kerasnas.search.expected_latency`.
_BY_FAR = 1.7
_COMPUTED = {"parameters": "parameters", "macs": "multiply-accumulates", "activation_bytes": "bytes of activations"}


def _number(value: Any) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{float(value):,g}"
