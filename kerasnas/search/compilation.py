"""When compiling a training with XLA takes less time than it saves, on TensorFlow's CPU."""

from typing import Any

import keras
from keras import layers

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument

__all__ = ["choose_execution", "steps_per_execution", "worth_compiling"]

# From benchmarks/compilation.py on two cores of an x86 server, batches of 64, in CPU seconds, which other load changes least.
# XLA took 5 s and 0.45 s a layer longer to begin than plain TensorFlow: 9 to 11 s with 11 layers, 21 to 22 s with 35. It
# compiles training and validation, each for full batches and for the last one.
_COMPILE_S, _COMPILE_S_PER_LAYER = 5.0, 0.45
# It saves the reading and writing of activations between small operations: the networks that gained did so by at least 1 ns
# for each sample and byte of their peak memory (a fifth to two fifths of a step at 28x28 pixels).
_SAVED_S_PER_BYTE = 1e-9
# Those had 6 to 10 multiply-accumulates for each byte. At 12 and more (32x32x3, more convolutions) XLA was as fast as without.
_MOST_MACS_PER_BYTE = 12
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D)
_MOST_STEPS = 32


def choose_execution(model: keras.Model, samples: int, batch_size: int, epochs: int, *, hears_batches: bool) -> None:
    """Let TensorFlow run a training as it is fastest on a CPU; nothing is changed on other devices and backends.

    Several steps at once unless the model was compiled for several already, and XLA only where `worth_compiling` says so,
    whatever the model was compiled with: Keras' "auto" compiles whatever can be compiled.

    Args:
        model: a compiled, built model.
        samples: of one epoch.
        batch_size: samples of a step.
        epochs: of the training.
        hears_batches: whether somebody wants to hear of every batch.
    """
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return
    if model.steps_per_execution == 1 and not hears_batches:
        model.steps_per_execution = steps_per_execution(samples, batch_size)
    try:
        cost = cost_of(model)
    except InvalidArgument:
        return  # a graph that cannot be followed: it stays as it was compiled
    model.jit_compile = not model.run_eagerly and worth_compiling(model, cost, samples=samples, epochs=epochs)


def worth_compiling(model: keras.Model, cost: Cost, *, samples: int, epochs: int) -> bool:
    """Return whether XLA (`jit_compile=True`) is expected to shorten a training on TensorFlow's CPU.

    The answer follows from the network and the amount of training alone, not from a measurement, so that the same seed makes
    the same search on any machine: XLA rounds otherwise. It is seldom yes: XLA is about five times slower at
    depthwise convolutions, no faster at large ones, and takes as long to begin as a small network takes to train.

    Args:
        model: a built model.
        cost: of it, see `kerasnas.cost.cost_of`.
        samples: of one epoch, >= 1.
        epochs: of the training, >= 1.

    Raises:
        InvalidArgument: for a count that is not a whole number >= 1.

    Source:
        benchmarks/compilation.py; the figures are beside the constants.
    """
    _check(samples=samples, epochs=epochs)
    parts = [part for part in model._flatten_layers() if not isinstance(part, keras.Model)]
    if any(not part.supports_jit or isinstance(part, _DEPTHWISE) or _is_grouped(part) for part in parts):
        return False
    if cost.macs >= _MOST_MACS_PER_BYTE * cost.activation_bytes:
        return False
    saved_s = _SAVED_S_PER_BYTE * cost.activation_bytes * samples * epochs
    return saved_s > _COMPILE_S + _COMPILE_S_PER_LAYER * len(parts)


def steps_per_execution(samples: int, batch_size: int) -> int:
    """Return how many training steps to hand to TensorFlow at once: all of an epoch, but at most 32.

    A call from Python costs some 2 ms of CPU time: nearly half a step of a tiny network (4.6 ms one by one, 2.9 ms by eights,
    2.6 ms by 32), and nothing beside a large one's. The training is the same; callbacks hear of batches less often.

    Args:
        samples: of one epoch, >= 1.
        batch_size: samples of a step, >= 1.

    Raises:
        InvalidArgument: for a count that is not a whole number >= 1.
    """
    _check(samples=samples, batch_size=batch_size)
    return min(-(-samples // batch_size), _MOST_STEPS)


def _is_grouped(layer: Any) -> bool:
    return isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D) and layer.groups > 1


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidArgument(f"Expected `{name}` to be a whole number >= 1, got {value!r}.")
