"""What the trials of a search let expect of any configuration, and how differences of expectations are known."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from kerasnas.explain.search.evidence import Evidence
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.reward.ensemble import RewardEnsemble
from kerasnas.strategies.reward.features import FeatureMaps
from kerasnas.strategies.reward.gaussian_process import GaussianProcess
from kerasnas.strategies.reward.scale import lowest_usual

__all__ = ["ModelCheck", "RewardPosterior"]

Array = NDArray[np.float64]

# Positions in [0, 1] that are hardly another choice.
_ALIKE = 0.1
# Of the best of three models that were tuned on the same trials: see `ModelCheck`.
_QUANTILE = 3.0

# Prior of the share of luck in the scores. With the flagship's, which has to find good networks and not to say how sure it is,
# too much of it was taken for signal: of 142 planted random searches of 25 and 50 trials, with luck of 2, 20 and 60 % of the
# deviation, the winner was said to be the best with chances of 84, 59 and 37 %, which was so in 92, 54 and 24 %; with this one
# with 79, 53 and 32 %, and 89 to 100 % of the 95 % intervals of differences held the truth instead of 82 to 100 %.
_LUCK_PRIOR = {"noise": 0.3, "noise_deviation": 1.0}

# A fit is kept for the functions that explain the same search one after another, of so many searches or objectives.
_KEPT = 4
_fitted: dict[Any, "RewardPosterior"] = {}

# Of the scores: with 19, one in 20 models of noise is the best of all.
_SHUFFLES, _LUCK = 19, 0.05

# Prior means of the parts' amplitudes, as in the flagship's surrogate.
_KERNELS: dict[str, dict[str, float]] = {
    "pairwise": {"additive": 0.5, "pairwise": 0.5, "joint": 0.0},
    "additive and joint": {"additive": 0.5, "pairwise": 0.0, "joint": 0.7},
    "joint": {"additive": 0.0, "pairwise": 0.0, "joint": 0.7},
}


@dataclass(frozen=True)
class ModelCheck:
    """Whether the model of the reward ranks trials that it has not seen.

    Attributes:
        trials: number of trials that it was fitted to.
        correlation: Spearman's rank correlation of leave-one-out predictions with the scores.
        low: three standard errors below it, for it is that of the best of three models.
        by_luck: chance that scores of noise come as far: 0.05 if the models come to no correlation as high in 19 shuffles of
            the scores, more if they do, 1 where `low` is not above zero. They are tuned on the trials that are held out, and
            with as many hyperparameters as trials that alone raises the correlation: without the shuffles scores of noise were
            taken for reliable in 22 % of 300 searches of 30 trials in ConvDense.tiny, with them in 6.5 % of 200
            (benchmarks/model_check.py).
        raised: how many of the trials were so far below the others that they count as the lowest of these, see
            `RewardPosterior`.
    """

    trials: int
    correlation: float
    low: float
    by_luck: float = 1.0
    raised: int = 0

    @property
    def is_reliable(self) -> bool:
        """Whether the correlation is above zero by three standard errors, and above that of 19 shuffles of the scores."""
        return self.low > 0 and self.by_luck <= _LUCK

    def __str__(self) -> str:
        rests = f"rank correlation {self.correlation:.2f} with held-out trials, at least {self.low:.2f}"
        if self.raised:
            rests += f"; {self.raised} so far below the others that they count as the lowest of these"
        if self.is_reliable:
            return f"Predicted from {self.trials} trials ({rests})."
        if self.low > 0:
            rests = f"rank correlation {self.correlation:.2f} with held-out trials; shuffled scores come as far"
        return f"Not enough trials: from {self.trials} the model cannot rank held-out ones ({rests}). Take no number for more."


class RewardPosterior:
    """The Gaussian processes of the flagship's reward model, on the scores themselves.

    The flagship works with ranks; here differences have a unit, and what is additive stays so. A score that is more than ten
    times as far from the best as the median trial counts as the lowest of the others. The median is that of all trials, or of
    the quarter that lies farthest apart in the space, whichever is farther: a search that has converged holds many that are
    close to the best. Failed trials are left out. Of the three kernels those are averaged that rank held-out trials as well as
    the best does (`RewardEnsemble`).

    Args:
        evidence: the trials.
        kernels: names of the kernels to choose from.
        units: rows of the encoding of the trials, shape (configurations, decisions), where they are known; those of
            `evidence.choices` by default.

    Attributes:
        chosen: names of the kernels in use.
        encoding: the space.
    Source:
        Rasmussen & Williams 2006, eq. 2.24 (joint posterior); Bonett & Wright 2000 (interval of Spearman's correlation);
        Gonzalez 1985 (trials that lie far apart: the farthest one next).
    """

    def __init__(self, evidence: Evidence, *, kernels: Sequence[str] = tuple(_KERNELS), units: Array | None = None) -> None:
        self.encoding = Encoding(evidence.decisions)
        self.units = self.encoding.encode(evidence.choices) if units is None else units
        scores = np.maximum(evidence.scores, lowest_usual(evidence.scores, self.units))
        self._raised = int((scores > evidence.scores).sum())
        self._centre, self._scale = float(scores.mean()), float(scores.std()) or 1.0
        self._features, self._kernels = FeatureMaps(self.encoding), tuple(kernels)
        self._targets = (scores - self._centre) / self._scale
        ensemble = self._tuned(self._targets)
        ensemble.fit(self.units, self._targets)
        self.chosen = ensemble.chosen
        self._models = [cast(_JointProcess, ensemble.models[name]) for name in self.chosen]
        self._correlation = max(ensemble.correlations.values())

    def _tuned(self, targets: Array) -> RewardEnsemble:
        ensemble = RewardEnsemble(
            {name: _JointProcess(self._features, **_KERNELS[name], **_LUCK_PRIOR) for name in self._kernels}
        )
        ensemble.tune(self.units, targets)
        return ensemble

    @cached_property
    def check(self) -> ModelCheck:
        """Whether the model ranks held-out trials."""
        check = replace(_check(len(self._targets), self._correlation), raised=self._raised)
        return replace(check, by_luck=self._by_luck()) if check.low > 0 else check

    @one_thread
    def _by_luck(self) -> float:
        rng, reached = np.random.default_rng(0), 1
        for _ in range(_SHUFFLES):
            shuffled = self._tuned(rng.permutation(self._targets))
            reached += max(shuffled.correlations.values()) >= self._correlation
            if reached > 1:  # decided
                break
        return reached / (1 + _SHUFFLES)

    @classmethod
    @one_thread
    def of(cls, evidence: Evidence) -> "RewardPosterior":
        """Return the model fitted to these trials; nobody changes a fitted one, so that it is fitted once."""
        # As text: 1, 1.0 and True are equal, and are different values of a hyperparameter.
        key = repr((evidence.decisions, evidence.choices)), evidence.scores.tobytes()
        model = _fitted.pop(key, None) or cls(evidence)
        _fitted[key] = model  # the last one used is the last one dropped
        while len(_fitted) > _KEPT:
            del _fitted[next(iter(_fitted))]
        return model

    def contrast(self, units: Array, weights: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of weighted sums of the noise-free scores.

        Args:
            units: rows of the encoding, shape (rows, decisions).
            weights: shape (sums, rows); a difference has the weights 1 and -1.
        Returns:
            Two arrays of shape (sums,), in the unit of the scores.
        """
        sums, variances = [], []
        for model in self._models:
            mean, covariance = model.joint(units)
            sums.append(weights @ (self._centre + self._scale * mean))
            variances.append(self._scale**2 * np.einsum("ij,jk,ik->i", weights, covariance, weights))
        mean = np.mean(sums, axis=0)
        variance = np.mean(np.maximum(variances, 0) + (np.array(sums) - mean) ** 2, axis=0)  # of the equal mixture
        return np.asarray(mean), np.asarray(np.sqrt(variance))

    def unlike(self, unit: Array) -> int:
        """Return in how many decisions a row differs from the most similar trial: of a range, by more than a tenth of it."""
        away = np.abs(self.units - unit) > np.where(self.encoding.ordered, _ALIKE, 1e-9)
        return int((away | (np.isnan(self.units) != np.isnan(unit))).sum(axis=1).min())

    def mean(self, units: Array) -> Array:
        """Return the expected scores of the rows, shape (rows,)."""
        return np.asarray(self._centre + self._scale * np.mean([model.predict(units)[0] for model in self._models], axis=0))

    def draw(self, units: Array, count: int, rng: np.random.Generator) -> Array:
        """Return `count` draws of the noise-free scores of the rows, shape (count, rows)."""
        parts = np.array_split(np.arange(count), len(self._models))
        draws = []
        for model, part in zip(self._models, parts, strict=True):
            mean, covariance = model.joint(units)
            root = _root(covariance)
            draws.append(mean + rng.standard_normal((len(part), len(units))) @ root.T)
        return self._centre + self._scale * np.concatenate(draws)


class _JointProcess(GaussianProcess):
    """A Gaussian process that also tells how its predictions vary together."""

    def joint(self, units: Array) -> tuple[Array, Array]:
        """Return posterior mean, shape (rows,), and covariance, shape (rows, rows), of the latent function."""
        scaled = self._scale(units)
        cross, _ = self._kernel(scaled)
        themselves = copy.copy(self)
        themselves._scaled = scaled
        prior, _ = themselves._kernel(scaled)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        return np.asarray(cross @ self._weights), np.asarray(prior - half.T @ half)


def _root(covariance: Array) -> Array:
    """Return R with R R' = covariance, up to a variance of 1e-8 of that of the scores."""
    try:  # ten times as fast as the eigenvalues of a thousand rows
        return np.asarray(np.linalg.cholesky(covariance + 1e-8 * np.eye(len(covariance))))
    except np.linalg.LinAlgError:  # rounding made it indefinite
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))


def _check(trials: int, correlation: float) -> ModelCheck:
    if trials < 5:
        return ModelCheck(trials, correlation, -1.0)
    error = math.sqrt((1 + correlation**2 / 2) / (trials - 3))
    bounded = min(max(correlation, -0.9999), 0.9999)
    return ModelCheck(trials, correlation, math.tanh(math.atanh(bounded) - _QUANTILE * error))
