"""Configurations as features whose inner products and distances compare them decision by decision."""

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.encoding import Encoding

__all__ = ["FeatureMaps"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_MARKS = 8
_GRID = np.linspace(0, 1, 7)
_SHARPNESS = 8.0


class FeatureMaps:
    """The features of rows of an `Encoding`, all decisions side by side.

    A decision that is not active has features in the middle of all others (distances) or none (similarities).

    Args:
        encoding: the space; decisions with one value have no features.

    Attributes:
        columns: the decisions that have features.
        typical: mean squared distance of two values drawn at random, for each distance map.
        favour: prior weight of each distance map.
        decision_of_map: for each distance map the index into `columns`; an ordered decision has two maps, the smooth one of
            squared, the rough one of absolute differences.
        map_of_feature: for each column of `distances` its map.
        decision_of_feature: for each column of `similarities` the index into `columns`.
    """

    def __init__(self, encoding: Encoding) -> None:
        sizes = encoding.sizes
        self.columns = [i for i, size in enumerate(sizes) if size != 1]
        ordered = [k for k, i in enumerate(self.columns) if encoding.ordered[i] and sizes[i] != 2]
        categories = [k for k in range(len(self.columns)) if k not in set(ordered)]
        self._ordered: Indices = np.array([self.columns[k] for k in ordered], int)
        self._categories: Indices = np.array([self.columns[k] for k in categories], int)
        self._sizes: Indices = np.array([sizes[i] or 1 for i in self._categories], int)
        self._firsts: Indices = np.cumsum([0, *self._sizes])[:-1].astype(int)
        self._one_hot_width = int(self._sizes.sum())
        count = len(ordered)
        self.decision_of_map: Indices = np.array([*ordered, *ordered, *categories], int)
        self.typical: Array = np.array([*[1 / 6] * count, *[1 / 3] * count, *(1 - 1 / self._sizes)])
        self.favour: Array = np.array([*[1.0] * count, *[0.5] * count, *[1.2] * len(categories)])
        marks = count + np.repeat(np.arange(count), _MARKS)
        hots = 2 * count + np.repeat(np.arange(len(categories)), self._sizes)
        self.map_of_feature: Indices = np.concatenate([np.arange(count), marks, hots]).astype(int)
        bumps = np.repeat(np.array(ordered, int), len(_GRID))
        self.decision_of_feature: Indices = np.concatenate([bumps, np.repeat(np.array(categories, int), self._sizes)]).astype(
            int
        )
        self._last: tuple[Array, Array, Array] | None = None

    def __call__(self, units: Array) -> tuple[Array, Array]:
        """Return the distance features and the similarity features of each row.

        The squared distance of two rows of the first, one map at a time, is 0 for equal and 1 for different categories,
        (u - u')^2 (smooth) and about |u - u'| (rough) for positions u. The inner product of two rows of the second, one
        decision at a time, is 1 for equal and 0 for different categories and exp(-8 (u - u')^2) for positions.
        """
        if self._last is None or self._last[0] is not units:  # several models ask for the same rows
            position = units[:, self._ordered]
            marks = np.clip(position[:, :, None] * _MARKS - np.arange(_MARKS), 0, 1) - 0.5
            bumps = np.exp(-_SHARPNESS * (position[:, :, None] - _GRID) ** 2) @ _ROOT
            hot = self._one_hot(units)
            count = len(units)
            distances = [position - 0.5, marks.reshape(count, -1) / np.sqrt(_MARKS), hot / np.sqrt(2)]
            similarities = [bumps.reshape(count, -1), hot]
            self._last = (units, *(np.nan_to_num(np.hstack(parts)) for parts in (distances, similarities)))
        return self._last[1], self._last[2]

    def _one_hot(self, units: Array) -> Array:
        hot = np.zeros((len(units), self._one_hot_width))
        position = units[:, self._categories]
        rows, decisions = np.nonzero(~np.isnan(position))
        sizes = self._sizes[decisions]
        arms = np.minimum((position[rows, decisions] * sizes).astype(int), sizes - 1)
        hot[rows, self._firsts[decisions] + arms] = 1
        return hot


def _inverse_root(kernel: Array) -> Array:
    values, vectors = np.linalg.eigh(kernel)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-8)))


# Features on a grid whose inner products give the kernel back (Nystrom).
_ROOT = _inverse_root(np.exp(-_SHARPNESS * (_GRID[:, None] - _GRID) ** 2))
