"""The images argument of every explanation, checked once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument

__all__ = ["image_batch", "looks_channels_first", "require_channels_last", "sample_batch"]


def image_batch(images: ArrayLike, input_shape: Sequence[int | None]) -> np.ndarray:
    """Return `images` with their batch and channel axes, or say what is wrong with them.

    The values and the dtype are left as they came: a model is explained on exactly what it is used on.

    Args:
        images: shape (batch, height, width, channels), or (batch, height, width) where the input is known to have one channel;
            any real dtype.
        input_shape: shape (None, height, width, channels) of the model's input; None stands for any size.

    Returns:
        An array of shape (batch, height, width, channels), a copy that cannot be written to.

    Raises:
        InvalidArgument: if `images` are no batch, empty, not real numbers, not finite, or of another shape.
    """
    try:
        array = np.array(images)
    except ValueError as error:  # arrays of different shapes
        raise InvalidArgument(
            f"Expected one array of images; came {type(images).__name__} of parts that do not fit together: {error} Of a "
            "model of several inputs, explain keras.Model(image, output) with the others fixed, or a function of the image."
        ) from error
    expected = tuple(input_shape[1:])
    wanted = f"images of shape (batch, {', '.join('any' if n is None else str(n) for n in expected)})"
    if len(expected) != 3:
        raise InvalidArgument(
            f"Expected a model of images, input shape (batch, height, width, channels); came {tuple(input_shape)}. "
            "Explain a model whose input has two spatial axes; of others permutation_importance, confusion, layer_importance, "
            "decision_boundary, weight_statistics and layer_latency tell."
        )
    if array.dtype.kind not in "biuf":
        raise InvalidArgument(f"Expected {wanted} of real numbers; came dtype {array.dtype}. Convert them first.")
    grey = expected[2] in (1, None)
    if array.ndim == 3 and expected == (None, None, None):  # as it may be of a function
        raise InvalidArgument(
            f"Expected {wanted}; came shape {array.shape}. Pass images[..., None] if they are grey images, "
            "images[None] if it is one image."
        )
    if _is_one_image(array.shape, expected):
        raise InvalidArgument(f"Expected {wanted}; came one image of shape {array.shape}. Pass images[None].")
    if array.ndim == 3 and grey:
        array = array[..., None]
    if array.ndim != 4 or not _fits(array.shape[1:], expected):
        raise InvalidArgument(f"Expected {wanted}; came shape {np.shape(images)}. Resize or reorder the axes.")
    if array.size == 0:
        raise InvalidArgument(f"Expected {wanted} with at least one image; came shape {array.shape}.")
    return _finite(array, "images")


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Tell whether samples of a shape are pictures with their channels first: one row of many channels is so if square."""
    if len(shape) != 4:
        return False
    _, first, rows, last = shape
    return min(rows, last) > 4 and (first in (3, 4) or (first == 1 and rows == last))


def require_channels_last(images: np.ndarray) -> None:
    """Raise InvalidArgument for images that look like channels first, shape (batch, channels, height, width).

    Of a file or a function nothing else tells: its maps would take the channels for rows.
    """
    if looks_channels_first(images.shape):
        raise InvalidArgument(
            f"Expected the channels of images last; came shape {images.shape}, which looks like channels first. Explain a "
            "function that takes them last, such as lambda x: run(np.moveaxis(x, -1, 1)), on np.moveaxis(images, 1, -1)."
        )


def sample_batch(samples: ArrayLike, input_shape: Sequence[int | None]) -> np.ndarray:
    """Return samples of any input with a batch axis, such as vectors or signals, checked; of images what `image_batch` does.

    Args:
        samples: shape (batch, ...), as the model takes them, any real dtype.
        input_shape: shape (None, ...) of the model's input; None stands for any size.

    Returns:
        An array of the same shape, a copy that cannot be written to.

    Raises:
        InvalidArgument: if `samples` are no batch, empty, not real numbers, not finite, or of another shape.
    """
    if len(input_shape) == 4:
        return image_batch(samples, input_shape)
    wanted = f"samples of shape (batch, {', '.join('any' if n is None else str(n) for n in input_shape[1:])})"
    try:
        array = np.array(samples)
    except ValueError as error:  # arrays of different shapes
        raise InvalidArgument(f"Expected {wanted}; came parts that do not fit together: {error}") from error
    if array.dtype.kind not in "biuf" or not _fits(array.shape[1:], input_shape[1:]) or array.size == 0:
        raise InvalidArgument(f"Expected {wanted} of real numbers, at least one; came {array.dtype} of shape {array.shape}.")
    return _finite(array, "samples")


def _finite(array: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        bad = int(np.count_nonzero(~np.isfinite(array.astype(np.float32))))
    if bad:
        raise InvalidArgument(f"Expected finite float32 {what}; came {bad} values that are NaN or infinite. Clean them.")
    array.flags.writeable = False
    return array


def _is_one_image(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    grey = expected[2] in (1, None)
    batch_of_grey = grey and _fits(shape[1:], expected[:2]) and None not in expected
    return (_fits(shape, expected) and not batch_of_grey) or (grey and _fits(shape, expected[:2]))


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(e is None or n == e for n, e in zip(shape, expected, strict=True))
