"""Weights in 8 bits beside arithmetic in float."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from kerasnas.export import to_onnx
from kerasnas.export.eight_bit_weights import with_eight_bit_weights
from kerasnas.export.quantization_formats import FORMATS, prepare, write_quantized


def _run(path, x, optimized=None):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "" if optimized is None else str(optimized)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def _network():
    keras.utils.set_random_seed(0)
    stack = [
        layers.Conv2D(24, 3, activation="relu"),
        layers.Conv2DTranspose(16, 3, strides=2, activation="relu"),
        layers.DepthwiseConv2D(3),
        layers.Flatten(),
    ]
    return keras.Sequential([keras.Input((6, 6, 3)), *stack, layers.Dense(40, activation="tanh"), layers.Dense(4)])


def test_the_file_is_a_quarter_and_the_runtime_computes_as_before(tmp_path):
    plain = to_onnx(_network(), tmp_path / "plain.onnx").path
    prepare(plain, tmp_path / "prepared.onnx")
    write_quantized(tmp_path / "prepared.onnx", tmp_path / "small.onnx", FORMATS["int8 weights"], {})
    onnx.checker.check_model(tmp_path / "small.onnx", full_check=True)
    assert (tmp_path / "small.onnx").stat().st_size < 0.3 * plain.stat().st_size
    x = np.random.default_rng(0).normal(size=(50, 6, 6, 3)).astype("float32")
    expected = _run(plain, x, tmp_path / "a.onnx")
    found = _run(tmp_path / "small.onnx", x, tmp_path / "b.onnx")
    # In each of four layers a weight is off by up to 1/254 of the largest of its channel.
    assert 0 < np.sqrt(np.mean((found - expected) ** 2)) < 0.02 * expected.std()
    # Nothing is left of the casts: the operators that run are those of the float file.
    run = [sorted(node.op_type for node in onnx.load(tmp_path / name).graph.node) for name in ("a.onnx", "b.onnx")]
    assert run[0] == run[1]


@pytest.mark.parametrize(
    ("operator", "shape", "axis", "settings"),
    [
        ("Gemm", (60, 7), 1, {}),
        ("Gemm", (7, 60), 0, {"transB": 1}),
        ("MatMul", (60, 7), 1, {}),
        ("Conv", (7, 60, 1, 1), 0, {}),
        ("ConvTranspose", (60, 7, 1, 1), 1, {}),
    ],
)
def test_each_output_channel_is_off_by_half_a_step_of_its_own_at_most(operator, shape, axis, settings, tmp_path):
    rng = np.random.default_rng(1)
    sizes = 10.0 ** np.arange(-3, 4)  # of channels, which one scale for all would round away
    sizes[3] = 0
    weights = np.moveaxis(rng.normal(size=(7, 60)) * sizes[:, None], 0, axis if len(shape) == 2 else 0)
    weights = (weights.T if axis == 1 and len(shape) == 4 else weights).reshape(shape).astype("float32")
    given = [1, 60] + [1, 1] * (len(shape) == 4)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], **settings)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    proto = with_eight_bit_weights(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert held["w/int8"].dtype == np.int8
    off = np.abs(held["w/int8"] * held["w/scale"] - weights)
    largest = np.abs(weights).max(axis=tuple(set(range(len(shape))) - {axis}), keepdims=True)
    assert (off <= largest / 254 * (1 + 1e-5)).all()
    onnx.save(proto, tmp_path / "m.onnx")
    x = rng.normal(size=given).astype("float32")
    real = np.moveaxis(held["w/int8"] * held["w/scale"], axis, -1).reshape(60, 7)
    np.testing.assert_allclose(_run(tmp_path / "m.onnx", x).reshape(7), x.reshape(60) @ real, rtol=1e-4, atol=1e-6)


def test_what_would_not_become_smaller_and_what_is_to_be_left_stays():
    def graph(shape):
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
        weights = numpy_helper.from_array(np.ones(shape, "float32"), "w")
        return helper.make_model(helper.make_graph([node], "g", [], [], [weights]))

    for proto, left in ((graph((4, 4)), []), (graph((60, 7)), ["product"])):
        before = proto.SerializeToString()
        assert with_eight_bit_weights(proto, left).SerializeToString() == before
    assert len(with_eight_bit_weights(graph((60, 7))).graph.node) == 3
