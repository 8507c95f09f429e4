"""How TensorFlow runs the steps of a training fastest on a CPU."""

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["choose_execution", "steps_per_execution"]

_MOST_STEPS = 32


def choose_execution(model: keras.Model, samples: int, batch_size: int, *, hears_batches: bool) -> None:
    """Let TensorFlow run several steps at once on a CPU; nothing is changed on other devices and backends.

    A model that was compiled for several steps is left as it is. XLA is left to Keras, which does not use it where there is
    only a CPU: with oneDNN a step through XLA takes 3 to 11 times as long there (`benchmarks/compilation.py`).

    Args:
        model: a compiled model.
        samples: of one epoch.
        batch_size: samples of a step.
        hears_batches: whether somebody wants to hear of every batch.
    """
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return
    if model.steps_per_execution == 1 and not hears_batches:
        model.steps_per_execution = steps_per_execution(samples, batch_size)


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
