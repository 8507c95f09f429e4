"""Configurations as rows of numbers, so that thousands of imagined ones cost a few array operations."""

import contextlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.decision import Choices, Decision, Discrete, Range, Scalar, active_decisions

__all__ = ["Encoding"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The shares of up to so many integers are worked out once.
_LISTED = 4096


class Encoding:
    """A list of decisions as columns: each row of a matrix is a configuration.

    An entry is the decision's position in [0, 1], the middle of its value's share where the values can be listed, and NaN
    where the decision is not active.

    Args:
        decisions: the space; parents come before the decisions they switch on.
    """

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        self.sizes = tuple(decision.size for decision in decisions)
        self.ordered: Mask = np.array([decision.is_ordered for decision in decisions], bool)
        self._column = {id(decision): i for i, decision in enumerate(self.decisions)}
        self._integers = {i: _shares(decision) for i, decision in enumerate(self.decisions) if _is_listed_integer(decision)}
        self._repeated = {
            i: np.array([decision.values.index(value) for value in decision.values])
            for i, decision in enumerate(self.decisions)
            if isinstance(decision, Discrete) and len(set(decision.values)) < len(decision.values)
        }
        # For each decision: the columns before it of its name, and for each condition its parents with the units that hold.
        names = [decision.name for decision in self.decisions]
        self._rivals = [[j for j in range(i) if names[j] == name] for i, name in enumerate(names)]
        self._conditions = [
            [[(p, self._units_of(p, c.values)) for p in range(i) if names[p] == c.name] for c in decision.conditions]
            for i, decision in enumerate(self.decisions)
        ]
        self.parents = tuple(tuple(p for parents in conditions for p, _ in parents) for conditions in self._conditions)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.decisions)

    def encode(self, choices: Sequence[Mapping[str, Scalar]]) -> Array:
        """Return one row for each configuration; a decision it lacks a possible value for counts as not active."""
        units = np.full((len(choices), len(self)), np.nan)
        for row, made in enumerate(choices):
            for decision in active_decisions(self.decisions, made):
                with contextlib.suppress(ValueError):  # a value that is not on the list
                    units[row, self._column[id(decision)]] = decision.to_unit(made[decision.name])
        return units

    def decode(self, row: Array) -> Choices:
        """Return the configuration of one row."""
        return {
            decision.name: decision.from_unit(float(unit))
            for decision, unit in zip(self.decisions, row, strict=True)
            if not np.isnan(unit)
        }

    def active(self, column: int, units: Array) -> Mask:
        """Tell which rows have to make decision `column`, given the columns before it."""
        active = np.ones(len(units), bool)
        for parents in self._conditions[column]:
            holds = np.zeros(len(units), bool)
            for parent, allowed in parents:
                holds |= np.isin(units[:, parent], allowed)
            active &= holds
        for rival in self._rivals[column]:
            active &= np.isnan(units[:, rival])
        return active

    def snap(self, column: int, units: Array) -> Array:
        """Move positions to the middle of the share of their value."""
        decision, size = self.decisions[column], self.sizes[column]
        if size == 1:
            return np.where(np.isnan(units), np.nan, decision.to_unit(decision.from_unit(0.5)))
        if isinstance(decision, Discrete):
            assert size is not None
            shares = np.minimum(np.floor(units * size), size - 1)
            if column in self._repeated:  # of equal values the first stands for all
                shares = np.where(np.isnan(shares), np.nan, self._repeated[column][np.nan_to_num(shares).astype(int)])
            return np.asarray((shares + 0.5) / size)
        if isinstance(decision, Range) and not decision.integer:
            return np.asarray(np.clip(units, 0, 1))
        if column in self._integers:
            borders, middles = self._integers[column]
            return np.asarray(middles[np.searchsorted(borders, units, side="right")])
        return np.array([decision.to_unit(decision.from_unit(float(u))) if u == u else np.nan for u in units])

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw each active decision uniformly on its own scale."""
        return self.complete(rng.random((count, len(self))))

    def complete(self, units: Array, fill: Array | None = None) -> Array:
        """Make rows valid: positions are snapped, what is not active becomes NaN, what is missing is taken from `fill`."""
        done = np.full(units.shape, np.nan)
        for column in range(len(self)):
            active = self.active(column, done)
            values = units[:, column]
            if fill is not None:
                values = np.where(np.isnan(values), fill[:, column], values)
            done[active, column] = self.snap(column, values[active])
        return done

    def mutate(self, units: Array, rng: np.random.Generator, *, moves: int = 1, local: float = 0.5) -> Array:
        """Return each row with `moves` of its active decisions drawn again.

        Args:
            units: rows, shape (rows, decisions).
            rng: source of all randomness.
            moves: number of decisions to draw again in each row.
            local: chance that an ordered decision moves to a value nearby instead of to any.
        """
        mutants = units.copy()
        movable = ~np.isnan(units) & np.array([size != 1 for size in self.sizes], bool)
        rows = np.arange(len(units))
        for _ in range(moves):
            keys = np.where(movable, rng.random(units.shape), -1.0)
            if not len(self) or not movable.any():
                break
            column = keys.argmax(axis=1)
            old = mutants[rows, column]
            steps = np.array([1 / size if size else 0.0 for size in self.sizes])[column]
            stride = np.sign(rng.random(len(units)) - 0.5) * np.maximum(steps, np.abs(rng.normal(0, 0.1, len(units))))
            nearby = np.where((old + stride < 0) | (old + stride > 1), old - stride, old + stride)
            anywhere = rng.random(len(units))
            # A category moves to another one: a shift by 1 to size - 1 shares, around the circle.
            sizes = np.array([size or 0 for size in self.sizes])[column]
            shifted = (old + np.floor(1 + anywhere * (sizes - 1)) / np.maximum(sizes, 1)) % 1.0
            anywhere = np.where(sizes > 1, shifted, anywhere)
            close = self.ordered[column] & (rng.random(len(units)) < local)
            moved = np.clip(np.where(close, nearby, anywhere), 0, 1)
            mutants[rows, column] = np.where(movable[rows, column], moved, old)
        return self.complete(mutants, rng.random(units.shape))

    def keys(self, units: Array) -> list[Hashable]:
        """Return what makes rows the same configuration."""
        rounded = np.nan_to_num(np.round(units, 9), nan=-1.0)
        return [row.tobytes() for row in rounded]

    def _units_of(self, column: int, values: Sequence[Scalar]) -> Array:
        decision = self.decisions[column]
        if isinstance(decision, Discrete):
            return np.array([(i + 0.5) / len(decision.values) for i, v in enumerate(decision.values) if v in values])
        return np.array([decision.to_unit(v) for v in values if not isinstance(v, str)])


def _is_listed_integer(decision: Decision) -> bool:
    return isinstance(decision, Range) and decision.integer and (decision.size or 0) <= _LISTED


def _shares(decision: Decision) -> tuple[Array, Array]:
    """Return the borders between the shares of an integer's values, and the middles of the shares."""
    assert isinstance(decision, Range)
    values = range(int(decision.low), int(decision.high) + 1)
    middles = np.array([decision.to_unit(value) for value in values])
    return np.array([decision.to_unit(value - 0.5) for value in values[1:]]), middles
