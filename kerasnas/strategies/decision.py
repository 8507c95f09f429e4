"""What a strategy decides: plain named decisions, with the conditions under which each is asked."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Choices", "Condition", "Decision", "Discrete", "Range", "Scalar"]

Scalar = bool | int | float | str
Choices = dict[str, Scalar]
Scale = Literal["linear", "log", "reverse_log"]


@dataclass(frozen=True)
class Condition:
    """Holds when decision `name` took one of `values`."""

    name: str
    values: tuple[Scalar, ...]

    def holds(self, choices: Mapping[str, Scalar]) -> bool:
        """Tell whether the condition is met by the choices made so far."""
        return self.name in choices and choices[self.name] in self.values


@dataclass(frozen=True, kw_only=True)
class Decision(ABC):
    """One named decision; asked only when all of its `conditions` hold.

    Every decision maps to and from the unit interval, so that a strategy can treat steps, logarithms and categories alike.
    Two decisions may share a name when their conditions exclude each other.
    """

    name: str
    conditions: tuple[Condition, ...] = ()

    def is_active(self, choices: Mapping[str, Scalar]) -> bool:
        """Tell whether the decision is to be made, given the choices made so far."""
        return all(condition.holds(choices) for condition in self.conditions)

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Number of possible values; None where they are too many to be listed."""

    @property
    @abstractmethod
    def is_ordered(self) -> bool:
        """Whether neighbouring values are expected to score alike."""

    @abstractmethod
    def from_unit(self, unit: float) -> Scalar:
        """Return the value at position `unit` in [0, 1]."""

    @abstractmethod
    def to_unit(self, value: Scalar) -> float:
        """Return the position in [0, 1] of `value`; the inverse of `from_unit` up to rounding."""


@dataclass(frozen=True, kw_only=True)
class Discrete(Decision):
    """One of a list of values; `ordered` says that the list has a meaningful order."""

    values: tuple[Scalar, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"Decision {self.name!r} needs at least one value, got none.")

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def is_ordered(self) -> bool:
        """Whether the list has a meaningful order."""
        return self.ordered

    def from_unit(self, unit: float) -> Scalar:
        """Return the value whose equal share of [0, 1] holds `unit`."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def to_unit(self, value: Scalar) -> float:
        """Return the middle of the share of `value`; of the nearest value if an ordered number is not on the list."""
        return (self.index(value) + 0.5) / len(self.values)

    def index(self, value: Scalar) -> int:
        """Return the position of `value` in the list.

        Raises:
            ValueError: if `value` is not on the list and the list is not one of ordered numbers.
        """
        if value in self.values:
            return self.values.index(value)
        if self.ordered and not isinstance(value, str):
            return min(range(len(self.values)), key=lambda i: abs(float(self.values[i]) - float(value)))
        raise ValueError(f"Decision {self.name!r} expected one of {self.values}, got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Range(Decision):
    """A number between `low` and `high`, both included; a position in [0, 1] is spread over it by `scale`."""

    low: float
    high: float
    scale: Scale = "linear"
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"Decision {self.name!r} needs low <= high, got {self.low} and {self.high}.")
        if self.scale != "linear" and self.low <= 0:
            raise ValueError(f"Decision {self.name!r} has scale {self.scale!r} and needs low > 0, got {self.low}.")

    @property
    def size(self) -> int | None:
        """Number of integers, or None for real numbers."""
        return int(self.high) - int(self.low) + 1 if self.integer else (1 if self.low == self.high else None)

    @property
    def is_ordered(self) -> bool:
        """Numbers are ordered."""
        return True

    @property
    def _top(self) -> float:
        return self.high + 1 if self.integer else self.high  # each integer owns the interval [n, n + 1)

    def from_unit(self, unit: float) -> Scalar:
        """Return the number at position `unit`."""
        low, top = self.low, self._top
        if self.scale == "linear":
            value = low + unit * (top - low)
        elif self.scale == "log":
            value = low * (top / low) ** unit
        else:
            value = top + low - low * (top / low) ** (1 - unit)
        value = min(max(value, low), self.high)
        return math.floor(value) if self.integer else float(value)

    def to_unit(self, value: Scalar) -> float:
        """Return the position of `value`, clipped to [0, 1]."""
        low, top = self.low, self._top
        number = float(value) + (0.5 if self.integer else 0.0)
        if top == low:
            return 0.5
        number = min(max(number, low), top)
        if self.scale == "linear":
            return (number - low) / (top - low)
        if self.scale == "log":
            return math.log(number / low) / math.log(top / low)
        return 1 - math.log((top + low - number) / low) / math.log(top / low)


def active_choices(decisions: Sequence[Decision], choices: Mapping[str, Scalar]) -> Choices:
    """Return the values of the active decisions, in order."""
    return {decision.name: choices[decision.name] for decision in active_decisions(decisions, choices)}


def active_decisions(decisions: Sequence[Decision], choices: Mapping[str, Scalar]) -> list[Decision]:
    """Return the decisions that `choices` had to make, in order, without those that it lacks a value for."""
    made: Choices = {}
    active = []
    for decision in decisions:
        if decision.name in choices and decision.name not in made and decision.is_active(made):
            made[decision.name] = choices[decision.name]
            active.append(decision)
    return active
