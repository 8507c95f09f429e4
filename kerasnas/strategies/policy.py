"""An autoregressive policy over the decisions of a space, in batches."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.base import Beliefs
from kerasnas.strategies.decision import Decision
from kerasnas.strategies.encoding import Encoding

__all__ = ["Adam", "AutoregressivePolicy"]

Array = NDArray[np.float64]

# An ordered decision with more values than this is cut into as many equal bins; inside a bin the draw is uniform.
_MAX_ARMS = 32
_BINS = 16


class AutoregressivePolicy:
    r"""Decision t takes arm a with probability softmax(b_t + sum_{s in context(t)} C_{s,t}[a_s])_a.

    Ranges and long ordered lists are cut into bins, which give no context: they are many, and each is too rarely chosen to
    learn from. The context of a decision is the conditions it depends on and the `context` decisions before it, so the number
    of parameters grows linearly with the number of decisions.

    Args:
        encoding: the space.
        context: how many of the decisions before it a decision looks at.

    Attributes:
        parameters: all biases and contexts in one vector; zero is the uniform policy.
        step_scale: 1 for biases; for contexts one over their number at a decision, so that their sum moves as far as a bias
            under an optimizer that moves every parameter alike.
    """

    def __init__(self, encoding: Encoding, *, context: int = 16) -> None:
        self.encoding = encoding
        self.arms = [_arms(decision) for decision in encoding.decisions]
        gives_context = [size == arms and arms > 1 for size, arms in zip(encoding.sizes, self.arms, strict=True)]
        first = np.cumsum([1, *self.arms])
        # The columns of the one-hot matrix (0: always one; then the arms of all decisions) that each decision looks at.
        self._inputs: list[NDArray[np.int64]] = []
        contexts = []
        for column, parents in enumerate(encoding.parents):
            near = [s for s in range(column) if gives_context[s]][-context:] if context else []
            seen = sorted({*near, *(p for p in parents if gives_context[p])})
            self._inputs.append(np.concatenate([[0], *(np.arange(first[s], first[s + 1]) for s in seen)]).astype(int))
            contexts.append(len(seen))
        self._first = first[:-1]
        self._shapes = [(len(inputs), k) for inputs, k in zip(self._inputs, self.arms, strict=True)]
        ends = np.cumsum([0, *(rows * k for rows, k in self._shapes)])
        self._spans = list(pairwise(int(end) for end in ends))
        self.parameters: Array = np.zeros(int(ends[-1]))
        self.step_scale: Array = np.ones_like(self.parameters)
        for (start, end), arms, seen_count in zip(self._spans, self.arms, contexts, strict=True):
            self.step_scale[start + arms : end] = 1 / (seen_count + 1)

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Draw configurations, shape (count, decisions); see `Encoding` for their meaning."""
        encoding = self.encoding
        units = np.full((count, len(encoding)), np.nan)
        taken = self._nothing_taken(count)
        draws = rng.random((2, count, len(encoding)))
        for column, arms in enumerate(self.arms):
            active = np.flatnonzero(encoding.active(column, units))
            if not active.size:
                continue
            policy = self._policy(column, taken[active])
            arm = (policy.cumsum(axis=1) < draws[0, active, column, None]).sum(axis=1).clip(max=arms - 1)
            taken[active, self._first[column] + arm] = 1
            units[active, column] = encoding.snap(column, (arm + draws[1, active, column]) / arms)
        return units

    def probabilities(self, units: Array) -> Array:
        """Return the probability of the arm that each row took at each decision, shape as `units`; 1 where not active."""
        taken = np.ones(units.shape)
        for column, rows, policy, arm in self._steps(units):
            taken[rows, column] = policy[np.arange(len(rows)), arm]
        return taken

    def log_probability(self, units: Array) -> Array:
        """Return log pi of each row, shape (rows,)."""
        return np.asarray(np.log(self.probabilities(units)).sum(axis=1))

    def entropy(self, units: Array) -> Array:
        """Return the sum of the entropies of the steps that lead to each row, in nats, shape (rows,)."""
        total = np.zeros(len(units))
        for _, rows, policy, _ in self._steps(units):
            total[rows] -= (policy * np.log(policy + 1e-30)).sum(axis=1)
        return total

    def gradient(self, units: Array, weights: Array, entropy_weight: float = 0.0) -> Array:
        """Return d/dparameters of sum_rows sum_steps (weights * log pi(step) + entropy_weight * entropy(step)).

        Args:
            units: rows, shape (rows, decisions).
            weights: of each step, shape (rows, decisions), or of each row, shape (rows, 1).
            entropy_weight: of every step.
        """
        gradient = np.zeros_like(self.parameters)
        weights = np.broadcast_to(weights, units.shape)
        taken = self._taken(units)
        for column, rows, policy, arm in self._steps(units, taken):
            error = -policy * weights[rows, column, None]
            error[np.arange(len(rows)), arm] += weights[rows, column]
            if entropy_weight:
                log_policy = np.log(policy + 1e-30)
                error -= entropy_weight * policy * (log_policy - (policy * log_policy).sum(axis=1, keepdims=True))
            start, end = self._spans[column]
            gradient[start:end] = (taken[np.ix_(rows, self._inputs[column])].T @ error).ravel()
        return gradient

    def beliefs(self) -> Beliefs:
        """Return the probability of each value, averaged over what the policy would choose before it."""
        units = self.sample(64, np.random.default_rng(0))
        taken = self._taken(units)
        beliefs: Beliefs = {}
        weights: dict[str, float] = {}
        for column, decision in enumerate(self.encoding.decisions):
            rows = np.flatnonzero(~np.isnan(units[:, column]))
            policy = self._policy(column, taken[rows]).sum(axis=0) if rows.size else np.zeros(self.arms[column])
            counts = beliefs.setdefault(decision.name, {})
            weights[decision.name] = weights.get(decision.name, 0.0) + rows.size
            for label, mass in zip(_labels(decision), policy, strict=True):
                counts[label] = counts.get(label, 0.0) + float(mass)
        return {
            name: {k: v / weights[name] if weights[name] else 1 / len(counts) for k, v in counts.items()}
            for name, counts in beliefs.items()
        }

    def _arm(self, column: int, units: Array) -> NDArray[np.int64]:
        arms = self.arms[column]
        return np.minimum(np.floor(units * arms), arms - 1).astype(int)

    def _nothing_taken(self, count: int) -> Array:
        taken = np.zeros((count, 1 + sum(self.arms)))
        taken[:, 0] = 1
        return taken

    def _taken(self, units: Array) -> Array:
        """Return the arms of each row as a one-hot matrix, shape (rows, 1 + arms); its first column is one."""
        taken = self._nothing_taken(len(units))
        rows, columns = np.nonzero(~np.isnan(units))
        arms = np.array(self.arms)[columns]
        arm = np.minimum(np.floor(units[rows, columns] * arms), arms - 1).astype(int)
        taken[rows, self._first[columns] + arm] = 1
        return taken

    def _steps(
        self, units: Array, taken: Array | None = None
    ) -> Iterator[tuple[int, NDArray[np.int64], Array, NDArray[np.int64]]]:
        """Yield column, rows that made it, their policies and the arms they took, for every decision that any row made."""
        taken = self._taken(units) if taken is None else taken
        for column in range(len(self.arms)):
            rows = np.flatnonzero(~np.isnan(units[:, column]))
            if rows.size:
                yield column, rows, self._policy(column, taken[rows]), self._arm(column, units[rows, column])

    def _policy(self, column: int, taken: Array) -> Array:
        start, end = self._spans[column]
        logits = taken[:, self._inputs[column]] @ self.parameters[start:end].reshape(self._shapes[column])
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


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
        self._momentum = 0.9 * self._momentum + 0.1 * gradient
        self._velocity = 0.999 * self._velocity + 0.001 * gradient**2
        mean = self._momentum / (1 - 0.9**self._steps)
        scale = np.sqrt(self._velocity / (1 - 0.999**self._steps)) + 1e-8
        self._policy.parameters += self._rate * mean / scale


def _arms(decision: Decision) -> int:
    size = decision.size
    return _BINS if size is None or (size > _MAX_ARMS and decision.is_ordered) else size


def _labels(decision: Decision) -> list[str]:
    arms = _arms(decision)
    if decision.size == arms:
        return [str(decision.from_unit((i + 0.5) / arms)) for i in range(arms)]
    edges = [decision.from_unit(i / arms) for i in range(arms + 1)]
    return [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
