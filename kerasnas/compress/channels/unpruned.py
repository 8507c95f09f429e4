"""Copies of which nothing was removed: there is nothing to compare them with."""

import weakref

import keras

__all__ = ["is_unpruned", "mark_unpruned"]

_WHOLE: weakref.WeakSet[keras.Model] = weakref.WeakSet()


def mark_unpruned(model: keras.Model) -> None:
    """Remember that `model` is a copy from which nothing was removed."""
    _WHOLE.add(model)


def is_unpruned(model: keras.Model) -> bool:
    """Tell whether `prune_channels` made a model of this process without removing a channel."""
    return model in _WHOLE
