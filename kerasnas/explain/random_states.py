"""Explaining draws random numbers; a training that goes on must not notice."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

__all__ = ["random_states_kept"]


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put back the random states of Python, NumPy and Keras: a layer that is copied draws its weights and its seeds."""
    # Keras has no public way to the generator of its draws without a seed, which may not exist yet.
    from keras.src.backend.common import global_state

    name = "global_seed_generator"
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    generator = global_state.get_global_attribute(name)
    state = None if generator is None else keras.ops.convert_to_numpy(generator.state.value).copy()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if generator is not None:
            generator.state.assign(state)
        global_state.set_global_attribute(name, generator)
