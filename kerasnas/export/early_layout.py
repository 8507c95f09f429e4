"""Arithmetic on pictures moved behind the change of their layout, where it takes a tenth of the time."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["layout_first"]

_BINARY = ("Add", "Sub", "Mul", "Div")


def layout_first(proto: "onnx.ModelProto") -> None:
    """Let pictures of the inputs change from channels last to channels first before they are scaled, in place.

    Keras scales and shifts pictures (Rescaling, Normalization) of shape (batch, height, width, channels), and then ONNX wants
    channels first. onnxruntime runs an operation of a constant and a tensor in stretches as long as the last axis: one or three
    numbers of a picture with channels last, else a row or all of it. What is computed stays the same, number by number.
    """
    graph = proto.graph
    for value in graph.input:
        shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if len(shape) == 4 and 0 < shape[3] < shape[2]:
            while _move_one(graph, value.name, shape[3]):
                pass


def _move_one(graph: "onnx.GraphProto", name: str, channels: int) -> bool:
    """Move the last operation of a chain from an input behind the change of layout at its end; tell whether there was one."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    chain: list[onnx.NodeProto] = []
    tensor = name
    while True:
        readers = [node for node in graph.node if tensor in node.input]
        if len(readers) != 1 or tensor in results or list(readers[0].input).count(tensor) != 1:
            return False
        node = readers[0]
        others = [given for given in node.input if given != tensor]
        if node.op_type == "Cast" or (node.op_type in _BINARY and len(others) == 1 and others[0] in constants):
            chain.append(node)
            tensor = node.output[0]
            continue
        break
    turns = node.op_type == "Transpose" and _permutation(node) == [0, 3, 1, 2]
    # A reshaping puts the channels first only if there is one.
    if not chain or not (turns or (node.op_type == "Reshape" and node.input[0] == tensor and channels == 1)):
        return False
    last = chain[-1]
    source = last.input[0] if last.op_type == "Cast" else next(given for given in last.input if given not in constants)
    for place, given in enumerate(last.input):
        if given not in constants:
            continue
        value = numpy_helper.to_array(constants[given])
        if value.size > 1 and (not turns or value.shape not in ((channels,), *((1,) * n + (channels,) for n in (1, 2, 3)))):
            return False
        moved = value.reshape(()) if value.size == 1 else value.reshape(channels, 1, 1)
        new = numpy_helper.from_array(np.ascontiguousarray(moved), f"{given}, {last.output[0]}")
        graph.initializer.append(new)
        last.input[place] = new.name
    turned = f"{node.output[0]}, turned"
    node.input[list(node.input).index(tensor)] = source
    last.input[list(last.input).index(source)] = turned
    last.output[0], node.output[0] = node.output[0], turned
    nodes = [each for each in graph.node if each is not last]
    at = next(i for i, each in enumerate(nodes) if each is node)
    ordered = [*nodes[: at + 1], last, *nodes[at + 1 :]]
    described = [value for value in graph.value_info if value.name != tensor]
    used = {given for each in ordered for given in each.input}
    kept = [each for each in graph.initializer if each.name in used]
    for field, values in (("node", ordered), ("value_info", described), ("initializer", kept)):
        copies = [type(each).FromString(each.SerializeToString()) for each in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return True


def _permutation(node: "onnx.NodeProto") -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
