"""The interface of every search strategy."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasnas.strategies.decision import Choices, Decision, Scalar

__all__ = ["Beliefs", "Observation", "Proposal", "Strategy"]

Beliefs = dict[str, dict[str, float]]
Observation = tuple[Choices, float]


class Proposal(dict[str, Scalar]):
    """Choices that say why they were made.

    Attributes:
        why: JSON-able facts for the decision ledger. Keys that several strategies share: "phase" (what made it: "initial",
            "policy", "crossover", ...; "initial point", "warm start", "novelty" and "repair" are the oracle's),
            "probabilities" (of the chosen value of each decision under the policy), "entropy" (of the policy over these
            decisions, nats), "predicted" ({"mean", "std"} of the score as the reward model sees it, in the unit named by
            "unit"), "parent" (or "parents": choices), "mutation" ({name: [old, new]}), "runner_up" (choices).
    """

    def __init__(self, choices: Mapping[str, Scalar], **why: Any) -> None:
        super().__init__(choices)
        self.why = why


class Strategy(ABC):
    """A search algorithm, asked for choices and told their scores.

    Its state is a function of `start`, `learn_earlier`, `learn_points` and of the observations in their order: a search
    resumes by replaying them, and nothing else is saved. `propose` must therefore leave the state as it is and take all its
    randomness from `rng`.

    Attributes:
        scores_change: set by whoever asks: whether all scores may be other ones once another trial has ended, as those of
            several objectives are. Then the strategy is started anew each time, and what is costly to learn is not worth it.
    """

    scores_change = False

    @abstractmethod
    def start(self, decisions: Sequence[Decision]) -> None:
        """Forget everything and begin a search over `decisions`; parents come before the decisions they switch on."""

    @abstractmethod
    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Choices:
        """Return a value for every active decision, and for no other; a `Proposal` if there is more to say.

        The caller may ask again when it cannot use an answer (because it was tried before).

        Args:
            rng: source of all randomness.
            pending: configurations that are being tried; their scores are not known yet.
        """

    @abstractmethod
    def observe(self, choices: Choices, score: float) -> None:
        """Take in the score of `choices`: higher is better, NaN means that this configuration failed.

        `choices` may lack a decision (one that was discovered later) and need not have been proposed by this strategy.
        """

    def learn_earlier(self, observations: Sequence[Observation]) -> None:  # noqa: B027 - most strategies have no use for it
        """Take in an earlier search, called after `start`; its scores may be of another data set and in another unit."""

    def learn_points(self, points: Sequence[Choices]) -> None:  # noqa: B027 - likewise
        """Take in configurations that somebody expects to be good, called after `start`; they are tried in any case."""

    def advantage(self, choices: Choices, score: float) -> float | None:  # noqa: ARG002
        """Return the advantage that the strategy gives `score` now, larger for better, or None if it knows no such thing.

        For most it is the rank of the score among all so far, from -1 to 1.
        """
        return None

    def beliefs(self) -> Beliefs | None:
        """Return how likely each value of each decision is to be proposed next, or None if that never changes.

        The probabilities of one decision sum to one; they are conditional on the decision being active.
        """
        return None
