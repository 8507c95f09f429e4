"""No configuration twice."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from kerasnas.strategies.base import Strategy
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.space import enumerate_choices, identity, neighbour, random_choices

__all__ = ["propose_untried"]

# How often the strategy is asked for something new, its answer mutated, and anything drawn, before the space is listed.
_ASKS = 50
_MUTATIONS = 200
_LISTED = 100_000


def propose_untried(
    strategy: Strategy, decisions: Sequence[Decision], tried: Collection[Hashable], rng: np.random.Generator
) -> Choices | None:
    """Return a proposal of `strategy` that was not tried, or what comes nearest to one.

    A strategy that has made up its mind proposes the same again and again. Then one decision of its answer is drawn anew,
    then all of them, and if that does not help either, an untried configuration is drawn from a list of the space.

    Args:
        strategy: started on `decisions`.
        decisions: the space.
        tried: the `identity` of every configuration that was tried or is being tried.
        rng: source of all randomness.
    Returns:
        Choices, or None if nothing is left to try.
    """
    for _ in range(_ASKS):
        choices = strategy.propose(rng)
        if identity(decisions, choices) not in tried:
            return choices
    for _ in range(_MUTATIONS):
        mutant = neighbour(decisions, choices, rng)
        if identity(decisions, mutant) not in tried:
            return mutant
    for _ in range(_MUTATIONS):
        drawn = random_choices(decisions, rng)
        if identity(decisions, drawn) not in tried:
            return drawn
    listed = (choices for _, choices in zip(range(_LISTED), enumerate_choices(decisions, rng), strict=False))
    left = [choices for choices in listed if identity(decisions, choices) not in tried]
    return left[int(rng.integers(len(left)))] if left else None
