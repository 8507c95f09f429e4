"""Bringing a proposal that costs too much within the limits, instead of giving it up."""

from collections.abc import Collection, Hashable, Sequence

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
# Integers of a range up to this size are lowered one by one.
_FEW = 8


def repair(
    decisions: Sequence[Decision], chain: Sequence[Rejected], tried: Collection[Hashable], seed: Sequence[int]
) -> Proposal | None:
    """Return the next step from a proposal that exceeds a limit towards the limits; None if there is none, or no more.

    A step changes one decision of what exceeded the limits least so far: first numbers are lowered, as somebody would make a
    network narrower and shorter; if that is not enough, any decision takes another value. Decisions that a change of which led
    nowhere come last, the others take turns in an order that is drawn for each proposal. A step is of phase "repair": its
    parent is what the strategy wanted, and its mutation what became of that.

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
    eager = [decision for decision in movable if decision.name not in idle]
    rng, turn = np.random.default_rng([*seed, len(chain)]), len(chain) - 1
    steps = [(d, lower) for d in _from(turn, eager) if (lower := _lower(d, genes[id(d)])) is not None]
    steps += [(d, other_value(d, genes[id(d)], rng)) for d in (*_from(turn, eager), *_from(turn, movable * _DRAWS))]
    for moved, value in steps:
        choices = express(decisions, genes | {id(moved): value}, rng)
        if identity(decisions, choices) not in tried:
            return Proposal(choices, phase=REPAIR, parent=dict(wanted), mutation=changes(wanted, choices))
    return None


def _descent(chain: Sequence[Rejected]) -> tuple[Choices, set[str]]:
    """Return what exceeded the limits least, and the decisions whose changes on the way there led nowhere."""
    base, idle = chain[0], set()
    for one in chain[1:]:
        if one.excess is not None and one.excess < (base.excess or 0.0):
            base = one
        else:
            idle |= set(changes(base.values, one.values))
    return base.values, idle


def _from(turn: int, decisions: Sequence[Decision]) -> list[Decision]:
    """Return `decisions`, the one whose turn it is first."""
    start = turn % max(len(decisions), 1)
    return [*decisions[start:], *decisions[:start]]


def _lower(decision: Decision, value: Scalar) -> Scalar | None:
    """Return the next lower value of a list or of few integers, or a quarter of the range less; None if there is none."""
    if not decision.is_ordered:
        return None
    step = 1 / decision.size if decision.size and decision.size <= _FEW else 0.25
    unit = decision.to_unit(value)
    lower = decision.from_unit(max(unit - step, 0.0))
    return lower if lower != value else None
