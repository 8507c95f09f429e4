"""Spaces by the names that people give them."""

from typing import Any

import keras_tuner as kt
import numpy as np
from numpy.typing import NDArray

from kerasnas.errors import InvalidArgument
from kerasnas.spaces.conv_dense import ConvDense

__all__ = ["space_by_name"]

_SPACES = {"tiny": ConvDense.tiny, "small": ConvDense.small, "base": ConvDense.base}


def space_by_name(
    space: Any, shape: tuple[int, ...], classes: int, *, mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> tuple[str, kt.HyperModel]:
    """Return a space and its name.

    Args:
        space: "tiny", "small", "base", "auto" (by the size of the pictures), or a `kt.HyperModel`, which is returned.
        shape: of a picture, (height, width, channels).
        classes: number of classes.
        mean: of each channel, shape (channels,).
        deviation: standard deviation of each channel.
    Raises:
        InvalidArgument: if `space` is none of these.
    """
    if not isinstance(space, str):
        if isinstance(space, kt.HyperModel):
            return space.name or type(space).__name__, space
        raise InvalidArgument(f"Expected `space` to be a name or a kt.HyperModel, got {space!r}.")
    name = space
    if name == "auto":
        side = min(shape[:2])
        name = "tiny" if side <= 12 else "small" if side <= 64 else "base"
    if name not in _SPACES:
        raise InvalidArgument(f"Expected `space` to be 'auto' or one of {sorted(_SPACES)}, got {space!r}.")
    return name, _SPACES[name](shape, classes, mean=mean, standard_deviation=deviation)
