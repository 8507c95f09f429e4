import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture(scope="session")
def scramble():
    """Give a model weights under which every layer matters: biases that are not 0, statistics that are not 0 and 1."""

    def apply(model, seed=0):
        rng = np.random.default_rng(seed)
        for weight in model.weights:
            if np.issubdtype(np.dtype(str(weight.dtype)), np.floating):
                positive = "variance" in weight.name or "gamma" in weight.name
                values = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.5, weight.shape)
                weight.assign(values)
        return model

    return apply


@pytest.fixture(scope="session")
def write_linear():
    """Write by hand, without tf2onnx, the ONNX file of y = x @ kernel + bias."""

    def write(path, kernel, bias=None, *, batch="batch", input_name="x", output_name="y"):
        kernel = np.asarray(kernel, "float32")
        bias = np.zeros(kernel.shape[1], "float32") if bias is None else np.asarray(bias, "float32")
        graph = helper.make_graph(
            [
                helper.make_node("MatMul", [input_name, "kernel"], ["product"]),
                helper.make_node("Add", ["product", "bias"], [output_name]),
            ],
            "linear",
            [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, kernel.shape[0]])],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, [batch, kernel.shape[1]])],
            [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)
        return path

    return write


@pytest.fixture(scope="session")
def perturb():
    """Add `amount` to the first column of the kernel of an ONNX graph's last dense layer."""

    def apply(proto, amount):
        kernel = [node.input[1] for node in proto.graph.node if node.op_type == "MatMul"][-1]
        (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == kernel)
        values = numpy_helper.to_array(tensor).copy()
        values[:, 0] += amount
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return proto

    return apply
