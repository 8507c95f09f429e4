"""Model-based reinforcement learning: a policy trained in imagination."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from kerasnas.strategies.base import Beliefs, Observation, Proposal, Strategy
from kerasnas.strategies.centered_ranks import centered_ranks
from kerasnas.strategies.decision import Choices, Decision
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.policy import Adam, AutoregressivePolicy
from kerasnas.strategies.ppo import surrogate_weights
from kerasnas.strategies.reward.scale import Scale, is_near_copy, rank_normal, scale_for
from kerasnas.strategies.reward.surrogate import Surrogate
from kerasnas.strategies.space import changes

__all__ = ["Dyna"]

Array = NDArray[np.float64]

# Between two tunings of the reward models the number of trials grows by this factor.
_GROWTH = 1.15
# Imagined trials: rows of a batch, batches when the models are tuned, and at each proposal.
_BATCH, _ROUNDS, _MORE_ROUNDS = 48, 10, 1
# The share of early trials that are changes to the best one, where there are points to begin with, and of how many decisions.
_NEAR, _MOVES = 0.75, 4
# Scored trials without which failures are not told from chance.
_FEWEST = 5
# What the policy's candidates are compared with.
_DRAWN, _ELITES, _MUTANTS = 32, 8, 12


class Dyna(Strategy):
    r"""Learn a model of the reward from all trials, train a policy against it in imagination, propose the best it finds.

    The reward model is an ensemble with uncertainty (`Surrogate`) on the ranks of the scores, or on the scores themselves where
    more than a tenth of the trials are near-copies of earlier ones (`LinearScale`). The imagined reward of a configuration is
    the logarithm of its expected improvement over the best posterior mean so far; the policy is trained on it with PPO. A trial
    is the best of the policy's draws, of changes to the best configurations, and of changes to those. Until there are `initial`
    trials, or while no model ranks held-out trials the right way round, trials are drawn at random; where somebody named
    configurations to begin with, three of four are changes to the best trial instead. Failures count as the worst scores where
    the best model foresees which of the held-out trials failed, and else not at all: what fails by chance tells nothing of what
    is near it. Configurations under way count, for the Gaussian processes, as if they had scored what the ensemble predicts.

    Args:
        initial: number of trials that are drawn at random first, >= 2; none where an earlier search was learnt from.
    Source:
        Sutton 1991 (Dyna); Angermueller et al. 2020 (DyNA-PPO, Algorithm 1). Deviations: one trial a round; the policy starts
        afresh whenever the models are tuned; the candidates are also improved by mutation; expected improvement (Jones et al.
        1998) instead of the predicted mean; Ginsbourger et al. 2010 for trials under way ("kriging believer").
    """

    def __init__(self, *, initial: int = 10) -> None:
        if not isinstance(initial, int) or initial < 2:
            raise ValueError(f"initial must be an integer >= 2, got {initial}.")
        self.initial = initial

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin without any knowledge."""
        self._encoding = Encoding(decisions)
        self._units: Array = np.empty((0, len(decisions)))
        self._scores: Array = np.empty(0)
        self._copies: list[bool] = []
        self._points: Array = np.empty((0, len(decisions)))
        self._tried: set[Hashable] = set()
        self._surrogate = Surrogate(self._encoding, networks=not self.scores_change)
        self._policy = AutoregressivePolicy(self._encoding)
        self._tuned = 0
        self._by_chance = False
        self._beliefs: Beliefs | None = None

    @one_thread
    def learn_earlier(self, observations: Sequence[Observation]) -> None:
        """Expect configurations to rank as they did in an earlier search, as far as the trials of this one bear it out."""
        units = self._encoding.encode([choices for choices, _ in observations])
        self._surrogate.learn_earlier(units, rank_normal(np.array([score for _, score in observations], float)))
        self._tuned, self._beliefs = 0, None

    def learn_points(self, points: Sequence[Choices]) -> None:
        """Look for good configurations near these, while no model tells where they are."""
        self._points = self._encoding.encode(points)

    def observe(self, choices: Choices, score: float) -> None:
        """Remember a trial; what follows from it is worked out when it is needed."""
        row = self._encoding.encode([choices])
        self._copies.append(is_near_copy(row[0], self._units, self._encoding.sizes))
        self._units = np.concatenate([self._units, row])
        self._scores = np.append(self._scores, score)
        self._tried.update(self._encoding.keys(row))

    @one_thread
    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Proposal:
        """Return the most promising of the imagined configurations."""
        under_way = self._encoding.encode(pending)
        taken = self._tried.union(self._encoding.keys(under_way))
        if not self._prepare():
            return self._explore(rng, taken)
        units, scale = self._learnt(len(self._scores))
        self._surrogate.fit(units, scale.targets, under_way)
        reward = _ExpectedImprovement(self._surrogate, np.concatenate([units, under_way]))
        policy = self._policy.copy()
        imagined = _train(policy, reward, _MORE_ROUNDS, rng)
        candidates = self._candidates(policy, reward, imagined, taken, rng)
        if not len(candidates):
            return self._explore(rng, taken)
        return self._proposal(policy, imagined, candidates, scale)

    def advantage(self, choices: Choices, score: float) -> float:  # noqa: ARG002
        """Return the rank of `score` among all so far, from -1 to 1."""
        return float(centered_ranks([*self._scores, score])[-1])

    @one_thread
    def beliefs(self) -> Beliefs:
        """Return the probability of each value under the policy, averaged over what it would choose before it."""
        self._prepare()
        if self._beliefs is None:
            self._beliefs = self._policy.beliefs()
        return self._beliefs

    def _learnt(self, count: int) -> tuple[Array, Scale]:
        """Return those of the first `count` trials that the reward models learn from, and their scores on a scale for them."""
        rows = np.arange(count)
        if self._by_chance:
            rows = rows[np.isfinite(self._scores[:count])]
        units = self._units[rows]
        return units, scale_for(units, self._scores[rows], [self._copies[row] for row in rows])

    def _prepare(self) -> bool:
        """Tune the models and train the policy as of the last checkpoint; tell whether they are to be relied on."""
        count = len(self._scores)
        if count < self.initial and not self._surrogate.knows_earlier:
            return False
        checkpoint = _checkpoint(count, self.initial)
        if checkpoint != self._tuned or self._beliefs is None:
            self._by_chance = False
            units, scale = self._learnt(checkpoint)
            self._surrogate.tune(units, scale.targets)
            failed = ~np.isfinite(self._scores[:checkpoint])
            if failed.any() and (~failed).sum() >= _FEWEST and not self._surrogate.foresees(failed):
                self._by_chance = True
                units, scale = self._learnt(checkpoint)
                self._surrogate.tune(units, scale.targets)
            self._surrogate.fit(units, scale.targets)
            self._policy = AutoregressivePolicy(self._encoding)
            if self._surrogate.is_useful:
                reward = _ExpectedImprovement(self._surrogate, units)
                _train(self._policy, reward, _ROUNDS, np.random.default_rng(checkpoint))
            self._tuned, self._beliefs = checkpoint, self._policy.beliefs()
        return self._surrogate.is_useful

    def _explore(self, rng: np.random.Generator, taken: set[Hashable]) -> Proposal:
        parent = self._promising() if len(self._points) and rng.random() < _NEAR else None
        for _ in range(20):
            moves = int(rng.integers(1, _MOVES + 1))
            units = self._encoding.sample(1, rng) if parent is None else self._encoding.mutate(parent, rng, moves=moves)
            if self._encoding.keys(units)[0] not in taken:
                break
        choices = self._encoding.decode(units[0])
        if parent is None:
            return Proposal(choices, phase="exploration")
        before = self._encoding.decode(parent[0])
        return Proposal(choices, phase="mutation", parent=before, mutation=changes(before, choices))

    def _promising(self) -> Array:
        """Return the best trial so far, or the first of the given points; shape (1, decisions)."""
        finite = np.isfinite(self._scores)
        return self._units[finite][[self._scores[finite].argmax()]] if finite.any() else self._points[:1]

    def _candidates(
        self, policy: AutoregressivePolicy, reward: "_ExpectedImprovement", imagined: Array, taken: set[Hashable], rng: Any
    ) -> "_Candidates":
        encoding = self._encoding
        candidates = _Candidates(encoding, reward, taken)
        elites = np.repeat(reward.best(_ELITES), _MUTANTS, axis=0)
        candidates.add(
            ("policy", imagined, None),
            ("policy", policy.sample(_BATCH, rng), None),
            ("exploration", encoding.sample(_DRAWN, rng), None),
            ("mutation", encoding.mutate(elites, rng), elites),
            ("mutation", encoding.mutate(elites, rng, moves=2), elites),
        )
        for _ in range(2):
            parents = np.repeat(candidates.best(_ELITES), _MUTANTS, axis=0)
            candidates.add(("mutation", encoding.mutate(parents, rng), parents))
        return candidates

    def _proposal(self, policy: AutoregressivePolicy, imagined: Array, candidates: "_Candidates", scale: Scale) -> Proposal:
        encoding = self._encoding
        order = np.argsort(-candidates.rewards, kind="stable")
        row = candidates.units[order[:1]]
        choices = encoding.decode(row[0])
        mean, deviation = self._surrogate.predict(row)
        low, middle, high = scale.scores(np.array([mean - deviation, mean, mean + deviation]))[:, 0]
        expected = self._surrogate.predict(imagined[-_BATCH:])[0].mean()
        why: dict[str, Any] = {"phase": candidates.phases[order[0]]}
        parent = candidates.parents[order[0]]
        if parent is not None:
            before = encoding.decode(parent)
            why |= {"parent": before, "mutation": changes(before, choices)}
        if len(order) > 1:
            why["runner_up"] = encoding.decode(candidates.units[order[1]])
        probabilities = policy.probabilities(row)[0]
        if np.isfinite([low, middle, high]).all():
            why["predicted"] = {"mean": float(middle), "std": float((high - low) / 2)}
        return Proposal(
            choices,
            **why,
            probabilities={
                decision.name: float(p)
                for decision, p, unit in zip(encoding.decisions, probabilities, row[0], strict=True)
                if unit == unit
            },
            entropy=float(policy.entropy(row)[0]),
            expected_advantage=float(mean[0] - expected),
            log_expected_improvement=float(candidates.rewards[order[0]]),
            rank_correlations=dict(self._surrogate.correlations),
            models=list(self._surrogate.chosen),
        )


