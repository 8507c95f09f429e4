"""What callbacks have counted is kept with the state of a training, and comes back."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

from kerasnas.search.best_epoch import BestEpoch, load_weights
from kerasnas.search.epoch_state import EpochStateFile


def test_what_callbacks_had_counted_goes_to_those_of_their_class(tmp_path):
    class First(keras.callbacks.Callback):
        count = None

    class Second(First):
        pass

    def made(kind, count):
        callback = kind()
        callback.count = count
        return callback

    file = EpochStateFile(tmp_path / "state.npz", {})
    saved = [made(First, 1), made(Second, 2), made(First, 3)]
    saved[1].best_weights = [np.arange(3.0)]
    file.save({"history": {}}, callbacks=saved)
    now = [keras.callbacks.EarlyStopping(), First(), First(), Second(), First()]  # one more, and in another order
    file.load().restore_callbacks(now)
    assert [callback.count for callback in now[1:]] == [1, 3, 2, None]
    assert np.array_equal(now[3].best_weights[0], np.arange(3.0))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_best_weights_come_back_as_the_model_gave_them(dtype, tmp_path):
    normalization = layers.Normalization(dtype=dtype)
    normalization.adapt(np.random.default_rng(0).normal(size=(90, 6)).astype("float32"))  # counts in a weight without axes
    model = keras.Sequential([keras.Input((6,)), normalization, layers.Dense(1, dtype=dtype)])
    best = BestEpoch(kt.Objective("loss", "min"), {})
    best.set_model(model)
    best.on_epoch_end(0, {"loss": 1.0})
    EpochStateFile(tmp_path / "state.npz", {}).save({}, callbacks=[best])
    again = BestEpoch(kt.Objective("loss", "min"), {})
    EpochStateFile(tmp_path / "state.npz", {}).load().restore_callbacks([again])
    kept, weights = model.get_weights(), [weight * 0 for weight in model.get_weights()]
    model.set_weights(weights)
    again.write(model, tmp_path / "best.weights.h5")
    load_weights(model, tmp_path / "best.weights.h5")
    for a, b in zip(model.get_weights(), kept, strict=True):
        assert np.array_equal(a, b)


def test_all_that_a_callback_has_counted_comes_back(tmp_path):
    class Counts(keras.callbacks.Callback):
        seen = None

    before, now = Counts(), Counts()
    before._phase, before.seen, before.worst, before.other = "late", [0.5, None, [1]], {"loss": 2.0}, [object()]
    before.set_params({"epochs": 3})
    now.set_params({"epochs": 5})
    EpochStateFile(tmp_path / "state.npz", {}).save({}, callbacks=[before])
    EpochStateFile(tmp_path / "state.npz", {}).load().restore_callbacks([now])
    assert (now._phase, now.seen, now.worst) == ("late", [0.5, None, [1]], {"loss": 2.0})
    assert not hasattr(now, "other")
    assert now.params == {"epochs": 5}


def test_early_stopping_asks_for_as_much_as_before(tmp_path):
    def made():
        callback = keras.callbacks.EarlyStopping("loss", min_delta=0.5, patience=2, mode="min")
        callback.set_model(keras.Sequential([keras.Input((2,)), layers.Dense(1)]))
        callback.on_train_begin()
        return callback

    before, now = made(), made()
    before.on_epoch_end(0, {"loss": 1.0})
    EpochStateFile(tmp_path / "state.npz", {}).save({}, callbacks=[before])
    EpochStateFile(tmp_path / "state.npz", {}).load().restore_callbacks([now])
    now.on_epoch_end(1, {"loss": 0.9})
    now.on_epoch_end(2, {"loss": 0.8})
    assert now.model.stop_training


def test_an_epoch_that_was_not_judged_is_not_the_best():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    best = BestEpoch(kt.Objective("val_loss", "min"), {})
    best.set_model(model)
    best.on_epoch_end(0, {"val_loss": 1.0})
    judged = [weight.copy() for weight in best.best_weights]
    model.set_weights([weight + 1 for weight in judged])
    best.on_epoch_end(1, {"loss": 0.5})
    assert all(np.array_equal(a, b) for a, b in zip(best.best_weights, judged, strict=True))
