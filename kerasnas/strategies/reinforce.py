"""REINFORCE with an autoregressive policy."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.base import Beliefs, Strategy
from kerasnas.strategies.decision import Choices, Decision, Discrete, Scalar, active_decisions
from kerasnas.strategies.space import walk

__all__ = ["Reinforce"]

Array = NDArray[np.float64]

# An ordered decision with more values than this is cut into as many equal bins; inside a bin the draw is uniform.
_MAX_ARMS = 32
_BINS = 16


class Reinforce(Strategy):
    r"""Policy-gradient search: make good choices more likely, in the context of the choices before them.

    The policy is autoregressive over the active decisions: decision t takes arm a with probability
    softmax(b_t + sum_{s<t} C_{s,t}[a_s])_a, so a kernel size can depend on the block kind chosen before it. After each trial
    the parameters follow A * grad log pi(choices) + w * grad H (Adam), where A is the advantage of the score over a baseline
    and H the entropy of each step.

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
        """Begin with the uniform policy."""
        self._decisions = tuple(decisions)
        arms = [_arms(decision) for decision in decisions]
        ends = np.cumsum([0, *arms])
        self._slices = {id(d): slice(int(ends[i]), int(ends[i + 1])) for i, d in enumerate(self._decisions)}
        total = int(ends[-1])
        # Row 0 holds the biases b, the others the context that an arm, once chosen, gives to all later decisions. The bins of
        # a range give none: they are many, and each is too rarely chosen to learn from.
        rows = np.cumsum([1, *(n if d.size == n else 0 for d, n in zip(self._decisions, arms, strict=True))])
        self._rows = {id(d): int(rows[i]) if d.size == arms[i] else None for i, d in enumerate(self._decisions)}
        self._weights: Array = np.zeros((int(rows[-1]), total))
        self._momentum: Array = np.zeros_like(self._weights)
        self._velocity: Array = np.zeros_like(self._weights)
        self._steps = 0
        self._scores: list[float] = []
        self._mean, self._variance = 0.0, 0.0

    def propose(self, rng: np.random.Generator) -> Choices:
        """Sample the policy."""
        rows = [0]

        def choose(decision: Decision, _: Choices) -> Scalar:
            policy = self._policy(decision, rows)
            arm = int(rng.choice(len(policy), p=policy))
            rows.extend(self._context(decision, arm))
            return _value(decision, arm, rng.random())

        return walk(self._decisions, choose)

    def observe(self, choices: Choices, score: float) -> None:
        """Take one policy-gradient step on `choices`."""
        advantage = self._advantage(score)
        gradient = self.log_probability_gradient(choices) * advantage
        if self.entropy_weight:
            gradient += self.entropy_weight * self._entropy_gradient(choices)
        self._steps += 1
        self._momentum = 0.9 * self._momentum + 0.1 * gradient
        self._velocity = 0.999 * self._velocity + 0.001 * gradient**2
        mean = self._momentum / (1 - 0.9**self._steps)
        scale = np.sqrt(self._velocity / (1 - 0.999**self._steps)) + 1e-8
        self._weights += self.learning_rate * self._step_scale() * mean / scale

    def log_probability(self, choices: Choices) -> float:
        """Return log pi(choices) under the current policy."""
        return float(sum(np.log(policy[arm]) for _, arm, policy, _ in self._steps_of(choices)))

    def log_probability_gradient(self, choices: Choices) -> Array:
        """Return the gradient of `log_probability` for all weights, shape (1 + context arms, arms)."""
        gradient = np.zeros_like(self._weights)
        for columns, arm, policy, rows in self._steps_of(choices):
            error = -policy
            error[arm] += 1.0
            gradient[rows, columns] = error
        return gradient

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what the policy would choose before it."""
        rng = np.random.default_rng(0)
        totals: dict[str, dict[str, float]] = {}
        for _ in range(32):
            for decision in self._decisions:
                totals.setdefault(decision.name, dict.fromkeys(_labels(decision), 0.0))
            rows = [0]

            def choose(decision: Decision, _: Choices, rows: list[int] = rows) -> Scalar:
                policy = self._policy(decision, rows)
                for label, probability in zip(_labels(decision), policy, strict=True):
                    counts = totals[decision.name]
                    counts[label] = counts.get(label, 0.0) + float(probability)
                arm = int(rng.choice(len(policy), p=policy))
                rows.extend(self._context(decision, arm))
                return _value(decision, arm, 0.5)

            walk(self._decisions, choose)
        beliefs = {}
        for name, counts in totals.items():
            weight = sum(counts.values())
            beliefs[name] = {k: v / weight if weight else 1 / len(counts) for k, v in counts.items()}
        return beliefs

    def _policy(self, decision: Decision, rows: list[int]) -> Array:
        logits: Array = self._weights[rows, self._slices[id(decision)]].sum(axis=0)
        exponentials = np.exp(logits - logits.max())
        return np.asarray(exponentials / exponentials.sum(), np.float64)

    def _steps_of(self, choices: Choices) -> list[tuple[slice, int, Array, list[int]]]:
        """Return columns, arm taken, policy and context rows of every decision that `choices` made."""
        steps = []
        rows = [0]
        for decision in active_decisions(self._decisions, choices):
            columns, arm = self._slices[id(decision)], _arm(decision, choices[decision.name])
            steps.append((columns, arm, self._policy(decision, rows), list(rows)))
            rows.extend(self._context(decision, arm))
        return steps

    def _context(self, decision: Decision, arm: int) -> list[int]:
        """Return the row of weights that choosing `arm` switches on for all later decisions, if there is one."""
        first = self._rows[id(decision)]
        return [] if first is None else [first + arm]

    def _entropy_gradient(self, choices: Choices) -> Array:
        gradient = np.zeros_like(self._weights)
        for columns, _, policy, rows in self._steps_of(choices):
            log_policy = np.log(policy + 1e-30)
            gradient[rows, columns] = -policy * (log_policy - np.sum(policy * log_policy))
        return gradient

    def _advantage(self, score: float) -> float:
        failed = not np.isfinite(score)
        if self.baseline == "rank":
            score = -np.inf if failed else score
            others, self._scores = self._scores, [*self._scores, score]
            if failed or not others:
                return -1.0 if failed else 0.0
            beaten = sum(other < score for other in others) + sum(other == score for other in others) / 2
            return 2 * beaten / len(others) - 1
        if failed:
            return -1.0
        if not self._scores:
            self._scores, self._mean = [score], score
            return 0.0
        difference = float(np.clip(score - self._mean, -1e100, 1e100))
        deviation = np.sqrt(self._variance)
        self._mean += 0.1 * difference
        self._variance = 0.9 * (self._variance + 0.1 * difference**2)
        return float(np.clip(difference / deviation, -3, 3)) if deviation > 0 else float(np.sign(difference))

    def _step_scale(self) -> Array:
        """Adam moves every weight alike; contexts share their decision's step, so that their sum moves as far as a bias."""
        scale = np.full((len(self._weights), 1), 1 / max(len(self._decisions), 1))
        scale[0] = 1.0
        return scale


def _arms(decision: Decision) -> int:
    size = decision.size
    return _BINS if size is None or (size > _MAX_ARMS and decision.is_ordered) else size


def _arm(decision: Decision, value: Scalar) -> int:
    if isinstance(decision, Discrete) and _arms(decision) == decision.size:
        return decision.index(value)
    return min(int(decision.to_unit(value) * _arms(decision)), _arms(decision) - 1)


def _value(decision: Decision, arm: int, unit: float) -> Scalar:
    return decision.from_unit((arm + unit) / _arms(decision))


def _labels(decision: Decision) -> list[str]:
    arms = _arms(decision)
    if decision.size == arms:
        return [str(decision.from_unit((i + 0.5) / arms)) for i in range(arms)]
    edges = [decision.from_unit(i / arms) for i in range(arms + 1)]
    return [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
