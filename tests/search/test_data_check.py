"""Mistakes in data and settings that end a search before, or at, its first training, or are warned of."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.search.data_check import check_data, check_direction


def uncompiled(hp):
    hp.Int("a", 0, 9)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def test_an_uncompiled_model(make, points):
    tuner = make(uncompiled, objective="loss")
    with pytest.raises(InvalidArgument, match=r"model\.compile"):
        tuner.search(*points, verbose=0)


def test_an_objective_that_is_no_metric(make, small, points):
    tuner = make(small(), objective=kt.Objective("val_f1", "max"))
    with pytest.raises(InvalidArgument, match=r"'val_f1' among the metrics.*accuracy"):
        tuner.search(*points, validation_data=points, verbose=0)
    tuner = make(small(), objective="val_loss", project_name="q")
    with pytest.raises(InvalidArgument, match="needs validation data"):
        tuner.search(*points, verbose=0)


def broken(name):
    x = np.random.default_rng(0).normal(size=(10, 2)).astype("float32")
    y = np.zeros(10, "int32")
    nan = x.copy()
    nan[3, 1] = np.nan
    return {
        "length": ((x, y[:-1]), {}),
        "nan": ((nan, y), {}),
        "infinity": ((x * np.float32(np.inf), y), {}),
        "empty": ((x[:0], y[:0]), {}),
        "shape": ((np.zeros((10, 3), "float32"), y), {}),
        "rank": ((np.zeros((10, 2, 2), "float32"), y), {}),
        "ranks": ((np.zeros((10, 2, 1, 1), "float32"), y), {}),
        "validation length": ((x, y), {"validation_data": (x, y[:-1])}),
        "validation nan": ((x, y), {"validation_data": (nan, y)}),
        "validation empty": ((x, y), {"validation_data": [x[:0], y[:0]]}),
        "keywords": ((), {"x": nan, "y": y}),
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("length", "label for each sample of x, got 10 and 9"),
        ("nan", "NaN"),
        ("infinity", "infinity"),
        ("empty", "samples"),
        ("shape", r"\(2,\).*\(3,\)"),
        ("rank", r"\(2,\).*\(2, 2\)"),
        ("ranks", r"\(2,\).*\(2, 1, 1\)"),
        ("validation length", "validation_data"),
        ("validation nan", "validation_data"),
        ("validation empty", "validation_data"),
        ("keywords", "NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_data_that_no_trial_can_train_on(name, message, make, small):
    arguments, keywords = broken(name)
    tuner = make(small(), objective="loss")
    with pytest.raises(InvalidArgument, match=message):
        tuner.search(*arguments, **keywords, verbose=0)
    assert all(trial.score is None for trial in tuner.oracle.trials.values())


@pytest.mark.parametrize(
    ("shape", "x"),
    [
        ((3, 1), np.zeros((10, 3), "float32")),
        ((3,), np.zeros((10, 3, 1), "float32")),
        ((1,), np.zeros(10, "float32")),
        ((1,), np.full(10, "a word")),
        ((1,), np.full(10, "a word", object)),
    ],
    ids=["added", "taken away", "numbers", "words", "objects"],
)
def test_a_last_axis_of_length_one_may_be_left_out_as_for_keras(shape, x, make):
    def build(hp):
        words = x.dtype.kind in "UO"
        inputs = keras.Input(shape, dtype="string" if words else "float32")
        numbers = keras.layers.Hashing(4, output_mode="one_hot")(inputs) if words else keras.layers.Flatten()(inputs)
        model = keras.Model(inputs, keras.layers.Dense(hp.Int("units", 1, 1))(numbers))
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    tuner = make(build, objective="val_loss", max_trials=1)
    tuner.search(x, np.zeros((10, 1)), validation_data=(x, np.zeros((10, 1))), verbose=0)
    assert [trial.status for trial in tuner.record().trials] == ["COMPLETED"]


def test_an_epoch_without_validation_is_refused(make, small, points):
    class Own(small):
        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, validation_freq=2, **kwargs)

    settings = {"validation_data": points, "epochs": 2, "verbose": 0}
    with pytest.raises(InvalidArgument, match=r"after each epoch, got validation_freq=\[1, 3\]"):
        make(small(), objective="val_loss").search(*points, validation_freq=[1, 3], **settings)
    with pytest.raises(InvalidArgument, match="after each epoch, got validation_freq=2"):
        make(Own(), objective="val_loss", project_name="own").search(*points, **settings)


def test_losses_and_metrics_for_each_output_by_name(make, points):
    def build(hp):
        inputs = keras.Input((2,))
        hidden = keras.layers.Dense(hp.Int("units", 2, 40), "relu")(inputs)
        side = keras.layers.Dense(1, "sigmoid", name="side")(hidden)
        model = keras.Model(inputs, {"side": side, "sum": keras.layers.Dense(1, name="sum")(hidden)})
        losses = {"side": "binary_crossentropy", "sum": keras.losses.MeanSquaredError()}
        model.compile(
            "sgd", loss=losses, loss_weights={"side": 1.0, "sum": 0.1}, metrics={"side": ["accuracy"], "sum": ["mae"]}
        )
        return model

    x, side = points
    targets = {"side": side.astype("float32")[:, None], "sum": x.sum(axis=1, keepdims=True)}
    tuner = make(build, objective=kt.Objective("val_sum_mae", "min"), max_trials=2)
    tuner.search(x, targets, validation_data=(x, targets), epochs=2, verbose=0)
    assert [trial.status for trial in tuner.record().trials] == ["COMPLETED", "COMPLETED"]
    assert all(trial.score == min(trial.curves[0]["val_sum_mae"]) for trial in tuner.record().trials)


@pytest.mark.parametrize("wrong", [1, None])
def test_what_is_no_callback_is_refused_before_a_trial_begins(make, small, points, tmp_path, wrong):
    with pytest.raises(InvalidArgument, match=rf"list of keras\.callbacks\.Callback, got {wrong}"):
        make(small(), objective="loss").search(*points, callbacks=[wrong], verbose=0)
    assert not list((tmp_path / "p").glob("trial_*"))


@pytest.mark.parametrize("given", [lambda note: [[note], []], lambda note: note], ids=["lists in lists", "a single one"])
def test_callbacks_may_be_given_as_for_keras(make, small, points, given):
    seen = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    make(small(), objective="loss", max_trials=1).search(*points, callbacks=given(note), epochs=2, verbose=0)
    assert seen == [0, 1]


def test_labels_that_are_no_numbers_are_said():
    y = np.where(np.arange(10) < 5, np.nan, 1.0)
    with pytest.warns(UserWarning, match="labels of x hold NaN"):
        assert check_data((np.zeros((10, 2)), y), {}) == (2,)
    with pytest.warns(UserWarning, match="One of x holds NaN"):
        check_data(({"first": np.zeros(10), "second": y}, np.ones(10)), {})


def test_a_metric_that_keras_tuner_would_minimise_is_maximised(make, small, points):
    def build(hp):
        model = small().build(hp)
        model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(average="macro")])
        return model

    x, y = points[0], keras.utils.to_categorical(points[1])
    tuner = make(build, objective="val_f1_score", max_trials=3)
    tuner.search(x, y, validation_data=(x, y), epochs=2, verbose=0)
    trials = tuner.record().trials
    assert len({trial.score for trial in trials}) > 1
    assert tuner.record().best.score == max(max(trial.curves[0]["val_f1_score"]) for trial in trials)
    with pytest.warns(UserWarning, match="minimises 'val_f1_score', which is larger for better networks"):
        check_direction(kt.oracles.RandomSearchOracle(objective="val_f1_score").objective)
    check_direction(tuner.oracle.objective)
