"""Whether a classifier is better than always guessing the commonest class, before others are judged by it."""

import warnings
from typing import Any

import numpy as np

__all__ = ["told_of_guessing", "warn_of_guessing"]

_LEAST = 20  # of fewer samples an honest model may get no more right than the commonest class by bad luck
_MOST = 0.8  # where one class holds more than this share, a model that looks for the others gets less right by intention


def told_of_guessing(accuracy: float, classes: Any) -> str:
    """Return a sentence on a model that is no better than a guess, or nothing if it is, or if it cannot be told.

    What is given other pixel values than it was trained on mostly names one class, which never gets more right than the
    commonest does; with labels in another order it gets far less right. There is no margin above the guess,
    and nothing is said where one class holds nearly all samples: there honest models are hardly above it, or even below.

    Args:
        accuracy: share of the samples that the model gets right.
        classes: class of each of these samples.
    """
    counts = np.unique(np.asarray(classes), return_counts=True)[1]
    share = counts.max(initial=0) / max(counts.sum(), 1)
    if counts.sum() < _LEAST or len(counts) < 2 or share > _MOST or not accuracy <= share:
        return ""
    return (
        f"The original gets {accuracy:.1%} of the {counts.sum():,} samples that judge it right, always guessing the commonest "
        f"class {share:.1%}: check that x is scaled and y is ordered as in training."
    )


def warn_of_guessing(accuracy: float, classes: Any) -> str:
    """Warn by what `told_of_guessing` returns, if that is anything, and return it."""
    told = told_of_guessing(accuracy, classes)
    if told:
        warnings.warn(told, UserWarning, stacklevel=3)
    return told
