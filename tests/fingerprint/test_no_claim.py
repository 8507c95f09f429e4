"""No fingerprint for what a configuration does not tell; what is registered with Keras is taken at its word."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.fingerprint import fingerprint


def gelu(x):  # bears the name of an activation of Keras
    return x


@keras.saving.register_keras_serializable("test_no_claim")
def known(x):
    return x


class Custom(layers.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("test_no_claim")
class Scale(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.built = True

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


@keras.saving.register_keras_serializable("test_no_claim")
class Forgets(layers.Dense):
    """Its configuration is that of a Dense layer."""

    def __init__(self, units, times=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.times = times

    def call(self, x):
        return self.times * super().call(x)


@keras.saving.register_keras_serializable("test_no_claim")
class Known(keras.losses.Loss):
    """Has the arguments of every loss."""

    def call(self, a, b):
        return a - b


class Own(keras.Model):
    def train_step(self, data):
        return {}


class Loss(keras.losses.Loss):
    def call(self, a, b):
        return a - b


class Penalty(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 0.0

    def get_config(self):
        return {}


def with_layer(*stack, optimizer="sgd", loss="mse"):
    model = keras.Sequential([keras.Input((3,)), *stack])
    model.compile(optimizer, loss)
    return model


def lookup():
    layer = layers.StringLookup()
    layer.adapt(["a", "b"])
    model = keras.Sequential([keras.Input((1,), dtype="string"), layer])
    model.compile("sgd", "mse")
    return model


def excluded():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return with_layer(layers.Dense(1), optimizer=optimizer)


def trained():
    model = with_layer(layers.Dense(1))
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    return model


def subclassed():
    model = keras.Model(x := keras.Input((3,)), layers.Dense(1)(x))
    model = Own(model.inputs, model.outputs)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "build",
    [
        lambda: with_layer(layers.Lambda(lambda x: x)),
        lambda: with_layer(layers.Activation(lambda x: x)),
        lambda: with_layer(layers.Dense(2, activation=gelu)),
        lambda: with_layer(layers.Reshape((1, 3)), layers.TimeDistributed(layers.Dense(2, activation=gelu))),
        lambda: with_layer(layers.Dense(2, kernel_regularizer=Penalty())),
        lambda: with_layer(Custom()),
        lambda: with_layer(Forgets(2, times=3.0)),
        lambda: with_layer(layers.Dense(2), loss=lambda a, b: a - b),
        lambda: with_layer(layers.Dense(2), loss=Loss()),
        lambda: with_layer(layers.Dense(2), loss="no_such_loss"),
        lambda: with_layer(layers.Dense(2), optimizer=type("Mine", (keras.optimizers.SGD,), {})()),
        lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
        lookup,
        excluded,
        trained,
        subclassed,
    ],
)
def test_no_claim_about_what_a_configuration_does_not_tell(build):
    assert fingerprint(build()) is None


def test_what_is_registered_is_taken_at_its_word():
    assert fingerprint(with_layer(Scale(2.0))) == fingerprint(with_layer(Scale(2.0))) is not None
    assert fingerprint(with_layer(Scale(2.0))) != fingerprint(with_layer(Scale(3.0)))
    activation = fingerprint(with_layer(layers.Dense(2, activation=known)))
    assert activation is not None
    assert activation != fingerprint(with_layer(layers.Dense(2)))
    assert fingerprint(with_layer(layers.Dense(2), loss=Known())) is not None
