"""Bringing a proposal that costs too much within the limits, instead of giving it up."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from itertools import zip_longest

import numpy as np

from kerasnas.oracles.rejections import REPAIR, Rejected
from kerasnas.strategies import Choices, Decision, Discrete, Proposal, Scalar
from kerasnas.strategies.space import changes, identity
from kerasnas.strategies.variation import express, genes_of, other_value

__all__ = ["repair"]

# So many repairs of one proposal are tried, and so many in a row that lead nowhere.
_STEPS, _VAIN = 60, 30
# So many values of each decision are drawn to find one that was not tried.
_DRAWS = 10
# Costs that are the same but for so much of a measured latency are the same.
_ALIKE = 1.03
# The values of a list or of a range of integers up to this size are lowered one by one.
_FEW = 8


def repair(
    decisions: Sequence[Decision], chain: Sequence[Rejected], tried: Collection[Hashable], seed: Sequence[int]
) -> Proposal | None:
    """Return the next step from a proposal that exceeds a limit towards the limits; None if there is none, or no more.

    A step changes one decision of what exceeded the limits least so far: first numbers are lowered, as somebody would make a
    network narrower and shorter, to the next value first; if that is not enough, any decision takes another value. Decisions
    that made no difference come last, the others take turns in an order that is drawn for each proposal. A step is of phase
    "repair": its parent is what the strategy wanted, and its mutation what became of that.

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
    wanted = chain[0].values
    base, idle, vain = _descent(chain)
    if vain > _VAIN:
        return None
    genes = genes_of(decisions, base)
    order = np.random.default_rng([*seed, 0]).permutation(len(decisions))
    movable = [decisions[i] for i in order if id(decisions[i]) in genes and decisions[i].size != 1]
    rng, start = np.random.default_rng([*seed, len(chain)]), (len(chain) - 1) % max(len(movable), 1)
    movable = [*movable[start:], *movable[:start]]
    eager = [decision for decision in movable if decision.name not in idle]
    lowered = zip_longest(*([(d, value) for value in _lower(d, genes[id(d)])] for d in eager))
    steps = [step for each in lowered for step in each if step is not None]
    steps += [(d, other_value(d, genes[id(d)], rng)) for d in (*eager, *movable * _DRAWS)]
    for moved, value in steps:
        choices = express(decisions, genes | {id(moved): value}, rng)
        if identity(decisions, choices) not in tried:
            return Proposal(choices, phase=REPAIR, parent=dict(wanted), mutation=changes(wanted, choices))
    return None


def _descent(chain: Sequence[Rejected]) -> tuple[Choices, set[str], int]:
    """Return what exceeded the limits least, the decisions two changes of which cost the same, and the steps since then."""
    base, at, same = chain[0], 0, Counter[str]()
    for i, one in enumerate(chain):
        if one.excess is None or base.excess is None or not i:
            continue
        if one.excess[1] == base.excess[1] and one.excess[0] < _ALIKE * base.excess[0]:
            same.update(list(changes(base.values, one.values)))
        elif one.excess < base.excess:
            base, at = one, i
    return base.values, {name for name, count in same.items() if count > 1}, len(chain) - 1 - at


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
