"""Log-probabilities from whatever a classifier puts out."""

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
            probabilities, of which zeros are taken as the smallest float64.

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
    values = values.astype(np.float64)
    if from_logits:
        values = np.concatenate([np.zeros_like(values), values], axis=1) if values.shape[1] == 1 else values
        return np.asarray(log_softmax(values, axis=1))
    values = np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values
    if values.min() < -_SUM_TOLERANCE or np.abs(values.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        raise InvalidArgument(
            f"Expected probabilities, >= 0 and 1 in sum; came values from {values.min():.4g} to {values.max():.4g} with sums "
            f"from {values.sum(axis=1).min():.4g} to {values.sum(axis=1).max():.4g}. Pass from_logits=True for scores."
        )
    return np.asarray(np.log(np.clip(values, np.finfo(np.float64).tiny, None)))
