"""Spaces of plain loops: what the configurations to be tried first ask for, which the defaults do not."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner as kt

from kerasnas.decisions import entries_of
from kerasnas.oracles.head_start import takes

__all__ = ["explore"]


def explore(hypermodel: kt.HyperModel, oracle: kt.Oracle, points: Sequence[Mapping[str, Any]]) -> None:
    """Let the oracle know the hyperparameters that a HyperModel asks for when it builds the network of some configurations.

    Args:
        hypermodel: what builds; not asked for a configuration whose names are all known, or that is not in the space.
        oracle: knows the space of the defaults.
        points: values by name.
    """
    for point in points:
        hp = oracle.get_space()
        if point.keys() <= {entry.name for entry in hp.space} or not takes(entries_of(hp), point):
            continue  # KerasTuner would build what lies outside of the space, too
        hp.values.update(point)
        try:
            hypermodel.build(hp)
        except Exception as error:  # whatever a HyperModel raises; nothing but this network is known to be wrong
            text = f"What {dict(point)}, to be tried first, asks for is not known: its network cannot be built: {error}"
            warnings.warn(text, stacklevel=2)
            continue
        if takes(entries_of(hp), point):
            oracle.update_space(hp)
