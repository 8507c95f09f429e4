"""Bringing a proposal that costs too much within the limits, instead of giving it up."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from itertools import zip_longest

import numpy as np

from kerasnas.oracles.rejections import REPAIR, Rejected
from kerasnas.strategies import Choices, Decision, Proposal, Scalar
from kerasnas.strategies.space import changes, identity
from kerasnas.strategies.variation import express, genes_of, other_value

__all__ = ["repair"]

# So many repairs of one proposal are tried.
_STEPS = 60
# So many values of each decision are drawn to find one that was not tried.
_DRAWS = 10
# What costs less than this share of another is the cheaper one: latencies are measured.
_BETTER = 0.97
# Integers of a range up to this size are lowered one by one.
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
    base, idle = _descent(chain)
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


def _descent(chain: Sequence[Rejected]) -> tuple[Choices, set[str]]:
    """Return what exceeded the limits least, and the decisions two changes of which made no difference on the way there."""
    base, same = chain[0], Counter[str]()
    for one in chain[1:]:
        if one.excess is not None and base.excess is not None and one.excess < _BETTER * base.excess:
            base = one
        elif one.excess == base.excess:
            same.update(list(changes(base.values, one.values)))
    return base.values, {name for name, count in same.items() if count > 1}


def _lower(decision: Decision, value: Scalar) -> list[Scalar]:
    """Return the lower values of a list or of few integers, or of quarters of the range, the nearest first."""
    if not decision.is_ordered:
        return []
    step = 1 / decision.size if decision.size and decision.size <= _FEW else 0.25
    units = np.arange(decision.to_unit(value) - step, -step / 2, -step)
    values = dict.fromkeys(decision.from_unit(max(unit, 0.0)) for unit in units)
    return [lower for lower in values if lower != value]
