import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

layers = keras.layers


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


class Forgetful(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {"name": self.name}


@pytest.fixture
def forgetful():
    """A layer whose config leaves out what it computes with, so that no copy of it can be right."""
    return Forgetful(5.0, name="forgetful")


@pytest.fixture(scope="session")
def digits():
    data = load_digits()
    x = (data.images / 16).astype("float32")[..., None]
    return (x[:1300], data.target[:1300]), (x[1300:], data.target[1300:])


@pytest.fixture(scope="session")
def trained(digits):
    """A small convolutional network for digits; tests must not change it."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="first"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(10, activation="softmax", name="classes"),
        ],
        name="digits_net",
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*digits[0], epochs=8, verbose=0)
    return model


@pytest.fixture
def dense_model():
    model = keras.Sequential([layers.Input((6,)), layers.Dense(7, activation="relu"), layers.Dense(3, activation="softmax")])
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    return model, x, np.arange(40) % 3
