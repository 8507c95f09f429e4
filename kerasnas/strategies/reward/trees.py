"""Bagged regression trees."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.reward.base import RewardModel

__all__ = ["TreeEnsemble"]

Array = NDArray[np.float64]


class TreeEnsemble(RewardModel):
    """Extremely randomised trees on bootstrap samples; the uncertainty is their disagreement.

    Args:
        encoding: the space; categories are split one against the rest, ordered decisions by position.
        trees: number of trees.
    Source:
        Geurts et al. 2006; Hutter et al. 2011 (SMAC: disagreement of trees as uncertainty).
    """

    def __init__(self, encoding: Encoding, *, trees: int = 16) -> None:
        self._encoding = encoding
        self._forest = ExtraTreesRegressor(trees, bootstrap=True, oob_score=True, min_samples_leaf=2, random_state=0)

    def tune(self, units: Array, targets: Array) -> None:
        """Grow the trees."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Some inputs do not have OOB scores")
            warnings.filterwarnings("ignore", "R.2 score is not well-defined")
            self._forest.fit(self._inputs(units), targets)

    def fit(self, units: Array, targets: Array) -> None:
        """Keep the trees: to grow them anew costs more than a few more rows are worth."""

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the trees' predictions."""
        inputs = self._inputs(units).astype(np.float32)
        votes = np.array([tree.tree_.predict(inputs).ravel() for tree in self._forest.estimators_])
        return votes.mean(axis=0), votes.std(axis=0) + 1e-3

    def held_out(self) -> Array:
        """Return the means over the trees that did not see a row."""
        return np.nan_to_num(np.asarray(self._forest.oob_prediction_, np.float64))

    def _inputs(self, units: Array) -> Array:
        columns = []
        for column, size in enumerate(self._encoding.sizes):
            position = units[:, column]
            if size is None or self._encoding.ordered[column]:
                columns.append(np.nan_to_num(position, nan=-0.5)[:, None])
            elif size > 1:
                columns.append((np.floor(np.nan_to_num(position, nan=-1.0) * size)[:, None] == np.arange(size)).astype(float))
        return np.hstack(columns) if columns else np.zeros((len(units), 1))
