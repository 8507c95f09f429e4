"""A certified file."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.export import certify, to_onnx


@pytest.fixture(scope="module")
def model(scramble):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1), name="image")
    hidden = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 16)(inputs))
    hidden = layers.Flatten()(layers.BatchNormalization()(hidden))
    hidden = layers.Dense(128, activation="tanh")(hidden)
    return scramble(keras.Model(inputs, layers.Dense(3, activation="softmax", name="kind")(hidden)))


@pytest.fixture(scope="module")
def data(model):
    """Pictures, and labels that the model gets right for three of four."""
    x = np.random.default_rng(0).uniform(0, 16, (40, 6, 6, 1)).astype("float32")
    y = model(x).numpy().argmax(axis=1)
    y[::4] = (y[::4] + 1) % 3
    return x, y


@pytest.fixture(scope="module")
def made(model, data, tmp_path_factory):
    """A certified file, which no test may change."""
    file = to_onnx(
        model, tmp_path_factory.mktemp("made") / "model.onnx", labels=["a", "b", "c"],
        preprocessing={"input": "raw pixels", "range": [0, 16]}, x=data[0][:8], opset=16,
    )  # fmt: skip
    return file, certify(file, model=model, x=data[0], y=data[1], provenance={"trial_id": "07"})


@pytest.fixture
def beside(made, tmp_path):
    """A copy of the file to be changed, and its certificate."""
    path = tmp_path / "model.onnx"
    path.write_bytes(made[0].path.read_bytes())
    return path, made[1]
