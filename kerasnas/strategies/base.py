"""The interface of every search strategy."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from kerasnas.strategies.decision import Choices, Decision

__all__ = ["Beliefs", "Strategy"]

Beliefs = dict[str, dict[str, float]]


class Strategy(ABC):
    """A search algorithm, asked for choices and told their scores.

    Its state is a function of `start` and of the observations in their order: a search resumes by replaying them, and
    nothing else is saved. `propose` must therefore leave the state as it is and take all its randomness from `rng`.
    """

    @abstractmethod
    def start(self, decisions: Sequence[Decision]) -> None:
        """Forget everything and begin a search over `decisions`; parents come before the decisions they switch on."""

    @abstractmethod
    def propose(self, rng: np.random.Generator) -> Choices:
        """Return a value for every active decision, and for no other.

        The caller may ask again when it cannot use an answer (because it was tried before).
        """

    @abstractmethod
    def observe(self, choices: Choices, score: float) -> None:
        """Take in the score of `choices`: higher is better, NaN means that this configuration failed.

        `choices` may lack a decision (one that was discovered later) and need not have been proposed by this strategy.
        """

    def beliefs(self) -> Beliefs | None:
        """Return how likely each value of each decision is to be proposed next, or None if that never changes.

        The probabilities of one decision sum to one; they are conditional on the decision being active.
        """
        return None
