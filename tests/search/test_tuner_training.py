"""The tuner, with networks that really train."""

import json

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.objectives import MnasNetReward
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
