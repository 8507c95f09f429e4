import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, activation="softmax")

    def call(self, x):
        return self.dense(keras.layers.Flatten()(x))


@pytest.fixture
def subclassed():
    """A subclassed model, which has no graph to look into."""
    return Own()


@pytest.fixture
def cnn():
    """Make a small network; `head` is the activation of its last layer."""

    def make(shape=(12, 12, 3), classes=4, head="softmax", nested=None, dtype="float32"):
        layers = keras.layers
        backbone = [
            layers.Conv2D(6, 3, padding="same", activation="relu", dtype=dtype, name="first"),
            layers.MaxPooling2D(dtype=dtype),
            layers.Conv2D(8, 3, padding="same", use_bias=False, dtype=dtype, name="last"),
            layers.BatchNormalization(dtype=dtype, name="norm"),
            layers.ReLU(dtype=dtype, name="relu"),
        ]
        top = [
            layers.Flatten(dtype=dtype),
            layers.Dense(16, activation="tanh", dtype=dtype),
            layers.Dropout(0.5, dtype=dtype),
            layers.Dense(classes, activation=head, dtype=dtype, name="scores"),
        ]
        if nested is not None:
            backbone = [keras.Sequential([keras.Input(shape), *backbone, *nested], name="backbone")]
            top = top if not nested else top[1:]
        return keras.Sequential([keras.Input(shape), *backbone, *top])

    return make
