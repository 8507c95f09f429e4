"""What a training reads, and in what order."""

import contextlib
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
@pytest.mark.parametrize("weights", [(), (np.linspace(0, 3, 20),), (None,)], ids=["no", "some", "none"])
def test_validation_data_are_judged_as_keras_does(callbacks, weights):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", weighted_metrics=["mae"], run_eagerly=True)
    valid = (X / 20, 3 * X, *weights)
    with steady_input(model, "a"):
        history = model.fit(X / 20, X, epochs=2, verbose=0, validation_data=valid, callbacks=callbacks).history
    weight = weights[0] if weights else None
    judged = model.evaluate(*valid[:2], sample_weight=weight, verbose=0, return_dict=True)
    assert history["val_loss"][-1] == pytest.approx(judged["loss"], rel=1e-5)
    assert history["val_mae"][-1] == pytest.approx(judged["mae"], rel=1e-5)


class HandsOn(keras.Sequential):
    def fit(self, *args, **kwargs):
        self.given = set(kwargs)
        return super().fit(*args, **kwargs)


class NamesSome(keras.Sequential):
    def fit(self, x=None, y=None, batch_size=None, sample_weight=None, validation_split=None, **kwargs):
        self.given = set(kwargs)
        split = validation_split or 0.0
        return super().fit(x, y, batch_size, sample_weight=sample_weight, validation_split=split, **kwargs)


@pytest.mark.parametrize("kind", [HandsOn, NamesSome])
def test_a_fit_of_a_models_own_may_leave_arguments_to_keras(kind):
    def train(kind, *args, **kwargs):
        keras.utils.set_random_seed(0)
        model = kind([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        with steady_input(model, "a"):
            return model, model.fit(X / 20, X, *args, verbose=0, **kwargs).history

    _, expected = train(keras.Sequential, 8, epochs=2, validation_split=0.25)
    model, history = train(kind, 8, epochs=2, validation_split=0.25)
    assert history == expected
    assert len(history["val_loss"]) == 2
    assert not model.given & {"class_weight", "validation_freq", "initial_epoch"}  # what nobody gave


def test_what_is_split_off_is_not_trained_on():
    split, history = train("a", validation_split=0.25)
    assert sorted(np.concatenate(split[:2])) == X[:15, 0].tolist()
    assert len(history["val_loss"]) == 2


def test_classes_without_a_weight_weigh_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)), np.arange(30) % 3

    def loss(steady, **settings):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
        model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", run_eagerly=True)
        with steady_input(model, "a") if steady else contextlib.nullcontext():
            return model.fit(x, y, batch_size=30, verbose=0, **settings).history["loss"][0]

    weighted = loss(True, class_weight={0: 2.0})
    assert weighted == pytest.approx(loss(False, class_weight={0: 2.0}), rel=1e-5)
    assert weighted == pytest.approx(loss(False, sample_weight=np.where(y == 0, 2.0, 1.0)), rel=1e-5)
    assert weighted != pytest.approx(loss(True), rel=1e-3)


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
        with caplog.at_level(logging.WARNING, "tensorflow"):  # whatever other tests in this process made of it
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
