"""No configuration twice."""

from collections.abc import Collection, Hashable, Sequence

import numpy as np

from kerasnas.strategies.base import Strategy
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.space import enumerate_choices, identity, neighbour

__all__ = ["propose_untried"]

# How often the strategy is asked for something new, and then how often its answer is mutated, before the space is listed.
_ASKS = 50
_MUTATIONS = 200
_LISTED = 100_000


def propose_untried(
    strategy: Strategy, decisions: Sequence[Decision], tried: Collection[Hashable], rng: np.random.Generator
) -> Choices | None:
    """Return a proposal of `strategy` that was not tried, or what comes nearest to one.

    A strategy that has made up its mind proposes the same again and again. Then one decision of its answer is drawn anew, and
    if that does not help either, an untried configuration is drawn from a list of the space.

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
    if any(decision.size is None for decision in decisions):
        return choices  # a strategy that has settled on one point of a space of real numbers
    listed = (choices for _, choices in zip(range(_LISTED), enumerate_choices(decisions), strict=False))
    left = [choices for choices in listed if identity(decisions, choices) not in tried]
    return left[int(rng.integers(len(left)))] if left else None
