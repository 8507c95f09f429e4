"""The neutral image: what stands for nothing."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument

__all__ = ["baseline_detail", "neutral_images"]


def neutral_images(baseline: str | ArrayLike, pixels: np.ndarray) -> np.ndarray:
    """Return the neutral image of every image.

    Args:
        baseline: "mean" for the mean of each channel of the image itself, a number, one number per channel, or an image of
            shape (height, width, channels); in the units of the images.
        pixels: shape (batch, height, width, channels), float32.

    Returns:
        An array of the shape of `pixels`, read-only.

    Raises:
        InvalidArgument: if `baseline` is none of these.
    """
    if isinstance(baseline, str) and baseline == "mean":
        return np.broadcast_to(pixels.mean(axis=(1, 2), keepdims=True, dtype=np.float64), pixels.shape)
    value = np.asarray(baseline)
    shapes = ((), pixels.shape[3:], pixels.shape[1:])
    if value.dtype.kind not in "biuf" or value.shape not in shapes or not np.all(np.isfinite(value)):
        raise InvalidArgument(
            f"Expected baseline to be 'mean', or finite numbers of shape (), {shapes[1]} or {shapes[2]}; "
            f"came {baseline if value.size < 9 else value.shape!r}. Give it in the units of the images."
        )
    return np.broadcast_to(value, pixels.shape).astype(np.float32)


def baseline_detail(baseline: str | ArrayLike) -> Any:
    """Return `baseline` as a plain value; of an image only its shape."""
    if isinstance(baseline, str):
        return baseline
    value = np.asarray(baseline)
    return value.tolist() if value.ndim < 2 else f"an image of shape {value.shape}"
