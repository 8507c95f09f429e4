"""How TensorFlow runs the steps of a training fastest on a CPU."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["choose_execution", "needs_single_steps", "steps_per_execution"]

_MOST_STEPS = 32
_OF_BATCHES = [f"on_{part}batch_{end}" for part in ("", "train_", "test_") for end in ("begin", "end")]


def needs_single_steps(arguments: Mapping[str, Any]) -> bool:
    """Return whether a training, with these arguments of `fit` by name, would be another one with several steps at once.

    A callback that hears of batches, as a warm-up of the learning rate does, would hear of fewer; and Keras validates by as
    many steps at once, and so by more than `validation_steps`.
    """
    listeners = keras.tree.flatten(arguments["callbacks"] or [])
    return arguments["validation_steps"] is not None or any(map(_hears_batches, listeners))


def _hears_batches(callback: Any) -> bool:
    if getattr(callback, "may_miss_batches", False):
        return False
    # Of the object: keras.callbacks.LambdaCallback has them from its arguments.
    own = [getattr(getattr(callback, name), "__func__", None) for name in _OF_BATCHES]
    return own != [getattr(keras.callbacks.Callback, name) for name in _OF_BATCHES]


def choose_execution(model: keras.Model, samples: int, batch_size: int, *, single_steps: bool) -> None:
    """Let TensorFlow run several steps at once on a CPU; nothing is changed on other devices and backends.

    A model that was compiled for several steps is left as it is. XLA is left to Keras, which does not use it where there is
    only a CPU: with oneDNN a step through XLA takes 3 to 11 times as long there (`benchmarks/compilation.py`).

    Args:
        model: a compiled model.
        samples: of one epoch.
        batch_size: samples of a step.
        single_steps: whether each step is to be run by itself, see `needs_single_steps`.
    """
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return
    before = model.steps_per_execution
    if before not in (1, getattr(model, "_steps_of_search", 1)) or (before == 1) == single_steps:
        return
    model.steps_per_execution = model._steps_of_search = 1 if single_steps else steps_per_execution(samples, batch_size)
    # An earlier `fit` or `evaluate` may have made them for the other number; Keras would pass over batches.
    model.train_function = model.test_function = model.predict_function = None


def steps_per_execution(samples: int, batch_size: int) -> int:
    """Return how many training steps to hand to TensorFlow at once: all of an epoch, but at most 32.

    A call from Python costs some 2 ms of CPU time: nearly half a step of a tiny network (4.6 ms one by one, 2.9 ms by eights,
    2.6 ms by 32), and nothing beside a large one's. The training is the same; callbacks hear of batches less often.

    Args:
        samples: of one epoch, >= 1.
        batch_size: samples of a step, >= 1.

    Raises:
        InvalidArgument: for a count that is not a whole number >= 1.

    Source:
        benchmarks/compilation.py.
    """
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidArgument(f"Expected `{name}` to be a whole number >= 1, got {value!r}.")
    return min(-(-samples // batch_size), _MOST_STEPS)
