"""Q-learning, decision by decision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.arms import Arms
from kerasnas.strategies.base import Beliefs, Proposal, Strategy
from kerasnas.strategies.centered_ranks import centered_ranks
from kerasnas.strategies.decision import Choices, Decision, Scalar, active_decisions
from kerasnas.strategies.space import walk

__all__ = ["QLearning"]

Array = NDArray[np.float64]
State = tuple[int, int, int]  # the decision to make; the decision made before it and the arm that it took, both -1 at the start
Step = tuple[State, int]

# A value that was never tried is thought to be of middling worth.
_UNKNOWN = 0.5


class QLearning(Strategy):
    """Layer by layer, take the choice that led to the best networks, or with probability epsilon any.

    A configuration is built as a path: the state is the decision to be made and the arm (see `Arms`) that was taken at the
    active decision before it, and the reward comes after the last decision. After each trial `replay` paths are drawn from
    all trials so far, the new one first; each is gone through backwards with Q(s, a) += alpha [r + gamma max Q(s', .) -
    Q(s, a)]. The reward r is the rank of the score among all scores so far, scaled to [0, 1], and is worked out anew at each
    replay.

    Args:
        learning_rate: alpha, in (0, 1].
        discount: gamma, in [0, 1]; 1, as the last decision is no more worth than the first.
        replay: paths replayed after each trial, >= 1.
        warm_up: number of trials made wholly at random, >= 1; epsilon is 1 until then and `warm_up` / trials from then on, so
            half the trials of a search twice as long and a quarter of one four times as long explore.
        final_epsilon: what epsilon does not fall below, in [0, 1]; in a space of more than 1 / final_epsilon decisions
            it is one over their number, one random decision in each proposal.
    Source:
        Baker et al. 2017 (MetaQNN), eq. 3, algorithms 1 to 3. Deviations: ranks instead of accuracies, which need not lie in
        [0, 1]; an epsilon that falls with the number of trials, not by a table of thousands of them; the choice before stands
        for the layer so far.
    """

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        discount: float = 1.0,
        replay: int = 100,
        warm_up: int = 20,
        final_epsilon: float = 0.1,
    ) -> None:
        if not 0 < learning_rate <= 1:
            raise ValueError(f"learning_rate must be in (0, 1], got {learning_rate}.")
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {discount}.")
        if not replay >= 1:
            raise ValueError(f"replay must be >= 1, got {replay}.")
        if not warm_up >= 1:
            raise ValueError(f"warm_up must be >= 1, got {warm_up}.")
        if not 0 <= final_epsilon <= 1:
            raise ValueError(f"final_epsilon must be in [0, 1], got {final_epsilon}.")
        self.learning_rate = learning_rate
        self.discount = discount
        self.replay = replay
        self.warm_up = warm_up
        self.final_epsilon = final_epsilon

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with equal values."""
        self._decisions = tuple(decisions)
        self._column = {id(decision): i for i, decision in enumerate(self._decisions)}
        self._arms = [Arms(decision) for decision in decisions]
        self._values: dict[State, Array] = {}
        self._paths: list[list[Step]] = []
        self._scores: list[float] = []

    @property
    def epsilon(self) -> float:
        """The probability that a decision of the next proposal is made at random."""
        floor = min(self.final_epsilon, 1 / max(len(self._decisions), 1))
        return max(floor, min(1.0, self.warm_up / (len(self._scores) + 1)))

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Proposal:  # noqa: ARG002 - draws differ anyway
        """Be greedy but for a share epsilon of the decisions; the runner-up is greedy in all of them."""
        epsilon = self.epsilon
        choices, policies, arms = self._draw(epsilon, rng)
        proposal = Proposal(
            choices,
            phase="policy",
            epsilon=epsilon,
            probabilities={self._decisions[c].name: float(p[arms[c]]) for c, p in policies.items()},
            entropy=float(-sum(p[p > 0] @ np.log(p[p > 0]) for p in policies.values())),
        )
        greedy, _, greedy_arms = self._draw(0.0, rng)
        if greedy_arms != arms:
            proposal.why["runner_up"] = greedy
        return proposal

    def observe(self, choices: Choices, score: float) -> None:
        """Replay the new trial and some of the earlier ones."""
        self._paths.append(self._path(choices))
        self._scores.append(score)
        rewards = (1 + centered_ranks(self._scores)) / 2
        last = len(self._scores) - 1
        # Seeded by the number of trials: what is learned must follow from the observations alone.
        for trial in [last, *np.random.default_rng(last).integers(last + 1, size=self.replay - 1)]:
            self._learn(self._paths[trial], float(rewards[trial]))

    def advantage(self, choices: Choices, score: float) -> float:
        """Return the reward less the value of the first state: what the best path is thought to be worth."""
        reward = (1 + centered_ranks([*self._scores, score])[-1]) / 2
        path = self._path(choices)
        return float(reward - (self._value(path[0][0]).max() if path else _UNKNOWN))

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what is chosen before it."""
        rng = np.random.default_rng(0)
        sums = [np.zeros(len(arms)) for arms in self._arms]
        for _ in range(64):
            for column, policy in self._draw(self.epsilon, rng)[1].items():
                sums[column] += policy
        beliefs: Beliefs = {}
        for decision, arms, masses in zip(self._decisions, self._arms, sums, strict=True):
            counts = beliefs.setdefault(decision.name, {})
            for label, mass in zip(arms.labels(), masses, strict=True):
                counts[label] = counts.get(label, 0.0) + float(mass)
        for counts in beliefs.values():
            total = sum(counts.values())
            counts.update({label: mass / total if total else 1 / len(counts) for label, mass in counts.items()})
        return beliefs

    def _draw(self, epsilon: float, rng: np.random.Generator) -> tuple[Choices, dict[int, Array], dict[int, int]]:
        """Return choices, and of each decision made, by its column, the policy and the arm taken."""
        policies: dict[int, Array] = {}
        arms: dict[int, int] = {}
        before = (-1, -1)

        def choose(decision: Decision, _: Choices) -> Scalar:
            nonlocal before
            column = self._column[id(decision)]
            values = self._value((column, *before))
            best = values == values.max()
            shares = self._arms[column].shares
            policy = epsilon * shares + (1 - epsilon) * best * shares / shares[best].sum()
            arm = min(int((policy.cumsum() < rng.random()).sum()), len(policy) - 1)
            policies[column], arms[column], before = policy, arm, (column, arm)
            return decision.from_unit(float(self._arms[column].draw(np.array(arm), np.array(rng.random()))))

        return walk(self._decisions, choose), policies, arms

    def _path(self, choices: Choices) -> list[Step]:
        path: list[Step] = []
        before = (-1, -1)
        for decision in active_decisions(self._decisions, choices):
            column = self._column[id(decision)]
            arm = int(self._arms[column].of(np.array(decision.to_unit(choices[decision.name]))))
            path.append(((column, *before), arm))
            before = (column, arm)
        return path

    def _learn(self, path: Sequence[Step], reward: float) -> None:
        """Update the values of each step of a path, the last first, so that the reward reaches the first at once."""
        target = reward
        for state, arm in reversed(path):
            values = self._values.setdefault(state, np.full(len(self._arms[state[0]]), _UNKNOWN))
            values[arm] += self.learning_rate * (target - values[arm])  # eq. 3; the reward is zero but after the last step
            target = self.discount * float(values.max())

    def _value(self, state: State) -> Array:
        return self._values[state] if state in self._values else np.full(len(self._arms[state[0]]), _UNKNOWN)
