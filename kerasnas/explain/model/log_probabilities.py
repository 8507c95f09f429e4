"""Log-probabilities from whatever a classifier puts out."""

from typing import Any

import numpy as np
from scipy.special import log_softmax

from kerasnas.errors import InvalidArgument

__all__ = ["log_probabilities"]

_SUM_TOLERANCE = 1e-3  # half precision keeps three digits


def log_probabilities(outputs: np.ndarray, *, from_logits: bool) -> np.ndarray:
    """Return log-probabilities of the classes; a single output stands for the second of two classes.

    Args:
        outputs: shape (batch, classes); (batch, 1) or (batch,) for two classes.
        from_logits: whether the outputs are scores before a softmax (before a sigmoid, if there is one); else they are
            probabilities, taken to be at least as large as the step between the numbers next to 1 of their dtype (1.2e-7 in
            float32): one nearer to 0 may be no more than the rounding of 1 - p.

    Returns:
        float64 array of shape (batch, max(2, classes)).

    Raises:
        InvalidArgument: if the outputs are not finite numbers of such a shape, or no probabilities where these are due.

    Example:
        >>> np.exp(log_probabilities(np.array([[0.0, 0.0]]), from_logits=True))
        array([[0.5, 0.5]])
    """
    values = np.asarray(outputs)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] < 1 or values.dtype.kind not in "biuf" or not np.all(np.isfinite(values)):
        raise InvalidArgument(
            f"Expected finite outputs of shape (batch, classes); came shape {np.shape(outputs)}, dtype {values.dtype}. "
            "Return one number per class and sample."
        )
    single = values.shape[1] == 1
    least = _least(values.dtype, single)
    values = given = values.astype(np.float64)
    if from_logits:
        values = np.concatenate([np.zeros_like(values), values], axis=1) if single else values
        return np.asarray(log_softmax(values, axis=1))
    values = np.concatenate([1 - values, values], axis=1) if single else values
    if values.min() < -_SUM_TOLERANCE or np.abs(values.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        sums = "" if single else f" with sums from {values.sum(axis=1).min():.4g} to {values.sum(axis=1).max():.4g}"
        expected = "from 0 to 1" if single else ">= 0 and 1 in sum"
        raise InvalidArgument(
            f"Expected probabilities, {expected}; came values from {given.min():.4g} to {given.max():.4g}{sums}. "
            f"{_instead(given)}"
        )
    return np.asarray(np.log(np.clip(values, least, None)))


def _least(dtype: Any, single: bool) -> float:
    """Return the smallest probability that can be told from 0: next to 1 there is none nearer, and 1 - p has that rounding."""
    step = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    return float(step if single else min(step, np.finfo(np.float32).eps))  # of many classes each may have less than 0.001


def _instead(values: np.ndarray) -> str:
    if values.min() >= 0 and values.max() <= 1:
        return (
            "Values from 0 to 1 look like independent sigmoid units, one for each label: explain one label i at a time, by a "
            "function such as lambda x: model(x)[:, i], with y of 0 and 1."
        )
    return (
        "Pass from_logits=True for scores before a softmax or sigmoid. Numbers of a regression are no scores of classes, and "
        "cannot be explained so."
    )
