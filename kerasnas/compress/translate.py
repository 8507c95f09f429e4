"""A Keras 3 model rebuilt layer by layer in tf_keras, for those tools of tfmot that change layers."""

import inspect
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasnas.compress.tfmot import load_tfmot
from kerasnas.cost.activation_memory import AUGMENTATION
from kerasnas.errors import InvalidArgument

__all__ = ["translate"]

_LEFT_OUT = ("_initializer", "_regularizer", "_constraint")  # of no use for a trained layer, or objects of Keras 3


class _Step(NamedTuple):
    """One call of an operation; tensors are numbers, 0 is the model's input."""

    operation: keras.Operation
    given: tuple[int, ...]
    taken: int


def translate(model: keras.Model, supports: Callable[[Any, Any], bool]) -> Any:
    """Rebuild a model in tf_keras, with its weights.

    Nested models come out flat. A layer is made from its config by the class of the same name; whether the copy computes the
    same is for the caller to measure. Augmentation, which changes pictures in training alone, is left out. Rescaling and
    Normalization become a depthwise convolution of one pixel, which is not trained: that is what 8 bits can do.

    Args:
        model: a built Keras 3 Functional or Sequential model of one input and one output.
        supports: called with a tf_keras layer and the one before it (None where there are several, or none, or others follow
            that, too): whether the tool that the copy is for takes it there.

    Raises:
        InvalidArgument: if a layer is used twice, is not there in tf_keras, or is not supported; all of them are named.
    """
    load_tfmot()
    import tf_keras

    steps, end = _steps(model)
    uses = Counter(number for step in steps for number in step.given)
    refused: dict[str, None] = {}
    made: dict[int, list[Any]] = {}
    makers: dict[int, Any] = {}  # number of a tensor -> the layer that gives it
    for step in steps:
        operation = step.operation
        before = makers.get(step.given[0]) if len(step.given) == 1 and uses[step.given[0]] == 1 else None
        layers = [] if id(operation) in made else _remake(operation)
        if id(operation) in made:
            why = "is used twice"
        elif not layers:
            why = "is unknown there"
        elif not supports(layers[0], before):
            why = "is not supported there"
            if isinstance(operation, keras.layers.BatchNormalization):
                why += ", for it is not all that follows a convolution or dense layer without an activation"
        else:
            made[id(operation)], makers[step.taken] = layers, layers[-1]
            continue
        activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
        told = "" if activation == "linear" or why == "is used twice" else f" with {activation}"
        refused[f"{operation.name!r} ({type(operation).__name__}{told}) {why}"] = None
    if refused:
        raise InvalidArgument(
            f"Expected layers that tfmot can train for 8 bits, but {'; '.join(refused)}. Replace them, or quantise the trained "
            "model with kerasnas.export.to_litert(format='int8'), which takes them, recurrent layers if built with unroll=True."
        )
    inputs = tf_keras.Input(model.input_shape[1:], name=model.inputs[0]._keras_history.operation.name)
    values = {0: inputs}
    for step in steps:
        arguments = [values[number] for number in step.given]
        value = arguments[0] if len(arguments) == 1 else arguments
        for layer in made[id(step.operation)]:
            value = layer(value)
            if layer.weights:
                layer.set_weights(_weights(step.operation))
        values[step.taken] = value
    return tf_keras.Model(inputs, values[end], name=model.name)


def _steps(model: keras.Model) -> tuple[list[_Step], int]:
    """Return the calls in order, nested models flat, and the number of the output."""
    numbers = itertools.count(1)
    steps: list[_Step] = []

    def replay(graph: keras.Model, sources: list[int]) -> list[int]:
        flat = keras.Model(graph.inputs, graph.outputs)
        known = {id(tensor): number for tensor, number in zip(flat.inputs, sources, strict=True)}
        for depth in sorted(flat._nodes_by_depth, reverse=True):
            for node in flat._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                given = [known[id(tensor)] for tensor in node.input_tensors]
                if isinstance(node.operation, keras.Model):
                    taken = replay(node.operation, given)
                elif type(node.operation).__name__ in AUGMENTATION:
                    taken = given
                else:
                    taken = [next(numbers) for _ in node.output_tensors]
                    steps.append(_Step(node.operation, tuple(given), taken[0]))
                known |= {id(tensor): number for tensor, number in zip(node.output_tensors, taken, strict=True)}
        return [known[id(tensor)] for tensor in flat.outputs]

    (end,) = replay(model, [0])
    return steps, end


def _remake(operation: keras.Operation) -> list[Any]:
    """Return the tf_keras layers that do what an operation does, one after the other, or none."""
    import tf_keras

    kinds = tf_keras.layers
    if isinstance(operation, keras.layers.Rescaling | keras.layers.Normalization):
        shape = tuple(operation.output.shape[1:])
        factor, _ = _numbers(operation)
        if None in shape or factor.size not in (1, shape[-1]):
            return []
        settings = {"name": operation.name, "trainable": False}
        if len(shape) == 3:
            return [kinds.DepthwiseConv2D(1, **settings)]
        if factor.size > 1:
            return []
        flat = kinds.Reshape((math.prod(shape), 1, 1), name=f"{operation.name}_before")
        return [flat, kinds.DepthwiseConv2D(1, **settings), kinds.Reshape(shape, name=f"{operation.name}_after")]
    kind = getattr(kinds, type(operation).__name__, None)
    if kind is None or not isinstance(operation, keras.Layer) or not type(operation).__module__.startswith("keras."):
        return []
    known = {*inspect.signature(kind.__init__).parameters, "name", "trainable"} - {"dtype"}
    if isinstance(operation, keras.layers.ActivityRegularization):
        return [kind(name=operation.name)]  # its l1 and l2 are a regularizer's: a penalty in training, nothing else
    config = {key: value for key, value in operation.get_config().items() if key in known and not key.endswith(_LEFT_OUT)}
    if isinstance(operation, keras.layers.LeakyReLU):
        config["alpha"] = operation.negative_slope  # as tf_keras calls it
    try:
        return [kind.from_config(config)]
    except (ValueError, TypeError, KeyError):  # such as an activation that Keras 3 alone has, or the function of a Lambda
        return []


def _weights(operation: keras.Layer) -> list[np.ndarray]:
    if isinstance(operation, keras.layers.Rescaling | keras.layers.Normalization):
        channels = operation.output.shape[-1] if len(operation.output.shape) == 4 else 1
        factor, offset = (np.broadcast_to(numbers, (channels,)) for numbers in _numbers(operation))
        return [factor.reshape(1, 1, channels, 1), offset]
    return [weight.numpy() for weight in operation.weights if not weight.path.endswith("seed_generator_state")]


def _numbers(operation: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and offset of a Rescaling or Normalization layer, one of each or one for each channel."""
    if isinstance(operation, keras.layers.Rescaling):
        factor, offset = operation.scale, operation.offset
    else:
        mean, variance = np.asarray(operation.mean), np.asarray(operation.variance)
        spread = np.maximum(np.sqrt(variance), keras.backend.epsilon())
        factor, offset = (spread, mean) if operation.invert else (1 / spread, -mean / spread)
    factor, offset = np.broadcast_arrays(np.asarray(factor, "float32"), np.asarray(offset, "float32"))
    return factor.reshape(-1), offset.reshape(-1)
