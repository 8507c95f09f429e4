import warnings

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas import NASTuner
from kerasnas.errors import InvalidArgument
from kerasnas.explain import MeasureCallback, grad_cam, integrated_gradients, interpretability
from kerasnas.oracles import RandomOracle

FIDELITY = "integrated_gradients_mu_fidelity_mean"


@pytest.fixture
def squares(rng):
    x = rng.random((64, 12, 12, 3)).astype("float32")
    return x, (x[:, :6].mean(axis=(1, 2, 3)) > x[:, 6:].mean(axis=(1, 2, 3))).astype(int)


def compiled(model):
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_history_holds_the_measures_and_the_training_is_the_same(cnn, squares):
    weights, histories = [], []
    for callbacks in ([], [MeasureCallback([FIDELITY, "depth_layers"], squares[0][:3])]):
        keras.utils.set_random_seed(1)
        model = compiled(cnn(classes=2))
        histories.append(model.fit(*squares, epochs=2, verbose=0, callbacks=callbacks).history)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(histories[1]) - set(histories[0]) == {FIDELITY, "depth_layers"}
    found = interpretability(model, attributions=[integrated_gradients(model, squares[0][:3])])
    assert histories[1][FIDELITY][-1] == pytest.approx(found[FIDELITY], abs=1e-6)
    assert histories[1]["depth_layers"] == [4.0, 4.0]


def test_a_search_for_accurate_networks_that_are_easy_to_explain(squares, tmp_path):
    def build(hp):
        layers = keras.layers
        deep = [layers.Conv2D(4, 3, padding="same", activation="relu") for _ in range(hp.Int("depth", 0, 2))]
        return compiled(keras.Sequential([keras.Input((12, 12, 3)), *deep, layers.Flatten(), layers.Dense(2, "softmax")]))

    objective = [kt.Objective("val_accuracy", "max"), kt.Objective("depth_layers", "min"), kt.Objective(FIDELITY, "max")]
    tuner = NASTuner(build, RandomOracle(objective=objective, max_trials=3, seed=0), directory=tmp_path, project_name="search")
    watch = MeasureCallback([FIDELITY, "depth_layers"], squares[0][:2])
    tuner.search(*squares, validation_data=squares, epochs=1, callbacks=[watch], verbose=0)
    record = tuner.record()
    assert sorted(trial.metrics["depth_layers"] for trial in record.completed) == [1, 2, 3]
    assert all(-1 <= trial.metrics[FIDELITY] <= 1 for trial in record.completed)
    linear = min(record.completed, key=lambda trial: trial.metrics["depth_layers"])
    assert linear.metrics[FIDELITY] > 0.99  # integrated gradients of a linear score are exact
    assert linear in record.pareto_front()


def test_what_is_refused(cnn, squares):
    for measures in ([], "depth_layers"):
        with pytest.raises(InvalidArgument, match="names of measures"):
            MeasureCallback(measures)
    for watch in (
        MeasureCallback(["beauty"]),
        MeasureCallback([FIDELITY]),
        MeasureCallback([FIDELITY], squares[0], method=grad_cam),
    ):
        with pytest.raises(InvalidArgument, match="Expected measures among depth_layers"):
            compiled(cnn(classes=2)).fit(*squares, verbose=0, callbacks=[watch])


def test_a_network_that_cannot_be_measured_has_nan_and_the_search_goes_on(squares, tmp_path):
    def build(hp):
        layers = keras.layers
        model = keras.Sequential([keras.Input((12, 12, 3)), layers.Flatten(), layers.Dense(2, "softmax")])
        if hp.Boolean("diverges", default=True):
            kernel, bias = model.layers[-1].get_weights()
            model.layers[-1].set_weights([kernel * np.nan, bias])
        return compiled(model)

    oracle = RandomOracle(objective=kt.Objective("depth_layers", "min"), max_trials=2, seed=0)
    tuner = NASTuner(build, oracle, directory=tmp_path, project_name="search")
    with warnings.catch_warnings(record=True) as caught:  # KerasTuner's own among them
        warnings.simplefilter("always")
        tuner.search(*squares, validation_data=squares, epochs=1, callbacks=[MeasureCallback(["depth_layers"])], verbose=0)
    assert any("No measures at epoch 1" in str(one.message) and "NaN" in str(one.message) for one in caught)
    ended = {trial.values["diverges"]: (trial.status, trial.score) for trial in tuner.record().trials}
    assert ended == {True: ("FAILED", None), False: ("COMPLETED", 1.0)}
