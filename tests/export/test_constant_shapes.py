"""Shapes that need not be computed in each call."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from kerasnas.export import to_onnx
from kerasnas.export.constant_shapes import constant_shapes


def _operators(model, path):
    return [node.op_type for node in onnx.load(to_onnx(model, path, x=np.zeros((5, *model.input_shape[1:]))).path).graph.node]


@pytest.mark.parametrize("flat", [layers.Flatten(), layers.Reshape((6, 10)), layers.Reshape((-1, 4))])
def test_a_shape_whose_batch_alone_is_free_is_a_constant(flat, tmp_path):
    model = keras.Sequential([keras.Input((4, 5, 1)), layers.Conv2D(3, 3, padding="same"), flat, layers.Dense(2)])
    found = _operators(model, tmp_path / "m.onnx")
    assert "Reshape" in found
    assert not {"Shape", "Gather", "Concat", "Slice"} & set(found)


def _reshaped(nodes, lengths, outputs):
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, lengths)
    values = (("zero", 0), ("one", 1), ("two", 2), ("six", 6))
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in values]
    made = [helper.make_node(operator, given, [name], **how) for name, operator, given, how in nodes]
    graph = helper.make_graph(made, "g", [start], outputs, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    constant_shapes(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def test_a_shape_of_which_more_is_free_is_computed():
    nodes = [
        ("shape", "Shape", ["x"], {}),
        ("batch", "Slice", ["shape", "zero", "one"], {}),
        ("length", "Slice", ["shape", "one", "two"], {}),
        ("twice", "Mul", ["length", "two"], {}),
        ("wanted", "Concat", ["batch", "twice"], {"axis": 0}),
        ("y", "Reshape", ["x", "wanted"], {}),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])]
    proto = _reshaped(nodes, ["batch", "length", 2], outputs)
    assert [node.op_type for node in proto.graph.node] == [operator for _, operator, _, _ in nodes]


def test_what_else_reads_the_computed_shape_keeps_it():
    nodes = [
        ("shape", "Shape", ["x"], {}),
        ("batch", "Slice", ["shape", "zero", "one"], {}),
        ("wanted", "Concat", ["batch", "six"], {"axis": 0}),
        ("y", "Reshape", ["x", "wanted"], {}),
        ("told", "Identity", ["batch"], {}),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6]),
        helper.make_tensor_value_info("told", TensorProto.INT64, [1]),
    ]
    proto = _reshaped(nodes, ["batch", 2, 3], outputs)
    assert [node.op_type for node in proto.graph.node] == ["Shape", "Slice", "Reshape", "Identity"]
    held = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in proto.graph.initializer}
    assert held == {"zero": [0], "one": [1], "y, shape": [-1, 6]}
