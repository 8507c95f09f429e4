"""A single column is judged by what the model, or the file, ends in."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasnas.compress import from_scratch_control
from kerasnas.compress.channels.scratch import class_indices
from kerasnas.compression_search.network_files import Bench
from kerasnas.decided_classes import model_classes, probabilities_of
from kerasnas.errors import InvalidArgument
from kerasnas.export import certify, to_litert, to_onnx
from kerasnas.export.file_classes import file_classes


def _ended(kind):
    start = keras.Input((4,), name="x")
    score = layers.Dense(1, name="score")(start)
    sigmoid = layers.Dense(1, activation="sigmoid", name="chance")(start)
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(1), layers.Activation("sigmoid")])
    ends = {
        "score": lambda: score,
        "tanh": lambda: ops.tanh(score),
        "swish": lambda: layers.Activation("swish")(score),  # has a sigmoid within, and does not end in one
        "inner": lambda: layers.Reshape((1,))(inner(start)),
        "sigmoid": lambda: sigmoid,
        "hard": lambda: layers.Activation("hard_sigmoid")(score),  # goes into a file in pieces
        "mean": lambda: layers.Average()([sigmoid, inner(start)]),
        "shares": lambda: layers.Add()([layers.Rescaling(0.3)(sigmoid), layers.Rescaling(0.7)(ops.sigmoid(score))]),
        "linear": lambda: layers.Activation("linear", dtype="float32")(sigmoid),
    }
    return keras.Model(start, ends[kind]())


@pytest.mark.parametrize("kind", ["score", "tanh", "swish", "inner", "sigmoid", "hard", "mean", "shares", "linear"])
def test_the_threshold_of_a_single_column(kind, tmp_path):
    model = _ended(kind)
    outputs = np.array([[-0.1], [0.1], [0.4], [0.6]])
    expected = [0, 1, 1, 1] if kind in ("score", "tanh", "swish") else [0, 0, 0, 1]
    assert model_classes(model, outputs).tolist() == expected
    assert file_classes(to_onnx(model, tmp_path / "m.onnx"), outputs).tolist() == expected
    if kind in ("score", "sigmoid", "hard", "mean"):
        for form in ("float32", "int8"):
            calibration = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
            file = to_litert(model, tmp_path / f"{form}.tflite", format=form, calibration=calibration, min_agreement=0)
            assert file_classes(file, outputs).tolist() == expected
        bench = Bench(("float16", "S8S8"), calibration, calibration, np.zeros(16), 1, {})
        files, _ = bench.write(model, tmp_path, "small")
        assert set(files) == {"float32", "float16", "S8S8"}
        assert all(file_classes(file, outputs).tolist() == expected for file in files.values())


def test_several_columns_name_the_largest():
    assert model_classes(_ended("score"), np.array([[0.1, 0.2], [3, 1]])).tolist() == [1, 0]


def test_every_accuracy_of_scores_is_the_share_of_right_signs(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype(int)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, activation="relu"), layers.Dense(1)])
    model.layers[0].set_weights([np.concatenate([np.ones((4, 3)), -np.ones((4, 3))], axis=1), np.zeros(6)])
    model.layers[1].set_weights([np.array([[0.1]] * 3 + [[-0.1]] * 3), np.zeros(1)])
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    assert np.mean((model.predict(x, verbose=0)[:, 0] > 0.5) == y) < 0.95  # what half a unit of score would give
    file = to_onnx(model, tmp_path / "m.onnx")
    assert certify(file, model=model, x=x, y=y).accuracy == {"file": 1.0, "model": 1.0, "samples": 300}
    assert from_scratch_control(model, x, y, (x, y), epochs=1, seed=0).pruned_accuracy == 1
    bench = Bench(formats=(), calibration=x, x=x, truth=y, rounds=1, export={})
    assert bench.right(file.path).all()


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [2, -1, 0], [0.5, 0.5, 0]])
def test_rows_that_name_no_single_class_are_refused(row):
    with pytest.raises(InvalidArgument, match="one-hot rows, a single 1"):
        class_indices(np.array([[1, 0, 0], row]), (None, 3))
    assert class_indices(np.eye(3)[[2, 0]], (None, 3)).tolist() == [2, 0]


@pytest.mark.parametrize(("columns", "activation"), [(1, "sigmoid"), (1, None), (3, "softmax"), (3, None)])
def test_probabilities_of_logits_are_those_of_the_squashed_model(columns, activation):
    start = keras.Input((4,))
    logits = layers.Dense(columns, name="logits")
    model = keras.Model(start, logits(start) if activation is None else layers.Activation(activation)(logits(start)))
    x = 100 * np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    z = x @ logits.kernel.numpy()
    z = np.concatenate([0 * z, z], axis=1) if columns == 1 else z  # the sigmoid is the softmax against zero
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities_of(model, model.predict(x, verbose=0)), expected, atol=1e-5)
    logits.set_weights([0 * weight + 0.3 for weight in logits.get_weights()])  # logits that might be probabilities
    same = probabilities_of(model, model.predict(x / 1000, verbose=0))
    np.testing.assert_allclose(same.sum(axis=1), 1, atol=1e-5)
