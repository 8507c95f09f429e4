"""What a search believes about configurations that it has not tried."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.reward.base import RewardModel
from kerasnas.strategies.reward.ensemble import RewardEnsemble
from kerasnas.strategies.reward.features import FeatureMaps
from kerasnas.strategies.reward.gaussian_process import GaussianProcess
from kerasnas.strategies.reward.network import NetworkEnsemble
from kerasnas.strategies.reward.trees import TreeEnsemble

__all__ = ["Surrogate"]

Array = NDArray[np.float64]

# Before any trial of this search an earlier one counts so much; it takes about so many trials to change that.
_TRUST, _TRUST_TRIALS = 0.8, 5.0
_FEWEST_TARGETS = 3
# Failures are foreseen if chance ranks them as low as this seldom.
_BY_CHANCE = 0.05


class Surrogate:
    """An ensemble of reward models on top of what earlier searches say.

    Targets are those of a `Scale`. With earlier searches, the ensemble learns what is left of the targets when the
    prediction of the earlier ensembles, times a regression slope, is taken off.

    Args:
        encoding: the space.
        networks: whether Keras networks may be among the models; they take a second or two to train.

    Attributes:
        correlations: cross-validated rank correlation of each model.
        chosen: names of the models in use.
    """

    def __init__(self, encoding: Encoding, *, networks: bool = True) -> None:
        self._encoding = encoding
        self._ensemble = _ensemble(encoding, networks=networks)
        self._earlier: list[RewardEnsemble] = []
        self._trials = 0
        self._slope = _TRUST

    @property
    def correlations(self) -> dict[str, float]:
        """Rank correlation of each model's held-out predictions."""
        return self._ensemble.correlations

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the models in use."""
        return self._ensemble.chosen

    @property
    def knows_earlier(self) -> bool:
        """Whether it has learnt from an earlier search."""
        return bool(self._earlier)

    @property
    def is_useful(self) -> bool:
        """Whether it predicts better than chance, as far as is known."""
        return self.knows_earlier or max(self.correlations.values(), default=0.0) > 0

    def foresees(self, failed: NDArray[np.bool_]) -> bool:
        """Tell whether the best model, tuned with failures as the worst scores, ranks held-out failures below other trials.

        Args:
            failed: of each trial of the last `tune` whether it failed; some did, and some did not.
        """
        predicted = self._ensemble.held_out()
        told = failed[: len(predicted)]
        if not told.any() or told.all():
            return True
        return bool(mannwhitneyu(predicted[told], predicted[~told], alternative="less").pvalue < _BY_CHANCE)

    def learn_earlier(self, units: Array, targets: Array) -> None:
        """Learn an earlier search, unless nothing can be learnt from it; of several the mean is taken."""
        if len(np.unique(targets)) < _FEWEST_TARGETS:
            return
        ensemble = _ensemble(self._encoding, networks=False)
        ensemble.tune(units, targets)
        if max(ensemble.correlations.values()) <= 0:
            return
        ensemble.fit(units, targets)
        self._earlier.append(ensemble)
        # What is left of the targets changes with the slope: nothing for networks, which are trained once in a while.
        self._ensemble = _ensemble(self._encoding, networks=False)
        for name, model in self._ensemble.models.items():
            if isinstance(model, GaussianProcess):
                model.expect([m for e in self._earlier if isinstance(m := e.models[name], GaussianProcess)])

    def tune(self, units: Array, targets: Array) -> None:
        """Tune the models and choose among them."""
        if len(targets):
            self._ensemble.tune(units, self._residuals(units, targets))

    def fit(self, units: Array, targets: Array, under_way: Array | None = None) -> None:
        """Fit the chosen models; rows `under_way` count as if they had scored what is predicted."""
        self._trials = len(targets)
        if not self._trials:
            return
        residuals = self._residuals(units, targets)
        self._ensemble.fit(units, residuals)
        if under_way is not None and len(under_way):
            imagined, _ = self._ensemble.predict(under_way)
            self._ensemble.fit(np.concatenate([units, under_way]), np.concatenate([residuals, imagined]))

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noise-free target of each row."""
        mean, deviation = self._ensemble.predict(units) if self._trials else (np.zeros(len(units)), np.ones(len(units)))
        if not self._earlier:
            return mean, deviation
        earlier, doubt = self._predict_earlier(units)
        doubt = doubt * self._slope * np.sqrt(_TRUST_TRIALS / (_TRUST_TRIALS + self._trials))
        return mean + self._slope * earlier, np.hypot(deviation, doubt)

    def _predict_earlier(self, units: Array) -> tuple[Array, Array]:
        predictions = np.array([ensemble.predict(units) for ensemble in self._earlier])
        return predictions[:, 0].mean(axis=0), predictions[:, 1].mean(axis=0)

    def _residuals(self, units: Array, targets: Array) -> Array:
        if not self._earlier:
            return targets
        earlier, _ = self._predict_earlier(units)
        centred = earlier - earlier.mean()
        slope = (_TRUST * _TRUST_TRIALS + centred @ targets) / (_TRUST_TRIALS + centred @ centred)
        self._slope = float(np.clip(slope, 0, 1))
        return np.asarray(targets - self._slope * earlier)


def _ensemble(encoding: Encoding, *, networks: bool) -> RewardEnsemble:
    features = FeatureMaps(encoding)
    models: dict[str, RewardModel] = {
        "pairwise": GaussianProcess(features, additive=0.5, pairwise=0.5, joint=0),
        "additive and joint": GaussianProcess(features, additive=0.5, pairwise=0, joint=0.7),
        "joint": GaussianProcess(features, additive=0, pairwise=0, joint=0.7),
        "trees": TreeEnsemble(encoding),
    }
    if networks:
        models["networks"] = NetworkEnsemble(encoding)
    return RewardEnsemble(models, costly=frozenset({"trees", "networks"}))
