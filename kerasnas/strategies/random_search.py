"""Random search, the control of every comparison."""

from collections.abc import Sequence

import numpy as np

from kerasnas.strategies.base import Proposal, Strategy
from kerasnas.strategies.decision import Choices, Decision, Discrete, active_decisions
from kerasnas.strategies.space import random_choices

__all__ = ["RandomSearch"]


class RandomSearch(Strategy):
    """Draw every active decision uniformly on its own scale.

    Source:
        Bergstra & Bengio 2012.
    """

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin a search over `decisions`."""
        self._decisions = tuple(decisions)

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Choices:  # noqa: ARG002
        """Return a uniformly drawn configuration."""
        choices = random_choices(self._decisions, rng)
        listed = [d for d in active_decisions(self._decisions, choices) if isinstance(d, Discrete)]
        probabilities = {d.name: d.values.count(choices[d.name]) / d.size for d in listed}
        return Proposal(choices, phase="random", probabilities=probabilities)

    def observe(self, choices: Choices, score: float) -> None:
        """Learn nothing."""
