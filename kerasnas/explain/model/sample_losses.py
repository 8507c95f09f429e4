"""The loss of every single sample."""

from collections.abc import Callable

import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["Loss", "sample_losses"]

Loss = str | Callable[[np.ndarray, np.ndarray], np.ndarray]


def sample_losses(log_probabilities: np.ndarray, labels: np.ndarray, loss: Loss = "crossentropy") -> np.ndarray:
    """Return the loss of each sample.

    Args:
        log_probabilities: shape (batch, classes), natural logarithms.
        labels: shape (batch,), the true classes.
        loss: "crossentropy" (-log p of the true class, nats), "brier" (sum over classes of (p - one-hot)**2, in [0, 2]), or
            a function (probabilities, labels) -> losses of shape (batch,), which is called with the whole batch.

    Returns:
        float64 array of shape (batch,).

    Raises:
        InvalidArgument: if `loss` is none of these, or returns something else than finite numbers of shape (batch,).

    Example:
        >>> sample_losses(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]), "brier")
        array([0.5  , 0.125])

    Source:
        Brier 1950.
    """
    count = len(labels)
    if loss == "crossentropy":
        return np.asarray(-log_probabilities[np.arange(count), labels])
    probabilities = np.exp(log_probabilities)
    if loss == "brier":
        return np.asarray(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1))
    if not callable(loss):
        raise InvalidArgument(f"Expected loss to be 'crossentropy', 'brier' or a function; came {loss!r}.")
    losses = np.asarray(loss(probabilities, labels))
    if losses.shape != (count,) or losses.dtype.kind not in "biuf" or not np.all(np.isfinite(losses)):
        raise InvalidArgument(
            f"Expected loss to return one finite number for each of the {count} samples; came shape {losses.shape}, dtype "
            f"{losses.dtype}. Return the loss of each sample, not their mean."
        )
    return losses.astype(np.float64)
