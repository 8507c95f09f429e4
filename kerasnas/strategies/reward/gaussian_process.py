"""Gaussian processes over mixed, conditional spaces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from kerasnas.strategies.reward.base import RewardModel
from kerasnas.strategies.reward.features import FeatureMaps

__all__ = ["GaussianProcess"]

Array = NDArray[np.float64]

# Hyperparameters are tuned on at most so many numbers (rows x rows x distance maps); more rows are thinned.
_TUNING_SIZE = 500_000
_STEPS = 25
_JITTER = 1e-6
# Prior mean of the noise variance, and prior deviations of the logarithms of distance scales, amplitudes and noise.
_NOISE = 0.1
_SCALE_DEVIATION, _AMPLITUDE_DEVIATION, _NOISE_DEVIATION = 1.5, 1.0, 1.5


class GaussianProcess(RewardModel):
    r"""Main effects, pairs and joint effects of the decisions in one kernel.

    k(x, x') = 1 + a_1 s(x, x') + a_2 s(x, x')^2 + a_3 exp(-sum_g lambda_g d_g(x, x')), where s is the weighted mean over the
    decisions of their similarities, so that a_1 carries main effects and a_2 pairs, and d_g are squared distances, one map for
    a category, a smooth and a rough one for an ordered decision (`FeatureMaps`). lambda, which also weighs s, the amplitudes
    and the noise have log-normal priors and are tuned to the maximum of their posterior.

    Args:
        features: of the space; several models may share them.
        additive: prior mean of a_1; 0 leaves the part out.
        pairwise: prior mean of a_2; 0 leaves the part out.
        joint: prior mean of a_3; 0 leaves the part out.
        noise: prior mean of the variance of luck, as a share of that of the targets.
        noise_deviation: prior deviation of its logarithm.
    Source:
        Rasmussen & Williams 2006, eq. 5.8, 5.9 and 5.12; Duvenaud et al. 2011 (additive kernels); Hvarfner et al. 2024 (prior
        distance scales that shrink with the number of decisions).
    """

    def __init__(
        self,
        features: FeatureMaps,
        *,
        additive: float,
        pairwise: float,
        joint: float,
        noise: float = _NOISE,
        noise_deviation: float = _NOISE_DEVIATION,
    ) -> None:
        self._features = features
        self._parts = np.array([joint, additive, pairwise])
        self._maps = len(features.decision_of_map)
        scales = features.favour / features.typical / max(len(features.columns), 1)
        amplitudes = np.log(np.maximum(self._parts, 1e-12))
        self._prior: Array = np.concatenate([np.log(scales), amplitudes, [np.log(noise)]])
        self._deviation: Array = np.array([_SCALE_DEVIATION] * self._maps + [_AMPLITUDE_DEVIATION] * 3 + [noise_deviation])
        self._parameters = self._prior.copy()

    def expect(self, earlier: "Sequence[GaussianProcess]") -> None:
        """Expect the decisions to matter as much, and as smoothly, as in other data sets with the same features."""
        self._prior[: self._maps] = np.mean([model._parameters[: self._maps] for model in earlier], axis=0)

    def tune(self, units: Array, targets: Array) -> None:
        """Maximise the posterior of the hyperparameters."""
        self._parameters = self._prior.copy()
        if len(targets) < 4 or not self._maps:
            return
        limit = int(max(40, np.sqrt(_TUNING_SIZE / self._maps)))
        if len(targets) > limit:  # the best half as it is, the rest evenly over its ranks
            order = np.argsort(-targets, kind="stable")
            rest = order[limit // 2 :]
            kept = np.concatenate([order[: limit // 2], rest[np.linspace(0, len(rest) - 1, limit - limit // 2).astype(int)]])
            units, targets = units[kept], targets[kept]
        by_map, by_decision = self._features(units)
        distances = np.array([_squared_distance(f, f) for f in _parts(by_map, self._features.map_of_feature, self._maps)])
        similarities = np.array(
            [f @ f.T for f in _parts(by_decision, self._features.decision_of_feature, len(self._features.columns))]
        )
        result = minimize(
            self._negative_log_posterior,
            self._prior,
            args=(distances, similarities, targets),
            jac=True,
            method="L-BFGS-B",
            bounds=[(p - 6, p + 5) for p in self._prior[:-1]] + [(-7.0, 1.5)],
            options={"maxiter": _STEPS},
        )
        self._parameters = np.asarray(result.x)

    def fit(self, units: Array, targets: Array) -> None:
        """Condition on the data."""
        self._targets = targets
        self._scaled = self._scale(units)
        kernel, _ = self._kernel(self._scaled)
        kernel[np.diag_indices_from(kernel)] += np.exp(self._parameters[-1]) + _JITTER
        self._factor = cholesky(kernel, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), targets, check_finite=False)

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return the posterior mean and deviation of the latent function."""
        cross, prior = self._kernel(self._scale(units))
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(prior - np.einsum("ij,ij->j", half, half), 1e-10)
        return np.asarray(cross @ self._weights), np.asarray(np.sqrt(variance))

    def held_out(self) -> Array:
        """Return the leave-one-out means, in closed form (eq. 5.12)."""
        inverse = cho_solve((self._factor, True), np.eye(len(self._targets)), check_finite=False)
        return np.asarray(self._targets - self._weights / np.diag(inverse))

    def _relevance(self, parameters: Array) -> tuple[Array, Array]:
        """Return the weight of each map and of each decision in the mean similarity."""
        maps = np.exp(parameters[: self._maps]) * self._features.typical
        maps = maps / maps.sum()
        decisions = np.bincount(self._features.decision_of_map, maps, len(self._features.columns))
        return maps, np.asarray(decisions, np.float64)

    def _amplitudes(self, parameters: Array) -> Array:
        return np.asarray(np.where(self._parts > 0, np.exp(parameters[self._maps : -1]), 0.0), np.float64)

    def _scale(self, units: Array) -> tuple[Array, Array]:
        """Return the features of the rows, weighted so that plain distances and products are those of the kernel."""
        by_map, by_decision = self._features(units)
        if not self._maps:
            return by_map, by_decision
        roots = np.exp(self._parameters[: self._maps] / 2)
        _, weights = self._relevance(self._parameters)
        return by_map * roots[self._features.map_of_feature], by_decision * np.sqrt(weights)[self._features.decision_of_feature]

    def _kernel(self, scaled: tuple[Array, Array]) -> tuple[Array, Array]:
        """Return the kernel between rows and the fitted rows, and of each row with itself."""
        joint, additive, pairwise = self._amplitudes(self._parameters)
        kernel, own = np.ones((len(scaled[0]), len(self._scaled[0]))), np.full(len(scaled[0]), 1.0 + joint)
        if joint:
            kernel += joint * np.exp(-_squared_distance(scaled[0], self._scaled[0]))
        if additive or pairwise:
            mean = scaled[1] @ self._scaled[1].T
            kernel += additive * mean + pairwise * mean**2
            mean = np.einsum("ij,ij->i", scaled[1], scaled[1])  # 1 where all decisions are active
            own += additive * mean + pairwise * mean**2
        return kernel, own

    def _negative_log_posterior(
        self, parameters: Array, distances: Array, similarities: Array, targets: Array
    ) -> tuple[float, Array]:
        scales = np.exp(parameters[: self._maps])
        joint, additive, pairwise = self._amplitudes(parameters)
        noise = np.exp(parameters[-1])
        map_weights, weights = self._relevance(parameters)
        product = joint * np.exp(-np.tensordot(scales, distances, 1))
        mean = np.tensordot(weights, similarities, 1)
        kernel = 1.0 + product + additive * mean + pairwise * mean**2
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        try:
            factor = cholesky(kernel, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(parameters)
        inverse = cho_solve((factor, True), np.eye(len(targets)), check_finite=False)
        solved = inverse @ targets
        deviations = (parameters - self._prior) / self._deviation
        value = 0.5 * targets @ solved + np.log(np.diag(factor)).sum() + 0.5 * deviations @ deviations  # eq. 5.8
        sensitivity = 0.5 * (inverse - np.outer(solved, solved))  # d value / d kernel, eq. 5.9
        gradient = deviations / self._deviation
        weighted = sensitivity * product
        if joint:
            gradient[: self._maps] -= scales * (distances.reshape(self._maps, -1) @ weighted.ravel())
        if additive or pairwise:
            slope = similarities.reshape(len(weights), -1) @ (sensitivity * (additive + 2 * pairwise * mean)).ravel()
            gradient[: self._maps] += map_weights * (slope[self._features.decision_of_map] - weights @ slope)
        gradient[self._maps] += weighted.sum()
        gradient[self._maps + 1] += additive * (sensitivity * mean).sum()
        gradient[self._maps + 2] += pairwise * (sensitivity * mean**2).sum()
        gradient[-1] += noise * np.trace(sensitivity)
        return float(value), gradient


def _parts(features: Array, owners: NDArray[np.int64], count: int) -> list[Array]:
    return [features[:, owners == owner] for owner in range(count)]


def _squared_distance(left: Array, right: Array) -> Array:
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0))
