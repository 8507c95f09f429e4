import gc

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.oracles import RandomOracle
from kerasnas.search import NASTuner


def score_of(hp):
    """The score of the fake hypermodels: known in advance, highest at a = 7 with b."""
    return -abs(hp.get("a") - 7) + (0.5 if hp.get("b") else 0.0)


class Fake(kt.HyperModel):
    """Scores without training; `misbehave` maps a trial's number, from 0, to what it does instead."""

    def __init__(self, misbehave=None):
        super().__init__(name="fake")
        self.misbehave = misbehave or {}
        self.fitted = []

    def build(self, hp):
        hp.Int("a", 0, 20)
        hp.Boolean("b")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def fit(self, hp, model, *args, **kwargs):
        self.fitted.append(dict(hp.values))
        action = self.misbehave.get(len(self.fitted) - 1)
        return action() if action else {"score": score_of(hp)}


class Small(kt.HyperModel):
    """A network of two dense layers that really trains."""

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.Input((2,)),
                keras.layers.Dense(hp.Int("units", 2, 40), activation="relu"),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


@pytest.fixture(scope="session", autouse=True)
def _quick_collections():
    """KerasTuner collects garbage twice in every trial, which takes most of a second among the objects of TensorFlow."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def fake():
    return Fake


@pytest.fixture
def small():
    return Small


@pytest.fixture
def points():
    """Points in the plane and on which side of a line they lie."""
    x = np.random.default_rng(0).normal(size=(48, 2)).astype("float32")
    return x, (x.sum(axis=1) > 0).astype("int32")


@pytest.fixture
def make(tmp_path):
    """Make a tuner; what is left out has a default."""

    def make(hypermodel=None, *, objective=None, max_trials=4, seed=0, oracle=RandomOracle, oracle_kwargs=None, **kwargs):
        objective = objective or kt.Objective("score", "max")
        kwargs = {"directory": tmp_path, "project_name": "p"} | kwargs
        made = oracle(objective=objective, max_trials=max_trials, seed=seed, **(oracle_kwargs or {}))
        return NASTuner(hypermodel if hypermodel is not None else Fake(), made, **kwargs)

    return make
