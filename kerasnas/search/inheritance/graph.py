"""A network as the list of calls that compute it, models inside it included."""

from dataclasses import dataclass
from typing import Any

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["Call", "Graph", "trace"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or of another operation, from numbered tensors to numbered tensors.

    Attributes:
        path: names of the models around it and its own, joined by "/".
        operation: the layer or operation.
        inputs: numbers of the tensors it takes.
        outputs: numbers of the tensors it makes.
        input_shapes: their shapes, with the batch.
        output_shapes: likewise.
    """

    path: str
    operation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]

    @property
    def has_weights(self) -> bool:
        """Whether it is a layer with weights to inherit; Normalization has none, since it describes the data."""
        layer = self.operation
        return (
            isinstance(layer, keras.layers.Layer) and bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)
        )


@dataclass(frozen=True)
class Graph:
    """The calls of a model in an order in which they can be computed; `inputs` maps a tensor to its shape."""

    inputs: dict[int, Shape]
    outputs: tuple[int, ...]
    calls: tuple[Call, ...]

    def layers(self) -> dict[str, Call]:
        """Return the first call of each layer with weights, by path."""
        firsts: dict[int, Call] = {}
        for call in self.calls:
            if call.has_weights:
                firsts.setdefault(id(call.operation), call)
        return {call.path: call for call in firsts.values()}

    def makers(self) -> dict[int, Call]:
        """Return the call that makes each tensor; inputs have none."""
        return {tensor: call for call in self.calls for tensor in call.outputs}


def trace(model: Any, argument: str) -> Graph:
    """Return the graph of a model.

    Raises:
        InvalidArgument: naming `argument`, if `model` is not a built Functional or Sequential model.
    """
    functional = _functional(model)
    if functional is None:
        built = "" if not isinstance(model, keras.Model) or model.built else " that is not built"
        raise InvalidArgument(
            f"Expected `{argument}` to be a built Functional or Sequential keras.Model, got {type(model).__name__}{built}. "
            "Weights find their place in the graph of the layers, which other models do not have."
        )
    calls: list[Call] = []
    inputs = {number: tuple(tensor.shape) for number, tensor in enumerate(functional.inputs)}
    outputs = _inline(functional, "", list(inputs), calls, [len(inputs)])
    return Graph(inputs, tuple(outputs), tuple(calls))


def _inline(functional: Any, prefix: str, inputs: list[int], calls: list[Call], free: list[int]) -> list[int]:
    """Append the calls of a model that is given the tensors `inputs`; return its outputs. `free[0]` is the next number."""
    numbers = {id(tensor): number for tensor, number in zip(functional.inputs, inputs, strict=True)}
    # Keras has no public walk of a graph; this is what its own `call` follows.
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.is_input:
                continue
            operation, path = node.operation, prefix + node.operation.name
            taken = [numbers[id(tensor)] for tensor in node.input_tensors]
            inner = _functional(operation)
            if inner is not None and len(inner.inputs) == len(taken):
                made = _inline(inner, f"{path}/", taken, calls, free)
            else:
                made = list(range(free[0], free[0] + len(node.outputs)))
                free[0] += len(made)
                shapes = [tuple(tuple(tensor.shape) for tensor in tensors) for tensors in (node.input_tensors, node.outputs)]
                calls.append(Call(path, operation, tuple(taken), tuple(made), shapes[0], shapes[1]))
            numbers |= {id(tensor): number for tensor, number in zip(node.outputs, made, strict=True)}
    return [numbers[id(tensor)] for tensor in functional.outputs]


def _functional(model: Any) -> Any:
    """Return the Functional model that holds the graph; None if there is none."""
    if not isinstance(model, keras.Model) or not model.built:
        return None
    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    # A subclass of Model with a `call` of its own has no graph, one of Functional may have one.
    return model if hasattr(model, "_nodes_by_depth") else None
