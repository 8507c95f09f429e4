"""What a trial would leave behind in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

__all__ = ["no_gradients_left"]

_PREFIX = "CustomGradient-"


@contextmanager
def no_gradients_left() -> Iterator[None]:
    """Let TensorFlow forget the custom gradients of the graphs that are traced while the context lasts.

    It registers each under a new name and keeps them for good, and with them the graphs of the training: 5 MiB for each small
    network that is trained, with or without kerasnas (TensorFlow 2.21). What is forgotten is looked up only where a gradient
    is taken through a graph that was traced before.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.python.framework import ops

    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", {})  # not public: it may be gone one day
    known = set(registry)
    try:
        yield
    finally:
        for name in [name for name in registry if name.startswith(_PREFIX) and name not in known]:
            del registry[name]
