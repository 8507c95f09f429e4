"""Bringing a proposal that costs too much within the limits, instead of giving it up."""

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from kerasnas.oracles.rejections import REPAIR, Rejected
from kerasnas.strategies import Choices, Decision, Discrete, Proposal, Scalar
from kerasnas.strategies.decision import active_choices, active_decisions
from kerasnas.strategies.space import changes, identity
from kerasnas.strategies.variation import express, genes_of, other_value

__all__ = ["repair"]

# So many repairs of one proposal are tried, and so many in a row that lead nowhere.
_STEPS, _VAIN = 60, 30
# So many values of each decision are drawn to find one that was not tried.
_DRAWS = 10
# Costs that are the same but for so much of a measured latency are the same.
_ALIKE = 1.03
# Comes after everything that was tried alone.
_NO_EFFECT = (math.inf, math.inf)
# The values of a list or of a range of integers up to this size are lowered one by one.
_FEW = 8


def repair(
    decisions: Sequence[Decision], chain: Sequence[Rejected], tried: Collection[Hashable], seed: Sequence[int]
) -> Proposal | None:
    """Return the next step from a proposal that exceeds a limit towards the limits; None if there is none, or no more.

    Each number is lowered alone first, to its next value, as somebody would make a network narrower or shorter. From the best
    of these steps on, and from each that is better, numbers are lowered further, those first that alone did most; if that is
    not enough, any decision takes another value. Decisions that make no difference come last. A step is of phase "repair":
    its parent is what the strategy wanted, and its mutation what became of that.

    Args:
        decisions: the space.
        chain: what the strategy wanted, and all failed repairs of it, in order; nothing if nothing is to be repaired.
        tried: the `identity` of every configuration that was tried or is being tried.
        seed: of this chain.
    Source:
        Repair by descent, as for constraints in evolutionary search (Michalewicz & Schoenauer 1996, section 5).
    """
    if not chain or len(chain) > _STEPS:
        return None
    chain = [replace(one, values=active_choices(decisions, one.values)) for one in chain]
    wanted, descent = chain[0].values, _Descent(chain)
    if descent.vain > _VAIN:
        return None
    order = np.random.default_rng([*seed, 0]).permutation(len(decisions))
    rng = np.random.default_rng([*seed, len(chain)])

    def movable(choices: Choices) -> list[Decision]:
        active = {id(d) for d in active_decisions(decisions, choices)}
        return [decisions[i] for i in order if id(decisions[i]) in active and decisions[i].size != 1]

    alone = [(wanted, d, lower[0]) for d in movable(wanted) if (lower := _lower(d, wanted[d.name]))]
    base, able = descent.base.values, movable(descent.base.values)
    eager = [decision for decision in able if decision.name not in descent.idle]
    ranked = sorted(eager, key=lambda decision: descent.effects.get(decision.name, _NO_EFFECT))
    further = zip_longest(*([(base, d, value) for value in _lower(d, base[d.name])] for d in ranked))
    steps = [*alone, *(step for each in further for step in each if step is not None)]
    turns = [*_from(len(chain), eager), *_from(len(chain), able * _DRAWS)]
    steps += [(base, d, other_value(d, base[d.name], rng)) for d in turns]
    for start, moved, value in steps:
        choices = express(decisions, genes_of(decisions, start) | {id(moved): value}, rng)
        if identity(decisions, choices) not in tried:
            return Proposal(choices, phase=REPAIR, parent=dict(wanted), mutation=changes(wanted, choices))
    return None


def _from(turn: int, decisions: list[Decision]) -> list[Decision]:
    """Return `decisions`, the one whose turn it is first."""
    start = turn % max(len(decisions), 1)
    return [*decisions[start:], *decisions[:start]]


class _Descent:
    """What a chain of repairs has shown.

    Attributes:
        base: what exceeded the limits least.
        vain: how many steps were made since.
        effects: what a decision alone led to, by its name.
        idle: names of decisions that made no difference.
    """

    def __init__(self, chain: Sequence[Rejected]) -> None:
        self.base, self.vain = chain[0], 0
        self.effects: dict[str, tuple[float, float]] = {}
        self.idle: set[str] = set()
        for one in chain[1:]:
            self.vain += 1
            if one.excess is None or self.base.excess is None or chain[0].excess is None:
                continue
            start = chain[0] if _moved(chain[0], one) else self.base
            moved = _moved(start, one)
            if moved and start is chain[0]:
                self.effects[moved] = one.excess
            if moved and start.excess is not None and _alike(one.excess, start.excess):
                self.idle.add(moved)
            elif one.excess < self.base.excess:
                self.base, self.vain = one, 0


def _moved(start: Rejected, one: Rejected) -> str | None:
    """Return the decision that was changed, if it was but one; others may have become active or inactive with it."""
    changed = changes(start.values, one.values)
    first = next(iter(changed), None)  # what switches others on comes before them
    return first if all(None in pair for name, pair in changed.items() if name != first) else None


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether two costs are the same, but for so much of a measured latency."""
    return one[1] == other[1] and 1 / _ALIKE < one[0] / other[0] < _ALIKE


def _lower(decision: Decision, value: Scalar) -> list[Scalar]:
    """Return lower values, the nearest first: each of a few, of many those at the half, the quarter, ... and the lowest."""
    if not decision.is_ordered or isinstance(value, str):
        return []
    if isinstance(decision, Discrete):
        below: list[Scalar] = [*sorted(each for each in decision.values if not isinstance(each, str) and each < value)]
    elif decision.size is not None and decision.size <= _FEW:
        below = [*range(int(decision.from_unit(0.0)), int(value))]
    else:
        return [each for each in _halves(decision, value) if each != value]
    count = len(below)
    places = range(count) if count <= _FEW else sorted({count // 2**i for i in range(1, _FEW)} | {0})
    return [below[i] for i in reversed(places)]


def _halves(decision: Decision, value: Scalar) -> list[Scalar]:
    unit = decision.to_unit(value)
    return list(dict.fromkeys(decision.from_unit(each) for each in (*(unit / 2**i for i in range(1, _FEW)), 0.0)))
