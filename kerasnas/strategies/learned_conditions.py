"""Conditions that nobody stated: which decisions a trial makes use of, told by the trials that have ended."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.decision import Condition, Decision, Discrete, Range, Scalar, active_decisions

__all__ = ["Use", "with_learned_conditions"]

# A condition is looked for where a decision was used in so many trials, and not used in as many.
_FEWEST = 2
# So many conditions of one decision are looked for, and values of a decision listed in one.
_CONDITIONS, _LISTED = 3, 1000


@dataclass(frozen=True)
class Use:
    """What a trial was made of.

    Attributes:
        choices: the values that it was given.
        unused: names of those that nothing asked for.
    """

    choices: Mapping[str, Scalar]
    unused: Collection[str]


def with_learned_conditions(decisions: Sequence[Decision], uses: Sequence[Use]) -> list[Decision]:
    """Return `decisions` with the conditions under which they were used so far.

    A space such as `for i in range(hp.Int("layers", 1, 6)): hp.Int(f"units_{i}", ...)` gives a network of one layer the units
    of six. What no network of fewer than four layers asks for becomes conditional on `layers`: a strategy then neither tells
    twins apart by it nor learns from it. The rule of a decision is that at most three earlier ones have certain values: of an
    ordered one an interval, of any other a set. It explains every trial so far, or there is none; values that were not met yet
    are allowed. The first trial that contradicts a rule ends it, so that a wrong one does no lasting harm.

    Args:
        decisions: the space, as it was stated.
        uses: of the trials that have ended.
    Returns:
        One decision for each of `decisions`, in order.
    """
    if not any(use.unused for use in uses):
        return list(decisions)
    table = _Table(decisions, uses)
    rules: dict[bytes, tuple[Condition, ...]] = {}
    learned = []
    for column, decision in enumerate(decisions):
        on, off = table.used[:, column], table.given[:, column] & ~table.used[:, column]
        conditions: tuple[Condition, ...] = ()
        if on.sum() >= _FEWEST and off.sum() >= _FEWEST:
            pattern = on.tobytes() + off.tobytes()  # the width and the activation of a layer have the same
            if not rules.get(pattern):  # or none was found among the fewer decisions before another one
                rules[pattern] = table.rule(column, on, off)
            conditions = rules[pattern]
        if conditions:
            table.active[:, column] = on
        learned.append(replace(decision, conditions=(*decision.conditions, *conditions)) if conditions else decision)
    return learned


class _Table:
    """The trials as rows, the decisions as columns.

    Attributes:
        given: whether a trial had a value for a decision.
        used: whether it made use of it.
        active: whether it had to have one, by the rules so far.
    """

    def __init__(self, decisions: Sequence[Decision], uses: Sequence[Use]) -> None:
        self.decisions = decisions
        shape = len(uses), len(decisions)
        self.given, self.used = np.zeros(shape, bool), np.zeros(shape, bool)
        # Places of values: on the list if it has no order, else in the unit interval; NaN if the value was not used.
        self._places = np.full(shape, np.nan)
        column = {id(decision): i for i, decision in enumerate(decisions)}
        for row, use in enumerate(uses):
            for decision in active_decisions(decisions, use.choices):
                place = row, column[id(decision)]
                self.given[place] = True
                self.used[place] = decision.name not in use.unused
                with suppress(ValueError):  # a value that is not on the list
                    self._places[place] = _place(decision, use.choices[decision.name])
        # What no trial asked for may be read without asking.
        self.used |= self.given & ~self.used.any(axis=0)
        self._places[~self.used] = np.nan
        self.active = self.given.copy()
        names = [decision.name for decision in decisions]
        self._eligible = [1 < (decision.size or 0) <= _LISTED and names.count(decision.name) == 1 for decision in decisions]

    def rule(self, column: int, on: NDArray[np.bool_], off: NDArray[np.bool_]) -> tuple[Condition, ...]:
        """Return conditions on decisions before `column` that hold in all rows `on` and not in any row `off`."""
        covers = {parent: cover for parent in range(column) if (cover := self._cover(parent, on, off)) is not None}
        left, chosen = np.ones(int(off.sum()), bool), list[int]()
        while left.any() and covers and len(chosen) < _CONDITIONS:
            parent = max(covers, key=lambda p: (int((covers[p] & left).sum()), -self._rules(p), -p))
            if not (covers[parent] & left).any():
                break
            left &= ~covers[parent]
            chosen.append(parent)
            del covers[parent]
        return () if left.any() else tuple(self._condition(parent, on, off) for parent in sorted(chosen))

    def _cover(self, parent: int, on: NDArray[np.bool_], off: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Tell which rows `off` the values of `parent` tell from all rows `on`; None if it cannot be a condition."""
        if not self._eligible[parent]:
            return None
        there, gone = self._places[on, parent], self._places[off, parent]
        if np.isnan(there).any():
            return None
        apart = (gone < there.min()) | (gone > there.max()) if self._ordered(parent) else ~np.isin(gone, there)
        told: NDArray[np.bool_] = apart & ~np.isnan(gone)
        return told | ~self.active[off, parent] if told.any() else None  # no condition on what is not active holds

    def _condition(self, parent: int, on: NDArray[np.bool_], off: NDArray[np.bool_]) -> Condition:
        decision = self.decisions[parent]
        there, gone = self._places[on, parent], self._places[off, parent]
        values = _values(decision)
        places = np.array([_place(decision, value) for value in values])
        if self._ordered(parent):
            low = gone[gone < there.min()].max(initial=-np.inf)
            high = gone[gone > there.max()].min(initial=np.inf)
            allowed = (places > low) & (places < high)
        else:
            allowed = np.isin(places, there) | ~np.isin(places, gone)
        return Condition(decision.name, tuple(value for value, ok in zip(values, allowed, strict=True) if ok))

    def _rules(self, parent: int) -> int:
        """Return about how many conditions a decision allows: of few, one fits by chance the least."""
        size = self.decisions[parent].size or 0
        return size if self._ordered(parent) else 2**size

    def _ordered(self, parent: int) -> bool:
        return self.decisions[parent].is_ordered


def _place(decision: Decision, value: Scalar) -> float:
    if isinstance(decision, Discrete) and not decision.ordered:
        return float(decision.index(value))
    return decision.to_unit(value)


def _values(decision: Decision) -> Sequence[Scalar]:
    if isinstance(decision, Discrete):
        return decision.values
    assert isinstance(decision, Range)
    return range(int(decision.low), int(decision.high) + 1)
