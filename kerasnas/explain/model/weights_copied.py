"""The weights of a model in a copy of it."""

from typing import Any

import keras

__all__ = ["copy_weights", "refresh"]


def copy_weights(source: Any, copy: Any) -> None:
    """Give a copy, made from the config of `source`, its weights, and what its layers derive from them.

    `set_weights` alone leaves an adapted Normalization with mean 0 and variance 1.
    """
    copy.set_weights(source.get_weights())
    for layer in copy._flatten_layers():
        refresh(layer)


def refresh(layer: Any) -> None:
    """Let a layer derive anew what it computes with from its weights."""
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()
