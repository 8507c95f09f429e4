"""Scaling of pictures behind the change of layout: the same numbers, other order."""

import keras
import numpy as np
import onnx
import pytest

from kerasnas.export import to_onnx, verify
from kerasnas.export.quantization_formats import FORMATS, prepare, write_quantized

layers = keras.layers


def _model(channels, *scaling):
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((8, 9, channels)), *scaling, *stack, layers.Dense(3, activation="softmax")])


def _first(path):
    """Return the operators up to the first convolution, and whether each constant there is a scalar or one per channel."""
    graph = onnx.load(path).graph
    operators = [node.op_type for node in graph.node]
    return operators[: operators.index("Conv")], {tuple(t.dims) for t in graph.initializer}


@pytest.mark.parametrize(
    ("channels", "scaling", "expected"),
    [
        (1, [layers.Rescaling(1 / 7, -0.5)], ["Reshape", "Mul", "Add"]),
        (3, [layers.Rescaling(1 / 7, -0.5)], ["Transpose", "Mul", "Add"]),
        (3, [layers.Rescaling([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])], ["Transpose", "Mul", "Add"]),
        (1, [layers.Normalization(mean=3.0, variance=4.0)], ["Reshape", "Sub", "Mul"]),
        (3, [layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])], ["Transpose", "Sub", "Mul"]),
    ],
)
def test_the_layout_changes_first_and_nothing_else_does(channels, scaling, expected, tmp_path):
    model = _model(channels, *scaling)
    x = np.random.default_rng(0).uniform(0, 16, (9, 8, 9, channels)).astype("float32")
    file = to_onnx(model, tmp_path / "m.onnx", x=x)
    operators, shapes = _first(file)
    assert operators == expected
    assert (1, 1, 1, channels) not in shapes or channels == 1
    assert verify(model, file, x, atol=1e-6).passed


def test_what_others_read_too_stays_where_it_is(tmp_path):
    x = keras.Input((8, 9, 3))
    scaled = layers.Rescaling(0.5)(x)
    means = layers.GlobalAveragePooling2D()(scaled)
    seen = layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(scaled))
    model = keras.Model(x, [layers.Concatenate()([means, seen]), scaled])
    assert to_onnx(model, tmp_path / "m.onnx").verification.passed


def test_eight_bits_begin_at_the_first_weights(tmp_path):
    model = _model(1, layers.Rescaling(1 / 255))
    x = np.random.default_rng(0).uniform(0, 255, (40, 8, 9, 1)).astype("float32")
    file = to_onnx(model, tmp_path / "m.onnx", x=x)
    prepare(file.path, tmp_path / "p.onnx")
    write_quantized(tmp_path / "p.onnx", tmp_path / "q.onnx", FORMATS["U8U8"], {next(iter(file.inputs)): x})
    operators = [node.op_type for node in onnx.load(tmp_path / "q.onnx").graph.node]
    assert operators.index("Mul") < operators.index("QuantizeLinear")
    assert operators.count("DequantizeLinear") > 4
