"""Weights in 8 bits, arithmetic in float: a quarter of the size, and as fast as before."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["with_eight_bit_weights"]

_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}  # of the output channels in the weights


def with_eight_bit_weights(proto: Any, left_in_float: Sequence[str] = ()) -> Any:
    """Return a graph whose convolutions and matrix products hold their weights as whole numbers from -127 to 127.

    Each output channel has its own scale, max|w| / 127. A Cast and a Mul make real numbers of them, which onnxruntime does
    once, when it opens the file: a DequantizeLinear in their place would be kept for 8-bit kernels, and run in each call.
    Weights that would not become smaller stay as they are.

    Args:
        proto: a float32 graph as `prepare` writes it; it is changed.
        left_in_float: names of nodes whose weights stay as they are.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    scalers: list[Any] = []
    for node in graph.node:
        tensor = constants.get(node.input[1]) if len(node.input) > 1 else None
        if tensor is None or node.name in left_in_float or node.op_type not in (*_AXES, "Gemm") or len(tensor.dims) < 2:
            continue
        weights = numpy_helper.to_array(tensor)
        axis = _AXES.get(node.op_type, 0 if _transposed(node) else -1)
        largest = np.abs(weights).max(axis=tuple(set(range(weights.ndim)) - {axis % weights.ndim}), keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype("float32")
        name, whole = tensor.name, np.rint(weights / scale).astype("int8")
        parts = [numpy_helper.from_array(whole, f"{name}/int8"), numpy_helper.from_array(scale, f"{name}/scale")]
        made = [
            helper.make_node("Cast", [f"{name}/int8"], [f"{name}/float"], f"{name}/Cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}/float", f"{name}/scale"], [name], f"{name}/Mul"),
        ]
        if sum(part.ByteSize() for part in (*parts, *made)) < tensor.ByteSize():
            del constants[name]
            graph.initializer.remove(tensor)
            graph.initializer.extend(parts)
            scalers += made
    nodes = [*scalers, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return proto


def _transposed(node: Any) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
