"""Shapes that a graph computes in each call although only the batch size is free, written as constants."""

from typing import TYPE_CHECKING

import numpy as np

from kerasnas.export.all_nodes import all_nodes

if TYPE_CHECKING:
    import onnx

__all__ = ["constant_shapes"]


def constant_shapes(proto: "onnx.ModelProto") -> None:
    """Let a Reshape to a shape of which one length is free take it as a constant, that length as -1, in place.

    Keras flattens to (ops.shape(x)[0], n), which becomes six small operators, run in each call. How long the
    other axes are is told by shape inference; -1 is then what is left, whatever the batch size.
    """
    import onnx
    from onnx import numpy_helper

    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {value.name: _lengths(value) for value in (*inferred.value_info, *inferred.output)}
    changed = False
    for node in graph.node:
        lengths = shapes.get(node.output[0], []) if node.op_type == "Reshape" and node.input[1] not in constants else []
        if lengths and lengths.count(None) == 1 and 0 not in lengths:
            name = f"{node.output[0]}, shape"
            values = np.array([-1 if length is None else length for length in lengths], "int64")
            graph.initializer.append(numpy_helper.from_array(values, name))
            node.input[1], changed = name, True
    while changed:
        used = {name for node in all_nodes(graph) for name in node.input} | {value.name for value in graph.output}
        idle = [node for node in graph.node if not used & set(node.output)]
        for node in idle:
            graph.node.remove(node)
        for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
            graph.initializer.remove(tensor)
        changed = bool(idle)


def _lengths(value: "onnx.ValueInfoProto") -> list[int | None]:
    dimensions = value.type.tensor_type.shape.dim
    return [dimension.dim_value if dimension.HasField("dim_value") else None for dimension in dimensions]
