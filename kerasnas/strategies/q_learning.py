"""Q-learning, decision by decision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.base import Beliefs, Proposal, Strategy
from kerasnas.strategies.centered_ranks import centered_ranks
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import Autoregressive, propose_from

__all__ = ["ActionValues", "QLearning"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# A choice that was never tried is thought to be of middling worth.
_UNKNOWN = 0.5
# Paths in a batch.
_BATCH = 32


class ActionValues(Autoregressive):
    """Values Q(s, a) of the arms of each decision, and the policy that is greedy in them but for a share epsilon.

    The state s is the decision t to be made and all choices before it. Q is linear in what is known of them:
    Q(s, a) = b_t[a] + sum_{s in context(t)} C_{s,t}[a_s, a] + v_t + sum_{s before t} V_{s,t}[a_s].
    The last two terms are alike for all arms: they hand what earlier choices are worth back to them.

    Attributes:
        epsilon: the probability that a decision is made as random search would, in (0, 1].
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__(encoding)
        self.epsilon = 1.0
        # For each decision v, V for all arms, and a zero for decisions that were not made.
        self._past: Array = np.zeros((len(encoding), 2 + sum(self.arms)))
        self._past[:, 0] = _UNKNOWN

    def first(self) -> Array:
        """Return the values of the first decision."""
        values = self._values(0, self._nothing_taken(1), np.empty((1, 0), int), np.array([0]))
        return np.asarray(values[0])

    def values(self, units: Array) -> Array:
        """Return the value of the arm that each row took at each decision, shape as `units`; NaN where not active."""
        made, taken = self._taken(units)
        places, values = self._places(made), np.full(units.shape, np.nan)
        for column in range(len(self.arms)):
            rows = np.flatnonzero(made[:, column] >= 0)
            values[rows, column] = self._values(column, taken, places, rows)[np.arange(rows.size), made[rows, column]]
        return values

    def learn(self, units: Array, rewards: Array, *, learning_rate: float, discount: float) -> None:
        """Update the values along some paths at once, last decision first, so that the reward reaches the first at once.

        Each value moves as Q(s, a) += alpha [r + gamma max Q(s', .) - Q(s, a)], in the mean over the paths; r is zero but
        after the last decision of a path.

        Args:
            units: the paths, shape (rows, decisions).
            rewards: of each path, shape (rows,).
            learning_rate: alpha.
            discount: gamma.
        """
        made, taken = self._taken(units)
        places, targets = self._places(made), rewards.astype(np.float64)
        for column in reversed(range(len(self.arms))):
            rows = np.flatnonzero(made[:, column] >= 0)
            if not rows.size:
                continue
            near, arm = taken[rows[:, None], self._inputs[column]], made[rows, column]
            errors = targets[rows] - self._values(column, taken, places, rows)[np.arange(rows.size), arm]
            # The gradient of Q has so many ones: divided by their number, a step of alpha moves Q itself by alpha.
            ones = 1 + (made[rows, :column] >= 0).sum(axis=1) + near.sum(axis=1)
            steps = learning_rate * errors / ones / rows.size
            start, end = self._spans[column]
            chosen = np.zeros((rows.size, self.arms[column]))
            chosen[np.arange(rows.size), arm] = steps
            self.parameters[start:end] += (near.T @ chosen).ravel()
            before, past = places[rows, :column], self._past[column]
            past += np.bincount(before.ravel(), np.repeat(steps, column), past.size)
            past[0] += steps.sum()
            past[-1] = 0
            targets[rows] = discount * self._values(column, taken, places, rows).max(axis=1)

    def _places(self, made: Rows) -> Rows:
        return np.where(made >= 0, self._first + made, self._past.shape[1] - 1)

    def _values(self, column: int, taken: Array, places: Rows, rows: Rows) -> Array:
        past = self._past[column]
        worth = past[0] + past[places[rows, :column]].sum(axis=1)
        return np.asarray(self._linear(column, taken, rows) + worth[:, None])

    def _log_policy(self, column: int, taken: Array, rows: Rows) -> Array:
        shares, values = self._cuts[column].shares, self._linear(column, taken, rows)
        greedy = np.where(values == values.max(axis=1, keepdims=True), shares, 0.0)
        greedy /= greedy.sum(axis=1, keepdims=True)
        return np.asarray(np.log(self.epsilon * shares + (1 - self.epsilon) * greedy))


