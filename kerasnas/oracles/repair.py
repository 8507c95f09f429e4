"""Bringing a proposal that costs too much within the limits, instead of giving it up."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from kerasnas.oracles.rejections import REPAIR, Rejected
from kerasnas.strategies import Decision, Proposal
from kerasnas.strategies.space import changes, identity
from kerasnas.strategies.variation import express, genes_of, other_value

__all__ = ["repair"]

# So many repairs of one proposal are tried.
_STEPS = 60
# So many values are drawn to find one that was not tried.
_DRAWS = 50


def repair(
    decisions: Sequence[Decision], chain: Sequence[Rejected], tried: Collection[Hashable], seed: Sequence[int]
) -> Proposal | None:
    """Return the next step from a proposal that exceeds a limit towards the limits; None if there is none, or no more.

    A step changes one decision of what exceeded the limits least so far. The decisions take turns, in an order that is drawn
    for each proposal. Such a proposal is of phase "repair": its parent is what the strategy wanted, and its mutation what
    became of that.

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
    base = min((one for one in chain if one.excess is not None), key=lambda one: one.excess or 0.0).values
    genes = genes_of(decisions, base)
    order = np.random.default_rng([*seed, 0]).permutation(len(decisions))
    movable = [decisions[i] for i in order if id(decisions[i]) in genes and decisions[i].size != 1]
    rng = np.random.default_rng([*seed, len(chain)])
    for draw in range(_DRAWS if movable else 0):
        moved = movable[(len(chain) - 1 + draw) % len(movable)]
        choices = express(decisions, genes | {id(moved): other_value(moved, genes[id(moved)], rng)}, rng)
        if identity(decisions, choices) not in tried:
            return Proposal(choices, phase=REPAIR, parent=dict(wanted), mutation=changes(wanted, choices))
    return None
