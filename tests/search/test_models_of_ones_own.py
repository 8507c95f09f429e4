"""Models and HyperModels that do not tell Keras all about themselves."""

from typing import ClassVar

import keras
import keras_tuner as kt
import numpy as np
import pytest


class Unbuilt(keras.Model):
    """A subclass without a `build` of its own."""

    def __init__(self, units):
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(units, activation="relu"), keras.layers.Dense(2, activation="softmax")

    def call(self, inputs):
        return self.out(self.hidden(inputs))


def test_the_best_models_of_subclasses_without_a_build_are_given_back(make, points):
    def build(hp):
        model = Unbuilt(hp.Int("units", 2, 9))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    tuner = make(build, objective="val_loss", max_trials=2)
    tuner.search(*points, validation_data=points, epochs=2, batch_size=8, verbose=0)
    (model,) = tuner.get_best_models()
    model.compile(loss="sparse_categorical_crossentropy")
    assert model.evaluate(*points, verbose=0) == pytest.approx(tuner.record().best.score, rel=1e-6)


class InParts(keras.Model):
    """Trains two parts, and is never called itself, as autoencoders in Keras' examples."""

    def __init__(self, units):
        super().__init__()
        self.coder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        self.decoder = keras.Sequential([keras.Input((units,)), keras.layers.Dense(2)])
        self.total = keras.metrics.Mean(name="total")

    @property
    def metrics(self):
        return [self.total]

    def train_step(self, x):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.decoder(self.coder(x)) - x) ** 2)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights, strict=True))
        self.total.update_state(loss)
        return {"total": self.total.result()}


def test_a_model_that_trains_its_parts_without_calling_itself(make, points):
    def build(hp):
        model = InParts(hp.Int("units", 1, 2))
        model.compile("sgd")
        return model

    class Weights(keras.callbacks.Callback):
        seen: ClassVar[list] = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(self.model.get_weights())

    tuner = make(build, objective=kt.Objective("total", "min"), max_trials=2)
    tuner.search(points[0], epochs=2, callbacks=[Weights()], verbose=0)
    for trial in tuner.record().trials:
        assert trial.status == "COMPLETED", trial.message
        assert trial.score == min(trial.curves[0]["total"])
        assert trial.parameters == 4 * trial.values["units"] + trial.values["units"] + 2
    (model,) = tuner.get_best_models()
    assert sum(all(map(np.array_equal, model.get_weights(), seen)) for seen in Weights.seen) == 1


def test_what_a_hypermodel_remembers_of_its_build_is_not_that_of_the_donor(make, points):
    class Remembers(kt.HyperModel):
        built: ClassVar[list] = []

        def build(self, hp):
            self.units = hp.Int("units", 2, 64)
            layers = keras.layers.Dense(self.units, activation="relu"), keras.layers.Dense(2, activation="softmax")
            model = keras.Sequential([keras.Input((2,)), *layers])
            model.compile("sgd", "sparse_categorical_crossentropy")
            return model

        def fit(self, hp, model, *args, **kwargs):
            self.built.append((hp.get("units"), self.units))
            return model.fit(*args, **kwargs)

    tuner = make(Remembers(), objective="val_loss", max_trials=4, inherit=True)
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    assert any(trial.inherited for trial in tuner.record().trials)
    assert len({units for units, _ in Remembers.built}) > 1
    assert [wanted for wanted, _ in Remembers.built] == [units for _, units in Remembers.built]