class QLearning(Strategy):
    """Layer by layer, take the choice that leads to the best networks, or with probability epsilon any.

    A configuration is a path through the decisions, and its reward comes at the end. After each trial batches of paths are
    drawn from all trials, and the new one is in each; `ActionValues` learns from them. The reward is the rank of the score
    among all scores so far, scaled to [0, 1]; it is worked out anew after each trial, and a failed trial has 0.

    Args:
        learning_rate: alpha, in (0, 1]; 1 takes the mean of a batch at its word.
        discount: gamma, in [0, 1]; 1, as the first decision is worth no less than the last.
        replay: number of batches after each trial, >= 1.
        warm_up: number of trials made wholly at random, >= 1; then epsilon is warm_up / trials: four times as many
            trials, a quarter of the decisions at random.
        final_epsilon: what epsilon does not fall below, in (0, 1]; but in a space of more than 1 / final_epsilon decisions,
            one over their number: about one random decision in each proposal.
    Source:
        Baker et al. 2017 (MetaQNN), eq. 3, algorithms 1 to 3. Deviations: values linear in all choices so far instead of a
        table over the layer before, in which the reward at the end does not find its way back to early choices; batches; ranks
        instead of accuracies; an epsilon that falls with the number of trials, not by a table of thousands of them.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 1.0,
        discount: float = 1.0,
        replay: int = 4,
        warm_up: int = 10,
        final_epsilon: float = 0.1,
    ) -> None:
        if not 0 < learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], got {learning_rate}.")
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {discount}.")
        if not isinstance(replay, int) or replay < 1:
            raise ValueError(f"replay must be an integer >= 1, got {replay}.")
        if not isinstance(warm_up, int) or warm_up < 1:
            raise ValueError(f"warm_up must be an integer >= 1, got {warm_up}.")
        if not 0 < final_epsilon <= 1:
            raise ValueError(f"final_epsilon must be in (0, 1], got {final_epsilon}.")
        self.learning_rate = learning_rate
        self.discount = discount
        self.replay = replay
        self.warm_up = warm_up
        self.final_epsilon = final_epsilon

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with equal values."""
        self._values = ActionValues(Encoding(decisions))
        self._units: list[Array] = []
        self._scores: list[float] = []

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Proposal:  # noqa: ARG002 - draws differ anyway
        """Draw from the epsilon-greedy policy."""
        proposal = propose_from(self._values, rng)
        proposal.why["epsilon"] = self._values.epsilon
        return proposal

    def observe(self, choices: Choices, score: float) -> None:
        """Learn from the new trial and from earlier ones."""
        self._units.append(self._values.encoding.encode([choices])[0])
        self._scores.append(score)
        count = len(self._scores)
        units, rewards = np.array(self._units), (1 + centered_ranks(self._scores)) / 2
        rng = np.random.default_rng(count)  # what is learned must follow from the observations alone
        for _ in range(self.replay):
            paths = np.append(rng.integers(count, size=_BATCH - 1), count - 1)
            self._values.learn(units[paths], rewards[paths], learning_rate=self.learning_rate, discount=self.discount)
        self._values.epsilon = self.epsilon(count)

    def epsilon(self, trials: int) -> float:
        """Return the share of the decisions that is made at random after so many trials."""
        least = min(self.final_epsilon, 1 / max(len(self._values.encoding), 1))
        return max(least, min(1.0, self.warm_up / (trials + 1)))

    def advantage(self, choices: Choices, score: float) -> float:  # noqa: ARG002
        """Return the reward less the value of the first state: what the best path is thought to be worth."""
        reward = float(1 + centered_ranks([*self._scores, score])[-1]) / 2
        return reward - (float(self._values.first().max()) if len(self._values.encoding) else _UNKNOWN)

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what would be chosen before it."""
        return self._values.beliefs()
