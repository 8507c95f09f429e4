"""The layers of a model as a graph for TensorBoard."""

from dataclasses import dataclass
from typing import Any

import keras
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

__all__ = ["model_graph"]


@dataclass(frozen=True)  # not a NamedTuple, which Keras would take apart
class _Source:
    """Stands for a tensor as the graph is replayed: an output of the node `name`."""

    name: str
    output: int


def model_graph(model: keras.Model) -> GraphDef | None:
    """Return one node for each call of a layer, with its class, inputs, output shapes and number of parameters.

    A nested model becomes a group of nodes. TensorBoard can draw a model from its JSON, too, but without shapes and only if
    all of its layers can be serialised.

    Returns:
        The graph, or None if the model is not a built Functional or Sequential model.
    """
    functional = _functional(model)
    if functional is None:
        return None
    graph = GraphDef()
    sources = []
    for tensor in functional.inputs:
        operation = tensor._keras_history.operation
        sources.append(_Source(_add(graph, operation.name, operation, []).name, 0))
    _replay(graph, functional, sources, "")
    return graph


def _functional(model: Any) -> Any:
    """Return what can be replayed, or None."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if isinstance(model, keras.Model) and hasattr(model, "_run_through_graph") else None


def _replay(graph: GraphDef, functional: Any, sources: Any, scope: str) -> Any:
    def record(operation: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            inner = _functional(operation)
            inputs = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, _Source)]
            if inner is not None and len(inputs) == len(inner.inputs):
                return keras.tree.flatten(_replay(graph, inner, inputs, f"{scope}{operation.name}/"))
            node = _add(graph, scope + operation.name, operation, inputs)
            return [_Source(node.name, index) for index in range(len(operation._inbound_nodes[0].outputs))]

        return call

    return functional._run_through_graph(sources, operation_fn=record)


def _add(graph: GraphDef, name: str, operation: Any, inputs: list[_Source]) -> NodeDef:
    taken = {node.name for node in graph.node}
    unique, repeat = name, 0
    while unique in taken:
        repeat += 1
        unique = f"{name}_{repeat}"
    node: NodeDef = graph.node.add(name=unique, op=type(operation).__name__)
    node.input.extend(f"{source.name}:{source.output}" if source.output else source.name for source in inputs)
    for tensor in operation._inbound_nodes[0].outputs:
        shape = [TensorShapeProto.Dim(size=-1 if size is None else size) for size in tensor.shape]
        node.attr["_output_shapes"].list.shape.append(TensorShapeProto(dim=shape))
    if isinstance(operation, keras.Layer):
        node.attr["parameters"].i = int(operation.count_params())
    return node
