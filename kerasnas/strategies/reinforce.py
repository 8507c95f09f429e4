"""REINFORCE with an autoregressive policy."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kerasnas.strategies.base import Beliefs, Proposal, Strategy
from kerasnas.strategies.centered_ranks import centered_ranks
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import Adam, AutoregressivePolicy, propose_from

__all__ = ["Reinforce"]


class Reinforce(Strategy):
    r"""Policy-gradient search: make good choices more likely, in the context of the choices before them.

    After each trial the parameters of an `AutoregressivePolicy` follow A * grad log pi(choices) + w * grad H (Adam), where A is
    the advantage of the score over a baseline and H the entropy of each step. A kernel size can so depend on the block kind
    chosen before it.

    Args:
        learning_rate: step size of Adam, > 0. At a hundred trials small rates learn nothing.
        baseline: "rank" takes the rank of the score among all scores so far, scaled to [-1, 1], and so ignores the unit of the
            score; "moving" takes the score less its exponential moving average, in moving standard deviations.
        entropy_weight: weight w of the entropy bonus, >= 0.
    Source:
        Zoph & Le 2017, section 3.2 (eq. 3 and the moving baseline); Williams 1992. Deviations: log-linear contexts instead of
        an LSTM, which has too many parameters for a hundred trials; rank baseline by default; failed trials count as the worst.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.3,
        baseline: Literal["rank", "moving"] = "rank",
        entropy_weight: float = 0.1,
    ) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be > 0, got {learning_rate}.")
        if baseline not in ("rank", "moving"):
            raise ValueError(f"baseline must be 'rank' or 'moving', got {baseline!r}.")
        if not entropy_weight >= 0:
            raise ValueError(f"entropy_weight must be >= 0, got {entropy_weight}.")
        self.learning_rate = learning_rate
        self.baseline = baseline
        self.entropy_weight = entropy_weight

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with the policy that draws as random search does."""
        self._policy = AutoregressivePolicy(Encoding(decisions))
        self._optimizer = Adam(self._policy, self.learning_rate)
        self._scores: list[float] = []
        self._mean: float | None = None
        self._variance = 0.0

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Proposal:  # noqa: ARG002 - draws differ anyway
        """Sample the policy."""
        return propose_from(self._policy, rng)

    def observe(self, choices: Choices, score: float) -> None:
        """Take one policy-gradient step on `choices`."""
        advantage = self.advantage(choices, score)
        units = self._policy.encoding.encode([choices])
        self._optimizer.step(self._policy.gradient(units, np.array([[advantage]]), self.entropy_weight))
        self._scores.append(score)
        if np.isfinite(score):
            difference = self._difference(score)
            self._mean = float(score) if self._mean is None else self._mean + 0.1 * difference
            self._variance = 0.9 * (self._variance + 0.1 * difference**2)

    def advantage(self, choices: Choices, score: float) -> float:  # noqa: ARG002
        """Return what a step on this score would be multiplied by: its advantage over the baseline."""
        if not np.isfinite(score):
            return -1.0
        if self.baseline == "rank":
            return float(centered_ranks([*self._scores, score])[-1])
        difference = self._difference(score)
        deviation = np.sqrt(self._variance)
        return float(np.clip(difference / deviation, -3, 3)) if deviation > 0 else float(np.sign(difference))

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what the policy would choose before it."""
        return self._policy.beliefs()

    def _difference(self, score: float) -> float:
        """Return how far `score` lies above the moving average; kept to where its square is a finite number."""
        return 0.0 if self._mean is None else min(max(float(score) - self._mean, -1e100), 1e100)
