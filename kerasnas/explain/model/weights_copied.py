"""The weights of a model in a copy of it."""

from typing import Any

from kerasnas.derived_state import derive

__all__ = ["copy_weights"]


def copy_weights(source: Any, copy: Any) -> None:
    """Give a copy, made from the config of `source`, its weights, and what its layers derive from them.

    `set_weights` alone leaves an adapted Normalization with mean 0 and variance 1.
    """
    copy.set_weights(source.get_weights())
    for layer in copy._flatten_layers():
        derive(layer)
