"""No configuration twice."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from kerasnas.strategies.base import Proposal, Strategy
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.space import changes, enumerate_choices, identity, neighbour, random_choices

__all__ = ["propose_untried"]

# How often the strategy is asked for something new, its answer mutated, and anything drawn, before the space is listed.
_ASKS = 50
_MUTATIONS = 200
_LISTED = 100_000


def propose_untried(
    strategy: Strategy,
    decisions: Sequence[Decision],
    tried: Collection[Hashable],
    rng: np.random.Generator,
    pending: Sequence[Choices] = (),
) -> Proposal | None:
    """Return a proposal of `strategy` that was not tried, or what comes nearest to one.

    A strategy that has made up its mind proposes the same again and again. Then one decision of its answer is drawn anew,
    then all of them, and if that does not help either, an untried configuration is drawn from a list of the space. Such a
    proposal is of phase "novelty": its parent is what the strategy wanted, and its mutation what became of that.

    Args:
        strategy: started on `decisions`.
        decisions: the space.
        tried: the `identity` of every configuration that was tried or is being tried.
        rng: source of all randomness.
        pending: what is being tried, for the strategy.
    Returns:
        A proposal, or None if nothing is left to try.
    """
    for _ in range(_ASKS):
        wanted = strategy.propose(rng, pending)
        if identity(decisions, wanted) not in tried:
            return wanted if isinstance(wanted, Proposal) else Proposal(wanted)
    for _ in range(_MUTATIONS):
        mutant = neighbour(decisions, wanted, rng)
        if identity(decisions, mutant) not in tried:
            return _instead_of(wanted, mutant)
    for _ in range(_MUTATIONS):
        drawn = random_choices(decisions, rng)
        if identity(decisions, drawn) not in tried:
            return _instead_of(wanted, drawn)
    listed = (choices for _, choices in zip(range(_LISTED), enumerate_choices(decisions, rng), strict=False))
    left = [choices for choices in listed if identity(decisions, choices) not in tried]
    return _instead_of(wanted, left[int(rng.integers(len(left)))]) if left else None


def _instead_of(wanted: Choices, choices: Choices) -> Proposal:
    return Proposal(choices, phase="novelty", parent=dict(wanted), mutation=changes(wanted, choices))
