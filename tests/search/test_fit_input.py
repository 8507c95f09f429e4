"""What a training reads, and in what order."""

import logging

import keras
import numpy as np
import pytest

from kerasnas.search.fit_input import no_retracing_warnings, steady_input

X = np.arange(20, dtype="float32")[:, None]


class Reads(keras.Model):
    """Remembers what it was trained on."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.read = []

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        self.read.append(np.asarray(data[0])[:, 0].tolist())
        return super().train_step(data)


def train(seed, **settings):
    model = Reads()
    model.compile("sgd", "mse", run_eagerly=True)
    fit = model.fit
    with steady_input(model, seed):
        history = model.fit(X, X, batch_size=8, epochs=2, verbose=0, **settings)
    assert model.fit == fit
    return model.read, history.history


def test_the_order_follows_from_the_seed():
    read, _ = train("a")
    assert [len(batch) for batch in read] == [8, 8, 4] * 2
    first, second = np.concatenate(read[:3]), np.concatenate(read[3:])
    assert sorted(first) == sorted(second) == X[:, 0].tolist()
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, X[:, 0])
    assert train("a")[0] == read
    assert train("b")[0] != read


def test_nothing_is_shuffled_against_the_callers_will():
    read, _ = train("a", shuffle=False)
    assert np.concatenate(read).tolist() == 2 * X[:, 0].tolist()


@pytest.mark.parametrize("callbacks", [None, [], [keras.callbacks.History()], keras.callbacks.TerminateOnNaN()])
def test_validation_data_are_judged_as_keras_does(callbacks):
    _, steady = train("a", validation_data=(X, 2 * X), callbacks=callbacks)
    assert len(steady["val_loss"]) == 2
    split, _ = train("a", validation_split=0.25)
    assert sorted(np.concatenate(split[:2])) == X[:15, 0].tolist()  # the last quarter is not trained on


def test_a_list_of_callbacks_that_keras_made_is_left_to_it():
    model = Reads()
    model.compile("sgd", "mse", run_eagerly=True)
    callbacks = keras.callbacks.CallbackList(add_history=True, model=model, epochs=1, steps=3, verbose=0)
    with steady_input(model, "a"):
        model.fit(X, X, batch_size=8, epochs=1, verbose=0, callbacks=callbacks)
    order = np.concatenate(model.read)
    assert sorted(order) == X[:, 0].tolist()
    assert not np.array_equal(order, X[:, 0])  # shuffled, by Keras


def test_only_warnings_of_retracing_are_kept_back(caplog):
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        with no_retracing_warnings():
            logger.warning("5 out of the last 5 calls to f triggered tf.function retracing.")
            logger.warning("something else")
        logger.warning("again: triggered tf.function retracing.")
    finally:
        logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {
        "something else",
        "again: triggered tf.function retracing.",
    }
