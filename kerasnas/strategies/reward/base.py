"""The interface of every reward model."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

__all__ = ["RewardModel"]

Array = NDArray[np.float64]


class RewardModel(ABC):
    """Predicts the target of configurations, with its own uncertainty.

    Rows are those of an `Encoding`; targets are finite, about normal with mean 0 and deviation 1.
    """

    def tune(self, units: Array, targets: Array) -> None:  # noqa: B027 - most models have nothing to tune
        """Choose hyperparameters for these data; called far less often than `fit`."""

    @abstractmethod
    def fit(self, units: Array, targets: Array) -> None:
        """Learn from the rows `units`, shape (rows, decisions), and their `targets`, shape (rows,)."""

    @abstractmethod
    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noise-free target of each row, shape (rows,)."""

    @abstractmethod
    def held_out(self) -> Array:
        """Return for each fitted row what the model predicts when it has not seen that row, shape (rows,)."""
