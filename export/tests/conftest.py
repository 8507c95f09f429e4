"""ONNX files and pictures, made without TensorFlow."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image


@pytest.fixture
def write_model(tmp_path):
    """Write the ONNX file of a linear classifier of pictures, answers = end(pixels @ kernel + bias), as kerasnas writes it."""

    def write(
        kernel,
        bias=None,
        *,
        shape=(4, 4, 1),
        end="Softmax",
        name="model.onnx",
        input_type=TensorProto.FLOAT,
        batch="batch",
        metadata=None,
        **said,
    ):
        kernel = np.asarray(kernel, np.float32)
        bias = np.zeros(kernel.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
        constants = {"kernel": kernel, "bias": bias, "row": np.array([-1, len(kernel)])}
        make = helper.make_node
        nodes = [
            make("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            make("Reshape", ["float", "row"], ["flat"]),
            make("MatMul", ["flat", "kernel"], ["product"]),
            make("Add", ["product", "bias"], ["sum"]),
        ]
        if end == "quantised":  # as onnxruntime's static quantisation ends a file
            constants |= {"scale": np.float32(1 / 255), "zero": np.uint8(0)}
            nodes += [
                make("Softmax", ["sum"], ["p"], axis=-1),
                make("QuantizeLinear", ["p", "scale", "zero"], ["q"]),
                make("DequantizeLinear", ["q", "scale", "zero"], ["scores"]),
            ]
        elif end == "mean":  # as an ensemble ends
            constants |= {"share": np.float32(0.25), "rest": np.float32(0.75), "zeros": np.zeros_like(bias)}
            nodes += [
                make("Softmax", ["sum"], ["one"], axis=-1),
                make("Mul", ["sum", "zeros"], ["nothing"]),
                make("Softmax", ["nothing"], ["other"], axis=-1),
                make("Mul", ["one", "share"], ["less"]),
                make("Mul", ["other", "rest"], ["more"]),
                make("Add", ["less", "more"], ["scores"]),
            ]
        elif end == "by hand":  # a softmax that was taken to pieces
            constants |= {"axes": np.array([1])}
            nodes += [
                make("Exp", ["sum"], ["power"]),
                make("ReduceSum", ["power", "axes"], ["all"], keepdims=1),
                make("Div", ["power", "all"], ["scores"]),
            ]
        else:
            nodes.append(make(end or "Identity", ["sum"], ["scores"]))
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("image", input_type, [batch, *shape])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, kernel.shape[1]])],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        texts = {key: json.dumps(value) for key, value in said.items()}
        helper.set_model_props(model, {"model_name": "linear", **texts, **(metadata or {})})
        onnx.checker.check_model(model, full_check=True)
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def write_picture(tmp_path):
    """Write pixels, or a Pillow picture, as a file."""

    def write(pixels, name="picture.png", **how):
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, np.uint8))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, **how)
        return path

    return write


@pytest.fixture
def random_pixels():
    """Return 8-bit pixels, grey for two lengths, in colour for three."""

    def draw(*shape, seed=0):
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return draw