class _ExpectedImprovement:
    """The imagined reward: log E[max(f(x) - f*, 0)], f* the best posterior mean of what was tried."""

    def __init__(self, surrogate: Surrogate, tried: Array) -> None:
        self._surrogate = surrogate
        self._tried = tried
        self._means = surrogate.predict(tried)[0] if len(tried) else np.zeros(0)
        self._incumbent = float(self._means.max()) if len(tried) else 0.0

    def __call__(self, units: Array) -> Array:
        mean, deviation = self._surrogate.predict(units)
        return np.asarray(np.log(deviation) + _log_improvement((mean - self._incumbent) / deviation))

    def best(self, count: int) -> Array:
        """Return the tried rows of the best posterior means."""
        return self._tried[np.argsort(-self._means, kind="stable")[:count]]


def _log_improvement(z: Array) -> Array:
    """Return log(phi(z) + z Phi(z)); by its asymptote z^-2 phi(z) where the sum cancels."""
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near = np.maximum(z, -6.0)
    direct = np.log(np.exp(-0.5 * near**2 - 0.5 * np.log(2 * np.pi)) + near * ndtr(near))
    return np.asarray(np.where(z > -6.0, direct, log_density - 2 * np.log(np.abs(np.minimum(z, -6.0)))))


class _Candidates:
    """Distinct untried configurations with their imagined rewards, and where each came from."""

    def __init__(self, encoding: Encoding, reward: _ExpectedImprovement, taken: set[Hashable]) -> None:
        self._encoding, self._reward, self._seen = encoding, reward, set(taken)
        self.units: Array = np.empty((0, len(encoding)))
        self.rewards: Array = np.empty(0)
        self.phases: list[str] = []
        self.parents: list[Array | None] = []

    def __len__(self) -> int:
        return len(self.rewards)

    def add(self, *groups: tuple[str, Array, Array | None]) -> None:
        """Add what is new of each group of phase, rows and their parents."""
        new = []
        for phase, units, parents in groups:
            for i, key in enumerate(self._encoding.keys(units)):
                if key not in self._seen:
                    self._seen.add(key)
                    new.append(units[i])
                    self.phases.append(phase)
                    self.parents.append(None if parents is None else parents[i])
        if new:
            rows = np.array(new)
            self.units = np.concatenate([self.units, rows])
            self.rewards = np.append(self.rewards, self._reward(rows))

    def best(self, count: int) -> Array:
        return self.units[np.argsort(-self.rewards, kind="stable")[:count]]


def _train(policy: AutoregressivePolicy, reward: _ExpectedImprovement, rounds: int, rng: np.random.Generator) -> Array:
    """Train the policy with PPO on imagined rewards; return all that it imagined."""
    optimizer = Adam(policy, 0.2)
    imagined = []
    for _ in range(rounds):
        units, before, _ = policy.draw(_BATCH, rng)
        imagined.append(units)
        advantages = centered_ranks(reward(units).tolist())
        ratios = np.ones_like(before)
        for epoch in range(2):
            if epoch:
                ratios = np.exp(policy.step_log_probabilities(units) - before)
            weights = surrogate_weights(ratios, advantages, 0.2)
            optimizer.step(policy.gradient(units, weights, 0.05) / len(units))
    return np.concatenate(imagined)


def _checkpoint(count: int, initial: int) -> int:
    """Return the last number of trials, up to `count`, at which the models are tuned."""
    if count < initial:
        return count - (count - 1) % 3 if count else 0
    checkpoint = initial
    while (following := int(checkpoint * _GROWTH) + 1) <= count:
        checkpoint = following
    return checkpoint
