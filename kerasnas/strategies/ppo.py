"""Proximal policy optimization with an autoregressive policy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.base import Beliefs, Proposal, Strategy
from kerasnas.strategies.centered_ranks import centered_ranks
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import Adam, AutoregressivePolicy, propose_from

__all__ = ["PPO", "surrogate", "surrogate_weights"]

Array = NDArray[np.float64]


class PPO(Strategy):
    """Policy-gradient search that uses each trial many times, but never moves the policy far on its account.

    After each trial the policy climbs `epochs` times (Adam) on the clipped surrogate, averaged over the last `batch` trials,
    plus w times the entropy of each step. The advantage of a trial is the rank of its score among all so far, scaled to
    [-1, 1]. The policy that a trial is compared with is the one at its observation: who proposed it does not matter.

    Args:
        learning_rate: step size of Adam, > 0.
        clip: how far the probability ratio of a step may leave 1 before it earns nothing more, in (0, 1).
        epochs: gradient steps after each trial, >= 1.
        batch: number of latest trials that are used, >= 1.
        entropy_weight: weight w of the entropy bonus, >= 0.
    Source:
        Schulman et al. 2017, eq. 7 and 9. Deviations: the batch slides by one trial instead of being drawn anew; no value
        function, as the only state that is worth comparing is the empty one; ranks as advantages; failed trials count as the
        worst.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.2,
        clip: float = 0.3,
        epochs: int = 4,
        batch: int = 8,
        entropy_weight: float = 0.03,
    ) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {learning_rate}.")
        if not 0 < clip < 1:
            raise ValueError(f"clip must be in (0, 1), got {clip}.")
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be an integer >= 1, got {epochs}.")
        if not isinstance(batch, int) or batch < 1:
            raise ValueError(f"batch must be an integer >= 1, got {batch}.")
        if not entropy_weight >= 0:
            raise ValueError(f"entropy_weight must be >= 0, got {entropy_weight}.")
        self.learning_rate = learning_rate
        self.clip = clip
        self.epochs = epochs
        self.batch = batch
        self.entropy_weight = entropy_weight

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with the policy that draws as random search does."""
        self._policy = AutoregressivePolicy(Encoding(decisions))
        self._optimizer = Adam(self._policy, self.learning_rate)
        self._scores: list[float] = []
        # The latest trials, oldest first: rows, and the log-probabilities of their steps when they were observed.
        self._units: Array = np.empty((0, len(decisions)))
        self._before: Array = np.empty((0, len(decisions)))

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Proposal:  # noqa: ARG002 - draws differ anyway
        """Sample the policy."""
        return propose_from(self._policy, rng)

    def observe(self, choices: Choices, score: float) -> None:
        """Take the gradient steps of one trial."""
        units = self._policy.encoding.encode([choices])
        self._scores.append(score)
        self._units = np.concatenate([self._units, units])[-self.batch :]
        self._before = np.concatenate([self._before, self._policy.step_log_probabilities(units)])[-self.batch :]
        advantages = centered_ranks(self._scores)[-self.batch :]
        for _ in range(self.epochs):
            ratios = np.exp(self._policy.step_log_probabilities(self._units) - self._before)
            weights = surrogate_weights(ratios, advantages, self.clip)
            gradient = self._policy.gradient(self._units, weights, self.entropy_weight)
            self._optimizer.step(gradient / len(self._units))

    def advantage(self, choices: Choices, score: float) -> float:  # noqa: ARG002
        """Return the rank of `score` among all so far, from -1 to 1."""
        return float(centered_ranks([*self._scores, score])[-1])

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what the policy would choose before it."""
        return self._policy.beliefs()


def surrogate(ratios: Array, advantages: Array, clip: float) -> Array:
    """Return min(r A, clip(r, 1 - clip, 1 + clip) A) for each step (eq. 7).

    Args:
        ratios: r, of the probability of each step to what it was at the observation, shape (rows, decisions).
        advantages: A, shape (rows,).
        clip: in (0, 1).
    """
    return np.asarray(np.minimum(ratios * advantages[:, None], np.clip(ratios, 1 - clip, 1 + clip) * advantages[:, None]))


def surrogate_weights(ratios: Array, advantages: Array, clip: float) -> Array:
    """Return what grad log pi of each step is multiplied by in the gradient of `surrogate`: r A, or 0 where it is clipped."""
    gained = np.where(advantages[:, None] > 0, ratios > 1 + clip, ratios < 1 - clip)
    return np.asarray(np.where(gained, 0.0, ratios * advantages[:, None]))
