"""Export through onnxslim: the same function in fewer nodes, or the line that installs it."""

import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

from kerasnas.errors import MissingExtra
from kerasnas.export import to_onnx


@pytest.fixture
def model(scramble):
    inputs = keras.Input((8, 8, 4), name="image")
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(inputs))
    x = layers.Flatten()(layers.ReLU()(x))
    return scramble(keras.Model(inputs, layers.Dense(3, name="scores")(x)))


def test_without_onnxslim_the_line_that_installs_it_is_told(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxslim", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kerasnas\[slim\]'"):
        to_onnx(model, tmp_path / "m.onnx", slim=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("default::DeprecationWarning:onnxslim")
def test_fewer_nodes_compute_the_same(tmp_path, model):
    x = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 4)).astype("float32")
    plain, slim = (to_onnx(model, tmp_path / f"{s}.onnx", slim=s, labels=["a", "b", "c"], x=x) for s in (False, True))
    protos = [onnx.load(file) for file in (plain, slim)]
    assert len(protos[1].graph.node) < len(protos[0].graph.node)
    assert slim.inputs == plain.inputs == {"image": ("batch", 8, 8, 4)}
    assert slim.outputs == plain.outputs
    assert protos[1].metadata_props == protos[0].metadata_props
    results = [
        onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0] for f in (plain, slim)
    ]
    np.testing.assert_allclose(*results, atol=1e-5)
