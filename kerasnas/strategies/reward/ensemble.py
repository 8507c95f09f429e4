"""Reward models that passed the test of rank correlation, as one."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from kerasnas.strategies.reward.base import RewardModel

__all__ = ["RewardEnsemble", "rank_correlation"]

Array = NDArray[np.float64]

# Costly models are asked only where the others leave this much of the ranks unexplained.
_EXPLAINED = 0.5


class RewardEnsemble:
    """The models whose cross-validated rank correlation is within chance of the best one's, averaged.

    Args:
        models: by name.
        costly: names of the models that are tried only where none of the others correlates better than 0.5.

    Attributes:
        correlations: Spearman's rank correlation of each tried model's held-out predictions with the targets.
        chosen: names of the models in use.
    Source:
        Angermueller et al. 2020, section 4.1; deviation: rank correlation within chance of the best instead of a fixed R^2.
    """

    def __init__(self, models: Mapping[str, RewardModel], costly: frozenset[str] = frozenset()) -> None:
        self.models = dict(models)
        self.costly = costly
        self.correlations: dict[str, float] = {}
        self.chosen: tuple[str, ...] = ()

    def held_out(self) -> Array:
        """Return what the best model predicts of each row of the last `tune` when it has not seen that row."""
        return self.models[max(self.correlations, key=lambda name: self.correlations[name])].held_out()

    def tune(self, units: Array, targets: Array) -> None:
        """Tune the models and choose the good ones."""
        self.correlations = {}
        for name in sorted(self.models, key=lambda name: name in self.costly):
            if name in self.costly and max(self.correlations.values(), default=0.0) > _EXPLAINED:
                continue
            model = self.models[name]
            model.tune(units, targets)
            model.fit(units, targets)
            predicted = model.held_out()
            if len(predicted):
                self.correlations[name] = rank_correlation(predicted, targets[: len(predicted)])
        best = max(self.correlations.values())
        margin = 0.5 * (1 - best**2) / np.sqrt(len(targets))  # half the standard error of a correlation
        self.chosen = tuple(name for name, rho in self.correlations.items() if rho >= best - margin)

    def fit(self, units: Array, targets: Array) -> None:
        """Fit the chosen models."""
        for name in self.chosen:
            self.models[name].fit(units, targets)

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the equal mixture of the chosen models."""
        predictions = [self.models[name].predict(units) for name in self.chosen]
        means = np.array([mean for mean, _ in predictions])
        deviations = np.array([deviation for _, deviation in predictions])
        mean = means.mean(axis=0)
        return mean, np.sqrt((deviations**2 + (means - mean) ** 2).mean(axis=0))


def rank_correlation(predicted: Array, actual: Array) -> float:
    """Return Spearman's rank correlation; 0 where it is not defined."""
    if len(actual) < 3 or np.ptp(predicted) == 0 or np.ptp(actual) == 0:
        return 0.0
    return float(spearmanr(predicted, actual).statistic)
