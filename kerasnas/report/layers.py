"""A model as a table of layers."""

from collections.abc import Iterator
from typing import Any

from kerasnas.cost.graph import Call, graph_of, inner_graph
from kerasnas.cost.macs import call_macs
from kerasnas.errors import InvalidArgument

__all__ = ["layer_table"]


def layer_table(model: Any) -> list[dict[str, Any]]:
    """Return one plain row for each layer of a built Keras model: name, kind, output shape, parameters, MACs, inputs.

    MACs (multiply-accumulate operations for one sample) are those of all calls of a layer, of a nested model those of all calls
    in it, as `kerasnas.cost.cost_of` counts them; None where its graph cannot be followed, a shape is free or there is no rule.
    A layer that lies in a nested model as well as beside it has them all in the first of the two rows, and operations of
    keras.ops that are called outside of layers have no row.
    """
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": _shape(layer),
            "parameters": int(layer.count_params()) if layer.built else 0,
            "macs": macs,
            "inputs": _inputs(layer),
        }
        for layer, macs in zip(model.layers, _macs(model), strict=True)
    ]


def _shape(layer: Any) -> list[int | None] | None:
    try:
        output = layer.output
    except (AttributeError, ValueError):  # called several times, or never
        return None
    return list(output.shape[1:]) if hasattr(output, "shape") else None


def _inputs(layer: Any) -> list[str]:
    try:
        inputs = layer.input
    except (AttributeError, ValueError):
        return []
    tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
    names = [getattr(getattr(t, "_keras_history", None), "operation", None) for t in tensors]
    return [operation.name for operation in names if operation is not None and operation is not layer]


def _macs(model: Any) -> list[int | None]:
    """Return the multiply-accumulates of each layer of `model.layers`."""
    try:
        calls = graph_of(model).calls
    except InvalidArgument:
        return [None] * len(model.layers)
    row_of: dict[int, int] = {}  # of an operation: the first layer that it is, or lies in
    for row, layer in enumerate(model.layers):
        for operation in _operations(layer):
            row_of.setdefault(id(operation), row)
    macs: list[int | None] = [0] * len(model.layers)
    for call in calls:
        place = row_of.get(id(call.operation))
        if place is not None and macs[place] is not None:
            count = _count(call)
            macs[place] = None if count is None else (macs[place] or 0) + count
    return macs


def _count(call: Call) -> int | None:
    if any(None in tensor.shape[1:] for tensor in (*call.inputs, *call.outputs)):
        return None
    count, known = call_macs(call)
    return count if known else None


def _operations(layer: Any) -> Iterator[Any]:
    """Yield a layer, or if it is a model all that it calls, models within it opened."""
    inner = inner_graph(layer)
    if inner is None:
        yield layer
        return
    for operation in inner.operations:
        yield from _operations(operation)
