"""The graph of a Keras 3 classifier, followed node by node and without its last softmax or sigmoid."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasnas.cost.graph import inner_graph

__all__ = ["ScoreGraph", "nested_graph"]

_SQUASHING = {"softmax", "log_softmax", "sigmoid"}
_SQUASHING_OPERATIONS = {"Softmax", "LogSoftmax", "Sigmoid"}  # layers and keras.ops nodes, by class name
_NEVER_PROBABILITIES = {"tanh", "linear"}
_PASSING = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity)


def _as_input(value: Any, *, dtype: str) -> Any:
    """Return a value as an input takes it: where that takes whole numbers, as the nearest of them."""
    tensor = keras.ops.convert_to_tensor(value)
    if keras.backend.is_int_dtype(dtype) and keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        tensor = keras.ops.round(tensor)
        kind = np.iinfo(dtype)
        if kind.bits <= 16:  # a float32 does not hold the ends of more
            tensor = keras.ops.clip(tensor, kind.min, kind.max)
    return keras.ops.cast(tensor, dtype)


class ScoreGraph:
    """What a classifier computes, up to the scores that its last softmax or sigmoid makes probabilities of.

    Args:
        graph: a Functional graph of any inputs and one output, which is not changed.

    Attributes:
        head: the operation that squashes the scores and is left out, None if there is none to leave out.
        sigmoid: whether it is a sigmoid.
        unbounded: whether the last operation is known to give no probabilities, whatever numbers come out.
    """

    def __init__(self, graph: Any) -> None:
        last = _last(graph)
        activation = _activation(last)
        # One that is used twice also shapes what comes before.
        self.head = last if _squashes(last) and _uses(graph, last) == 1 else None
        self.sigmoid = self.head is not None and (activation == "sigmoid" or type(self.head).__name__ == "Sigmoid")
        self.unbounded = activation in _NEVER_PROBABILITIES or type(last).__name__ == "Tanh"
        self._graph = graph
        self._linear = None if self.head is None else _linear_copy(self.head)

    def walk(self, x: Sequence[Any], call: Callable[[str, Any, Callable[..., Any], Any, Any], Any]) -> Any:
        """Go through the graph as `ScoreView.walk` does, from what stands for each input, in the order of the graph."""

        def run(graph: Any, inputs: Sequence[Any], prefix: str) -> Any:
            starts = []
            for one, value in zip(graph.inputs, inputs, strict=True):
                cast = partial(_as_input, dtype=one.dtype)
                starts.append(call(prefix, None, cast, (value,), {}))

            def hooked(operation: Any) -> Callable[..., Any]:
                return lambda *args, **kwargs: compute(operation, prefix + operation.name, args, kwargs)

            return graph._run_through_graph(starts, hooked)

        def compute(operation: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if getattr(operation, "_call_has_training_arg", False):
                kwargs = {**kwargs, "training": False}
            inner = nested_graph(operation)
            if self._linear is not None and operation is self.head:
                return call(path, operation, self._linear, args[:1], {})
            if inner is not None:
                value = keras.tree.flatten(run(inner, args[:1], f"{path}/"))[0]
                return call(path, operation, lambda value: value, (value,), {})
            return call(path, operation, operation, args, kwargs)

        return keras.tree.flatten(run(self._graph, x, ""))[0]


def nested_graph(operation: Any) -> Any:
    """Return the graph inside a nested model of one input and one output, or None."""
    graph = inner_graph(operation)
    return graph if graph is not None and len(graph.inputs) == len(graph.outputs) == 1 else None


def _last(graph: Any) -> Any:
    """Return the operation that the outputs of `graph` come from, but for those that change no value."""
    tensor = graph.outputs[0]
    while True:
        operation, node_index, tensor_index = tensor._keras_history
        inner = nested_graph(operation)
        if inner is not None:
            tensor = inner.outputs[tensor_index]
        elif isinstance(operation, _PASSING) or (
            isinstance(operation, keras.layers.Activation) and _activation(operation) == "linear"
        ):
            tensor = operation._inbound_nodes[node_index].input_tensors[0]
        else:
            return operation


def _activation(operation: Any) -> Any:
    return getattr(getattr(operation, "activation", None), "__name__", None)


def _squashes(operation: Any) -> bool:
    """Tell whether an operation squashes scores into probabilities and can be left out."""
    kinds = keras.layers.Activation | keras.layers.Dense | keras.layers.EinsumDense | keras.layers.Conv2D
    return type(operation).__name__ in _SQUASHING_OPERATIONS or (
        _activation(operation) in _SQUASHING and isinstance(operation, kinds)
    )


def _uses(graph: Any, operation: Any) -> int:
    """Count the calls of an operation that `ScoreGraph.walk` goes through."""
    called = [node.operation for nodes in graph._nodes_by_depth.values() for node in nodes]
    inner = [nested for nested in map(nested_graph, called) if nested is not None]
    return sum(one is operation for one in called) + sum(_uses(nested, operation) for nested in inner)


def _linear_copy(head: Any) -> Any:
    """Return what computes the scores in the place of `head`: nothing at all, or its layer without the activation."""
    if isinstance(head, keras.layers.Activation) or not getattr(head, "weights", None):
        return lambda x: x
    copy: Any = type(head).from_config({**head.get_config(), "activation": "linear"})
    copy.build_from_config(head.get_build_config())
    copy.set_weights(head.get_weights())
    return copy
