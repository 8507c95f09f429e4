"""Random search, the control of every comparison."""

from collections.abc import Sequence

import numpy as np

from kerasnas.strategies.base import Strategy
from kerasnas.strategies.decision import Choices, Decision
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

    def propose(self, rng: np.random.Generator) -> Choices:
        """Return a uniformly drawn configuration."""
        return random_choices(self._decisions, rng)

    def observe(self, choices: Choices, score: float) -> None:
        """Learn nothing."""
