"""The tuner, with networks that really train."""

import json

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import MnasNetReward
from kerasnas.search.data_check import check_data, check_direction
from kerasnas.search.final_fit import final_fit


class Recorder(keras.callbacks.Callback):
    """Keeps the History of each training, which KerasTuner throws away; a deep copy shares the list."""

    seen: list = []  # noqa: RUF012

    def __deepcopy__(self, memo):
        return Recorder()

    def on_train_end(self, logs=None):
        Recorder.seen.append(self.model.history.history)


def scores(tuner):
    return [t.score for t in tuner.record().trials]


def test_history_is_that_of_fit_and_the_best_epoch_scores(make, small, points, tmp_path):
    Recorder.seen = []
    tuner = make(small(), objective="val_accuracy", max_trials=3, keep_checkpoints=2)
    tuner.search(*points, validation_data=points, epochs=4, verbose=0, callbacks=[Recorder()])
    record = tuner.record()
    for trial, history in zip(record.trials, Recorder.seen, strict=True):
        (curves,) = trial.curves
        assert {name: list(values) for name, values in curves.items()} == history
        assert trial.score == max(history["val_accuracy"])
        assert trial.best_epoch == int(np.argmax(history["val_accuracy"]))
        assert {name: values[trial.best_epoch] for name, values in history.items()}.items() <= trial.metrics.items()
        assert set(trial.metrics) - set(history) == {"parameters", "macs", "activation_bytes"}
        units = trial.values["units"]
        assert trial.parameters == 3 * units + 2 * (units + 1)
        assert 0 < trial.seconds < 600
        written = json.loads((tmp_path / "p" / f"trial_{trial.trial_id}" / "history.json").read_text())
        assert written["executions"] == [history]
    # Exactly the best two keep their weights, and these give the scores.
    ranked = sorted(record.trials, key=lambda t: -t.score)
    kept = {path.parent.name.removeprefix("trial_") for path in (tmp_path / "p").glob("trial_*/*.weights.h5")}
    assert kept == {t.trial_id for t in ranked[:2]}
    for model, trial in zip(tuner.get_best_models(2), ranked, strict=False):
        assert model.evaluate(*points, verbose=0, return_dict=True)["accuracy"] == pytest.approx(trial.score)


def test_two_executions_are_averaged_and_leave_two_curves(make, small, points):
    tuner = make(small(), objective="val_loss", max_trials=2, executions_per_trial=2)
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    for trial in tuner.record().trials:
        first, second = trial.curves
        assert first != second
        assert trial.score == pytest.approx(np.mean([min(first["val_loss"]), min(second["val_loss"])]))
    assert tuner.record().direction == "min"


def test_the_seed_decides_the_scores(make, small, points):
    def search(name, seed):
        tuner = make(small(), objective="val_loss", max_trials=2, seed=seed, project_name=name)
        tuner.search(*points, validation_data=points, epochs=2, verbose=0)
        return scores(tuner)

    first = search("a", 0)
    assert search("b", 0) == first
    assert not set(search("c", 1)) & set(first)


def test_a_resumed_search_scores_as_the_uninterrupted_one(make, small, points):
    class Stops(small):
        trained = 0

        def fit(self, hp, model, *args, **kwargs):
            Stops.trained += 1
            if Stops.trained == 2:
                raise KeyboardInterrupt
            return model.fit(*args, **kwargs)

    settings = {"validation_data": points, "epochs": 2, "verbose": 0}
    whole = make(small(), objective="val_loss", max_trials=3, project_name="whole")
    whole.search(*points, **settings)
    with pytest.raises(KeyboardInterrupt):
        make(Stops(), objective="val_loss", max_trials=3).search(*points, **settings)
    keras.utils.set_random_seed(999)  # what the process drew before must not matter
    resumed = make(small(), objective="val_loss", max_trials=3)
    resumed.search(*points, **settings)
    assert scores(resumed) == scores(whole)
    for a, b in zip(resumed.record().trials, whole.record().trials, strict=True):
        assert [dict(curve) for curve in a.curves] == [dict(curve) for curve in b.curves]


