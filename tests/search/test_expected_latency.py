"""What latency a network has is told by those of others, and by what it does."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from kerasnas.cost import cost_of
from kerasnas.search.expected_latency import Work, expected_latency, work_of

WORKS = st.builds(Work, st.integers(1, 100), st.integers(0, 10**9), st.integers(0, 10**6))


def test_the_work_of_a_model_is_counted():
    x = inputs = keras.Input((8, 8, 2))
    x = layers.RandomFlip()(x)  # nothing at inference
    x = layers.Conv2D(4, 3, padding="same", activation="gelu")(x)
    x = layers.LayerNormalization()(x)
    x = layers.Conv2D(4, 1, activation="relu")(x)
    x = layers.Activation("silu")(x)
    x = keras.ops.tanh(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))  # nothing at inference, and no more than another shape
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    elements = 8 * 8 * 4
    macs = cost_of(model).macs
    assert macs == elements * 18 + elements * 4 + elements * 10
    # gelu, three passes of the normalization, silu, tanh, softmax
    assert work_of(model, macs).amounts == (6, macs, elements * (1 + 3 + 1 + 1) + 10)


def signature(outputs_of, *shape):
    inputs = keras.Input(shape)
    return work_of(keras.Model(inputs, outputs_of(inputs)), 0).signature


def small(filters=4, pool=2, activation="relu", *, dropout=0.1, l2=None, momentum=0.9, kernel="ones", training=None):
    def outputs_of(x):
        x = layers.Conv2D(filters, 3, kernel_initializer=kernel, kernel_regularizer=l2)(x)
        x = layers.BatchNormalization(momentum=momentum)(x, training=training)
        x = layers.MaxPooling2D(pool, strides=2, padding="same")(keras.ops.relu(x))
        x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
        return layers.Dense(2, activation)(x)

    return signature(outputs_of, 8, 8, 2)


def test_the_signature_tells_what_is_done_and_not_how_it_is_trained():
    assert small() == small(dropout=0.5) == small(l2="l2") == small(momentum=0.5) == small(kernel="zeros") is not None
    assert len({small(), small(6), small(pool=3), small(activation="tanh"), small(training=True)}) == 5
    assert signature(lambda x: x**2, 3) != signature(lambda x: x**3.5, 3)

    def recurrent():
        return signature(layers.Bidirectional(layers.LSTM(3)), 5, 2)

    assert recurrent() == recurrent() is not None


class Mine(layers.Layer):
    def call(self, x):
        return x


@pytest.mark.parametrize("layer", [lambda: layers.Lambda(keras.ops.sin), Mine])
def test_what_no_configuration_describes_has_no_signature(layer):
    assert signature(lambda x: layer()(x), 3) is None


@given(st.lists(st.tuples(WORKS, st.floats(0.01, 100)), min_size=1, max_size=6), WORKS, st.floats(0.1, 10))
def test_a_slower_machine_is_slower_for_all(measured, work, factor):
    expected = expected_latency(work, measured)
    assert (expected is None) == (len(measured) < 3)
    if expected is not None:
        slower = [(each, factor * ms) for each, ms in measured]
        assert expected_latency(work, slower) == pytest.approx(factor * expected, rel=1e-6)


@given(st.lists(WORKS, min_size=3, max_size=9), WORKS, st.floats(0.2, 20))
def test_a_machine_that_is_slower_by_a_factor_is_known_from_three(works, work, factor):
    def ms(work):
        return factor * (2.2e-3 * work.calls + 2.6e-8 * work.macs + 1.3e-6 * work.curved)

    assert expected_latency(work, [(each, ms(each)) for each in works]) == pytest.approx(ms(work), rel=1e-6)


def test_a_machine_with_slow_calls_is_learnt():
    rng = np.random.default_rng(0)
    works = [Work(int(rng.integers(5, 60)), int(10 ** rng.uniform(5, 8)), int(10 ** rng.uniform(2, 5))) for _ in range(40)]

    def ms(work):
        return 20e-3 * work.calls + 1e-8 * work.macs + 4e-6 * work.curved

    for each in works[30:]:
        assert expected_latency(each, [(work, ms(work)) for work in works[:30]]) == pytest.approx(ms(each), rel=0.25)
