"""A share of the channels for each group of layers, given by the names of layers."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.dependencies import Dependencies
from kerasnas.errors import InvalidArgument

__all__ = ["group_layers", "group_ratios"]


def group_layers(dependencies: Dependencies) -> list[tuple[str, ...]]:
    """Return the layers that make the channels of each group, in the order of computation: what is pruned alike.

    Layers within models are named with those around them: "backbone/conv".
    """
    group_of = np.full(dependencies.bundles.count, -1)
    for number, group in enumerate(dependencies.bundles.groups):
        group_of[group] = number
    names: list[list[str]] = [[] for _ in dependencies.bundles.groups]
    for path, channels in dependencies.made.items():
        for number in np.unique(group_of[dependencies.bundles.of_channel[channels]]):
            if number >= 0:
                names[number].append("/".join(path))
    return [tuple(layers) for layers in names]


def group_ratios(dependencies: Dependencies, given: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the share of each group that goes, from those of layers; a group that is not named keeps everything.

    Raises:
        InvalidArgument: for a layer that makes no channels that may go, a share that is none, or tied layers with two shares.
    """
    groups = group_layers(dependencies)
    known = sorted({name for layers in groups for name in layers})
    for name, share in given.items():
        if name not in known:
            raise InvalidArgument(
                f"Expected ratio to name layers that make channels which may go, got {name!r}. They are: {', '.join(known)}."
            )
        is_number = isinstance(share, int | float | np.integer | np.floating) and not isinstance(share, bool)
        if not (is_number and 0 <= share < 1):
            raise InvalidArgument(f"Expected the ratio of {name!r} in [0, 1), got {share!r}. It is a share of its channels.")
    ratios = np.zeros(len(groups))
    for number, layers in enumerate(groups):
        named = {name: float(given[name]) for name in layers if name in given}
        if named and not math.isclose(min(named.values()), max(named.values())):
            raise InvalidArgument(
                f"Expected one ratio for layers that share their channels, got {named}. Name one of them, or give all the same."
            )
        ratios[number] = next(iter(named.values()), 0.0)
    return ratios
