"""An autoregressive policy over the decisions of a space, in batches."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.arms import Arms
from kerasnas.strategies.base import Beliefs, Proposal
from kerasnas.strategies.encoding import Encoding

__all__ = ["Adam", "Autoregressive", "AutoregressivePolicy", "propose_from"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# A decision looks at the nearest of the decisions before it that have together so many arms: of more, each is too rarely taken
# to learn from.
_CONTEXT_ARMS = 64

# Draws times arms that beliefs are averaged over: with every proposal, which is to take no more than 50 ms.
_BELIEF_COST = 150_000


class Autoregressive(ABC):
    """Makes the active decisions of many configurations in order, each at random in the light of those before it.

    Ranges and long ordered lists are cut into bins (`Arms`).

    Args:
        encoding: the space.
        context: how many of the decisions before it a decision looks at, at most; fewer where they have many values, and
            always those that its conditions name. Bins give no context: they are many, and each is too rarely chosen to learn
            from. So the number of parameters grows linearly with the number of decisions.

    Attributes:
        arms: the number of arms of each decision.
    """

    def __init__(self, encoding: Encoding, *, context: int = 16) -> None:
        self.encoding = encoding
        self._cuts = [Arms(decision) for decision in encoding.decisions]
        self._log_shares = [np.log(cut.shares) for cut in self._cuts]
        self.arms = [len(cut) for cut in self._cuts]
        self._first = np.cumsum([1, *self.arms])[:-1]
        # The columns of the one-hot matrix (0: always one; then the arms of all decisions) that each decision looks at.
        self._inputs: list[Rows] = []
        self._contexts: list[int] = []
        gives_context = [cut.are_values and len(cut) > 1 for cut in self._cuts]
        for column, parents in enumerate(encoding.parents):
            near = [s for s in range(column) if gives_context[s]][-context:] if context else []
            while sum(self.arms[s] for s in near) > _CONTEXT_ARMS:
                near.pop(0)
            seen = sorted({*near, *(p for p in parents if gives_context[p])})
            looked_at = [self._first[s] + np.arange(self.arms[s]) for s in seen]
            self._inputs.append(np.concatenate([[0], *looked_at]).astype(int))
            self._contexts.append(len(seen))
        self._shapes = [(len(inputs), k) for inputs, k in zip(self._inputs, self.arms, strict=True)]
        self._spans = list(pairwise(int(end) for end in np.cumsum([0, *(rows * k for rows, k in self._shapes)])))
        self.parameters: Array = np.zeros(sum(rows * k for rows, k in self._shapes))

    def copy(self) -> Self:
        """Return a policy that learns without this one."""
        twin = copy.copy(self)
        twin.parameters = self.parameters.copy()
        return twin

    @abstractmethod
    def _log_policy(self, column: int, taken: Array, rows: Rows) -> Array:
        """Return the log-probabilities of all arms of a decision in these rows, given what the rows took before."""

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw configurations, shape (count, decisions); see `Encoding` for their meaning."""
        return self.draw(count, rng)[0]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """Return `sample`, and of these rows `step_log_probabilities` and `entropy`."""
        units = np.full((count, len(self.encoding)), np.nan)
        log_probabilities, entropy = np.zeros(units.shape), np.zeros(count)
        for column, rows, log_policy, arm in self._fill(units, rng.random((2, *units.shape))):
            log_probabilities[rows, column] = log_policy[np.arange(rows.size), arm]
            entropy[rows] -= (np.exp(log_policy) * log_policy).sum(axis=1)
        return units, log_probabilities, entropy

    def step_log_probabilities(self, units: Array) -> Array:
        """Return the log-probability of the arm that each row took at each decision, shape as `units`; 0 where not active."""
        taken = np.zeros(units.shape)
        for column, rows, log_policy, arm in self._steps(*self._taken(units)):
            taken[rows, column] = log_policy[np.arange(len(rows)), arm]
        return taken

    def probabilities(self, units: Array) -> Array:
        """Return the probability of the arm that each row took at each decision, shape as `units`; 1 where not active."""
        return np.asarray(np.exp(self.step_log_probabilities(units)))

    def log_probability(self, units: Array) -> Array:
        """Return log pi of each row, shape (rows,)."""
        return np.asarray(self.step_log_probabilities(units).sum(axis=1))

    def entropy(self, units: Array) -> Array:
        """Return the sum of the entropies of the steps that lead to each row, in nats, shape (rows,)."""
        total = np.zeros(len(units))
        for _, rows, log_policy, _ in self._steps(*self._taken(units)):
            total[rows] -= (np.exp(log_policy) * log_policy).sum(axis=1)
        return total

    def beliefs(self) -> Beliefs:
        """Return the probability of each value where its decision is made, averaged over what may be chosen before it.

        An estimate from 1024 draws with a seed of its own, fewer (down to 64) in spaces of more than some 150 values. Its
        standard error is at most 0.5 / sqrt(the draws that make the decision), and zero where nothing before it matters.
        """
        count = min(1024, max(64, _BELIEF_COST // max(1, sum(self.arms))))
        units = np.full((count, len(self.encoding)), np.nan)
        beliefs: Beliefs = {}
        weights = dict.fromkeys((decision.name for decision in self.encoding.decisions), 0)
        for decision, cut in zip(self.encoding.decisions, self._cuts, strict=True):
            beliefs.setdefault(decision.name, {}).update(dict.fromkeys(cut.labels(), 0.0))
        for column, rows, log_policy, _ in self._fill(units, _spread(*units.shape)):
            name = self.encoding.decisions[column].name
            weights[name] += rows.size
            for label, mass in zip(self._cuts[column].labels(), np.exp(log_policy).sum(axis=0), strict=True):
                beliefs[name][label] += float(mass)
        return {
            name: {k: v / weights[name] if weights[name] else 1 / len(counts) for k, v in counts.items()}
            for name, counts in beliefs.items()
        }

    def _fill(self, units: Array, draws: Array) -> Iterator[tuple[int, Rows, Array, Rows]]:
        """Draw configurations into rows of NaN, by numbers in [0, 1) for arms and within arms; yield what `_steps` does."""
        taken = self._nothing_taken(len(units))
        for column, arms in enumerate(self.arms):
            rows = np.flatnonzero(self.encoding.active(column, units))
            if not rows.size:
                continue
            log_policy = self._log_policy(column, taken, rows)
            arm = np.minimum((np.exp(log_policy).cumsum(axis=1) < draws[0, rows, column, None]).sum(axis=1), arms - 1)
            taken[rows, self._first[column] + arm] = 1
            units[rows, column] = self.encoding.snap(column, self._cuts[column].draw(arm, draws[1, rows, column]))
            yield column, rows, log_policy, arm

    def _nothing_taken(self, count: int) -> Array:
        taken = np.zeros((count, 1 + sum(self.arms)))
        taken[:, 0] = 1
        return taken

    def _taken(self, units: Array) -> tuple[Rows, Array]:
        """Return the arms that rows took, -1 where not active, and the same as a one-hot matrix; its first column is one."""
        made = np.array([cut.of(units[:, column]) for column, cut in enumerate(self._cuts)], int).reshape(units.T.shape).T
        made = np.where(np.isnan(units), -1, made)
        taken = self._nothing_taken(len(units))
        rows, columns = np.nonzero(made >= 0)
        taken[rows, self._first[columns] + made[rows, columns]] = 1
        return made, taken

    def _steps(self, made: Rows, taken: Array) -> Iterator[tuple[int, Rows, Array, Rows]]:
        """Yield column, rows that made it, their log-policies and the arms they took, for every decision that a row made."""
        for column in range(len(self.arms)):
            rows = np.flatnonzero(made[:, column] >= 0)
            if rows.size:
                yield column, rows, self._log_policy(column, taken, rows), made[rows, column]

    def _linear(self, column: int, taken: Array, rows: Rows) -> Array:
        """Return b_t + sum_s C_{s,t}[a_s] of decision t in these rows, shape (rows, arms)."""
        start, end = self._spans[column]
        weights = self.parameters[start:end].reshape(self._shapes[column])
        return np.asarray(taken[rows[:, None], self._inputs[column]] @ weights)


class AutoregressivePolicy(Autoregressive):
    r"""Decision t takes arm a with probability softmax(log u_t + b_t + sum_{s in context(t)} C_{s,t}[a_s])_a.

    u_t is the share of an arm on the decision's own scale: the policy whose parameters are zero draws as random search does.

    Args:
        encoding: the space.
        context: see `Autoregressive`.

    Attributes:
        parameters: all biases b and contexts C in one vector, at first zero.
        step_scale: 1 for biases; for contexts one over the most that add up at any decision, so that their sum moves no
            further than a bias under an optimizer that moves every parameter alike.
    """

    def __init__(self, encoding: Encoding, *, context: int = 16) -> None:
        super().__init__(encoding, context=context)
        self.step_scale: Array = np.full_like(self.parameters, 1 / (1 + max(self._contexts, default=0)))
        for (start, _), arms in zip(self._spans, self.arms, strict=True):
            self.step_scale[start : start + arms] = 1

    def gradient(self, units: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """Return d/dparameters of sum_rows sum_steps (weights * log pi(step) + entropy_weight * entropy(step)).

        Args:
            units: rows, shape (rows, decisions).
            weights: of each step, shape (rows, decisions), or of each row, shape (rows, 1).
            entropy_weight: of every step.
        """
        gradient = np.zeros_like(self.parameters)
        weights = np.broadcast_to(weights, units.shape)
        made, taken = self._taken(units)
        for column, rows, log_policy, arm in self._steps(made, taken):
            policy = np.exp(log_policy)
            error = -policy * weights[rows, column, None]
            error[np.arange(len(rows)), arm] += weights[rows, column]
            if entropy_weight:
                error -= entropy_weight * policy * (log_policy - (policy * log_policy).sum(axis=1, keepdims=True))
            start, end = self._spans[column]
            gradient[start:end] = (taken[rows[:, None], self._inputs[column]].T @ error).ravel()
        return gradient

    def _log_policy(self, column: int, taken: Array, rows: Rows) -> Array:
        logits = self._linear(column, taken, rows) + self._log_shares[column]
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return np.asarray(logits)


class Adam:
    """Ascent with Adam (Kingma & Ba 2015), beta 0.9 and 0.999."""

    def __init__(self, policy: AutoregressivePolicy, learning_rate: float) -> None:
        self._policy = policy
        self._rate: Array = learning_rate * policy.step_scale
        self._momentum: Array = np.zeros_like(policy.parameters)
        self._velocity: Array = np.zeros_like(policy.parameters)
        self._steps = 0

    def step(self, gradient: Array) -> None:
        """Move the policy's parameters along `gradient`."""
        self._steps += 1
        # In place: a space of hundreds of decisions has millions of parameters.
        self._momentum *= 0.9
        self._momentum += 0.1 * gradient
        self._velocity *= 0.999
        self._velocity += 0.001 * gradient**2
        step = np.sqrt(self._velocity)
        step += 1e-8 * (root := math.sqrt(1 - 0.999**self._steps))
        np.divide(self._momentum, step, out=step)
        step *= self._rate
        step *= root / (1 - 0.9**self._steps)
        self._policy.parameters += step


def _spread(count: int, columns: int) -> Array:
    """Return two Latin hypercubes of one fixed seed: drawn by them, arms are nearly as frequent as they are likely."""
    rng = np.random.default_rng(0)
    strata = rng.permuted(np.broadcast_to(np.arange(count)[:, None], (2, count, columns)), axis=1)
    return np.asarray((strata + rng.random(strata.shape)) / count)


def propose_from(policy: Autoregressive, rng: np.random.Generator) -> Proposal:
    """Draw a configuration that says how likely its values were; the runner-up is the most probable of 7 other draws."""
    encoding = policy.encoding
    units, log_probabilities, entropy = policy.draw(8, rng)
    made = np.flatnonzero(~np.isnan(units[0]))
    proposal = Proposal(
        encoding.decode(units[0]),
        phase="policy",
        probabilities={encoding.decisions[i].name: float(np.exp(log_probabilities[0, i])) for i in made},
        entropy=float(entropy[0]),
    )
    keys = encoding.keys(units)
    others = np.array([key != keys[0] for key in keys])
    if others.any():
        best = np.where(others, log_probabilities.sum(axis=1), -np.inf).argmax()
        proposal.why["runner_up"] = encoding.decode(units[best])
    return proposal
