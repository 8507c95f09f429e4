"""The true classes that come with samples, checked once."""

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument

__all__ = ["class_labels"]


def class_labels(y: ArrayLike, count: int, classes: int) -> np.ndarray:
    """Return `y` as one class number for each sample, or say what is wrong with it.

    Args:
        y: shape (count,) or (count, 1), integers from 0 to classes - 1.
        count: the number of samples.
        classes: the number of classes.

    Returns:
        int64 array of shape (count,).

    Raises:
        InvalidArgument: if `y` has another shape, is not made of integers, or names a class that does not exist.
    """
    labels = np.asarray(y)
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InvalidArgument(
            f"Expected y to be one integer class for each of the {count} samples; came shape {labels.shape}, dtype "
            f"{labels.dtype}. Pass y.argmax(axis=-1) if it is one-hot."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidArgument(
            f"Expected classes from 0 to {classes - 1}; came {int(labels.min())} to {int(labels.max())}. "
            "Pass the labels that the model was trained with."
        )
    return labels.astype(np.int64)
