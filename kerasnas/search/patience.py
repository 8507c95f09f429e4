"""What ends a training that gains nothing any more."""

from typing import Any

import keras

from kerasnas.search.data_check import COSTS

__all__ = ["patience"]


def patience(objective: Any, epochs: int) -> list[keras.callbacks.Callback]:
    """Return what ends a trial of `ImageClassifier` early, after max(3, epochs // 4) epochs without gain, if there is a curve.

    That of a `MnasNetReward` is its metric's; several objectives have none, nor has what a network costs.
    """
    monitor = getattr(objective, "metric", objective.name)
    if hasattr(objective, "objectives") or monitor in COSTS:
        return []
    return [keras.callbacks.EarlyStopping(monitor=monitor, mode=objective.direction, patience=max(3, epochs // 4))]