def test_a_training_that_diverges_is_ended_and_the_search_goes_on(make, small, points):
    class Diverges(small):
        def build(self, hp):
            model = super().build(hp)
            if hp.Fixed("bad", 1) and self.bad:
                model.compile(keras.optimizers.SGD(float("nan")), "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model

        @property
        def bad(self):
            self.builds = getattr(self, "builds", 0) + 1
            return self.builds == 3  # the first one discovers the space, the second tells what the network costs

    tuner = make(Diverges(), objective="val_loss", max_trials=2)
    tuner.search(*points, validation_data=points, epochs=5, batch_size=8, verbose=0)
    first, second = tuner.record().trials
    assert (first.status, second.status) == ("FAILED", "COMPLETED")
    assert len(first.curves[0]["loss"]) == 1
    assert np.isnan(first.curves[0]["loss"][0])
    assert len(second.curves[0]["loss"]) == 5
    assert "finite" in first.message


# -- mistakes that end the search before, or at, its first training --


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


def test_an_epoch_without_a_finite_score_does_not_hide_the_others(make, small):
    class Late(small):
        def fit(self, hp, model, *args, **kwargs):
            history = keras.callbacks.History()
            history.history = {"val_loss": [np.nan, 3.0, 0.5, np.inf]}
            return history

    tuner = make(Late(), objective="val_loss", max_trials=2)
    tuner.search(verbose=0)
    for trial in tuner.record().trials:
        assert (trial.status, trial.score, trial.best_epoch) == ("COMPLETED", 0.5, 2)


@pytest.mark.parametrize(
    ("objective", "best"),
    [
        (MnasNetReward("val_accuracy", cost="size", target=1.0), 2),
        ([kt.Objective("val_accuracy", "max"), kt.Objective("val_loss", "min")], 1),
    ],
)
def test_nor_does_it_where_the_objective_is_made_of_several_metrics(make, small, objective, best):
    class Late(small):
        def fit(self, hp, model, *args, **kwargs):
            history = keras.callbacks.History()
            history.history = {
                "val_accuracy": [np.nan, 0.4, 0.5, np.nan],
                "val_loss": [np.nan, 0.1, 0.9, 0.05],
                "size": [2.0] * 4,
            }
            return history

    tuner = make(Late(), objective=objective, max_trials=2)
    tuner.search(verbose=0)
    for trial in tuner.record().trials:
        assert (trial.status, trial.best_epoch) == ("COMPLETED", best)
        assert trial.metrics["val_accuracy"] == (0.4 if best == 1 else 0.5)


def test_arguments_of_a_fit_of_ones_own_are_its_own(make, small, points):
    class Own(small):
        def fit(self, hp, model, x, y, x_valid, y_valid, **kwargs):
            return model.fit(x, y, validation_data=(x_valid, y_valid), epochs=2, **kwargs)

    tuner = make(Own(), objective="val_loss", max_trials=2)
    tuner.search(*points, *points, verbose=0)
    assert [trial.epochs for trial in tuner.record().completed] == [2, 2]


def test_a_callback_hears_of_each_batch_in_the_trials_and_in_the_final_fit(make, small, points):
    seen = []

    class WarmUp(small):
        def fit(self, hp, model, *args, callbacks=(), **kwargs):
            note = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
            return super().fit(hp, model, *args, callbacks=[*callbacks, note], **kwargs)

    tuner = make(WarmUp(), objective="val_loss", max_trials=1)
    tuner.search(*points, validation_data=points, batch_size=16, verbose=0)
    assert seen == [0, 1, 2]
    final_fit(tuner, points, points, epochs=1, batch_size=16)
    assert seen == [0, 1, 2, *range(6)]


def test_of_a_metric_with_a_value_for_each_class_the_mean_counts(make, points):
    def build(hp):
        hidden = keras.layers.Dense(hp.Int("units", 2, 9))
        model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(2, "softmax")])
        model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(name="f1")])
        return model

    data = points[0], np.eye(2)[points[1]]
    tuner = make(build, objective=kt.Objective("val_f1", "max"), max_trials=1, tensorboard=True)
    tuner.search(*data, validation_data=data, epochs=2, verbose=0)
    (trial,) = tuner.record().trials
    assert trial.score == max(trial.curves[0]["val_f1"])
    (model,) = tuner.get_best_models()
    assert trial.score == pytest.approx(np.mean(model.evaluate(*data, verbose=0, return_dict=True)["f1"]))
    assert len(final_fit(tuner, data, data, epochs=1, batch_size=16).history["f1"]) == 1


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
        seen: list = []  # noqa: RUF012

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
        built: list = []  # noqa: RUF012

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
