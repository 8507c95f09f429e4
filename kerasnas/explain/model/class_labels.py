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
            f"{labels.dtype}. {_advice(labels, count, classes)}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidArgument(
            f"Expected classes from 0 to {classes - 1}; came {int(labels.min())} to {int(labels.max())}. "
            "Pass the labels that the model was trained with."
        )
    return labels.astype(np.int64)


def _advice(labels: np.ndarray, count: int, classes: int) -> str:
    if labels.shape == (count, classes) and classes > 1:
        return "Pass y.argmax(axis=-1) if it is one-hot."
    if labels.shape[:1] != (count,):
        return "Pass the labels of these samples, in their order."
    if labels.ndim > 1:
        return f"Pass one column of class numbers from 0 to {classes - 1}."
    if labels.dtype.kind == "f":
        return "Pass y.astype(int) if it holds class numbers."
    return f"Pass the number of each class among the outputs of the model, from 0 to {classes - 1}."
