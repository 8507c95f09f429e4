"""A tuner whose `run_trial` is its user's own, as KerasTuner documents it."""

import sys
from types import SimpleNamespace

import cloudpickle
import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.objectives import MnasNetReward
from kerasnas.oracles import RandomOracle
from kerasnas.search import NASTuner
from kerasnas.search.isolation import TrialProcess
from kerasnas.stopping import Stop, StoppingRule


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 2, 40)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    return model


@pytest.fixture
def own(tmp_path):
    """Make a tuner of a class of one's own."""

    def make(tuner, hypermodel=build, objective="val_loss", max_trials=1, name="p", initial_points=None, **kwargs):
        oracle = RandomOracle(objective=objective, max_trials=max_trials, seed=0, initial_points=initial_points)
        return tuner(hypermodel, oracle, directory=tmp_path, project_name=name, **kwargs)

    return make


@pytest.fixture
def near(monkeypatch):
    """Let what is to run in a process of its own run in this one, on copies as they would come there."""

    def run(self, function, *arguments, watch):
        results = function(*cloudpickle.loads(cloudpickle.dumps(arguments)))
        watch()
        return cloudpickle.loads(cloudpickle.dumps(results))

    monkeypatch.setattr(TrialProcess, "run", run)


def test_arrays_that_are_cut_anew_share_a_file_and_are_not_kept(tmp_path):
    process, x = TrialProcess(tmp_path), np.arange(6.0)
    first, again, other = (process._to_file(part.copy()).path for part in (x[:3], x[:3], x[3:]))
    assert first == again != other
    assert np.array_equal(np.load(other), x[3:])
    before = process._to_file(x).path
    x[:] = 7
    assert np.array_equal(np.load(process._to_file(x).path), x)
    assert np.array_equal(np.load(before), np.arange(6.0))
    words = [np.array(["a", "b"]), np.array("2020-01-01", "datetime64[D]"), np.empty((0, 2)), np.empty((2, 0)), x.astype(">f8")]
    assert len({process._to_file(each).path for each in words}) == 5
    assert len(list(process._folder.iterdir())) == 9


class Scaled(NASTuner):
    def run_trial(self, trial, x, y, **kwargs):
        return super().run_trial(trial, x * 10, y, **kwargs)


class Lowest(NASTuner):
    def run_trial(self, trial, *args, **kwargs):
        (history,) = super().run_trial(trial, *args, **kwargs)
        return float(min(history.history["val_loss"]))


class Folds(NASTuner):
    def run_trial(self, trial, x, y, **kwargs):
        results = []
        for train, test in ((slice(0, 24), slice(24, 48)), (slice(24, 48), slice(0, 24))):
            results += super().run_trial(trial, x[train], y[train], validation_data=(x[test], y[test]), **kwargs)
        return results


def outcome(tuner):
    return [(trial.score, trial.curves, trial.parameters) for trial in tuner.record().trials]


@pytest.mark.parametrize("kind", [Scaled, Lowest, Folds])
def test_a_process_of_its_own_changes_nothing(kind, own, points, near):
    settings = {"epochs": 2, "verbose": 0} | ({} if kind is Folds else {"validation_data": points})
    plain, isolated = own(kind, name="plain", max_trials=2), own(kind, max_trials=2, isolate=True)
    for tuner in (plain, isolated):
        tuner.search(*points, **settings)
    assert [trial.status for trial in isolated.record().trials] == ["COMPLETED"] * 2
    assert outcome(isolated) == outcome(plain)


@pytest.mark.slow
def test_nor_does_a_real_one(own, points):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    settings = {"epochs": 2, "verbose": 0}
    plain, isolated = own(Folds, name="plain"), own(Folds, isolate=True)
    for tuner in (plain, isolated):
        tuner.search(*points, **settings)
    assert outcome(isolated) == outcome(plain)


# -- what it returns --


class Means(NASTuner):
    """Tells the means of two folds: one mapping, one for each of two fits, or numbers."""

    as_list = False

    def run_trial(self, trial, x, y, **kwargs):
        folds = [super(Means, self).run_trial(trial, x[i::2], y[i::2], validation_data=(x, y), **kwargs) for i in (0, 1)]
        losses = [min(history.history["val_loss"]) for (history,) in folds]
        return [{"val_loss": loss} for loss in losses] if self.as_list else {"val_loss": float(np.mean(losses))}


class Listed(Means):
    as_list = True


@pytest.mark.parametrize(("kind", "isolate"), [(Means, False), (Means, True), (Listed, False)])
def test_means_of_folds_are_scored_by_several_objectives(kind, isolate, own, points, near):
    objectives = [kt.Objective("val_loss", "min"), kt.Objective("parameters", "min")]
    tuner = own(kind, objective=objectives, isolate=isolate)
    tuner.search(*points, epochs=2, verbose=0)
    (trial,) = tuner.record().trials
    assert trial.status == "COMPLETED"
    assert trial.metrics["val_loss"] == pytest.approx(np.mean([min(curve["val_loss"]) for curve in trial.curves]))
    assert trial.metrics["parameters"] == trial.parameters == 4 * trial.values["units"] + 1
    assert trial.metrics["multi_objective"] == pytest.approx(trial.metrics["val_loss"] + trial.parameters)


class Best(NASTuner):
    """Tells the best accuracy by name, or the score itself."""

    by_name = True

    def run_trial(self, trial, *args, **kwargs):
        (history,) = super().run_trial(trial, *args, **kwargs)
        return {"val_accuracy": max(history.history["val_accuracy"])} if self.by_name else [0.25, 0.75]


class Numbers(Best):
    by_name = False


@pytest.mark.parametrize("kind", [Best, Numbers])
def test_a_reward_is_made_of_a_metric_and_what_the_network_costs(kind, own, points, small):
    reward = MnasNetReward("val_accuracy", cost="parameters", target=9)
    tuner = own(kind, small(), reward)
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    (trial,) = tuner.record().trials
    best = {"val_accuracy": max(trial.curves[0]["val_accuracy"]), "parameters": trial.parameters}
    assert trial.score == pytest.approx(reward.get_value(best) if kind is Best else 0.5)


# -- several trainings in one trial --


class Epochs(keras.callbacks.Callback):
    """Counts the epochs of all trainings, and ends the process, as it were, at the beginning of one of them."""

    def __init__(self, at=None):
        super().__init__()
        self.seen = SimpleNamespace(at=at, begun=[])  # which is not given back as plain values are

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, epoch, logs=None):
        if len(self.seen.begun) == self.seen.at:
            raise KeyboardInterrupt
        self.seen.begun.append(epoch)


def search(tuner, points, at=None):
    counter = Epochs(at)
    tuner.search(*points, epochs=3, verbose=0, callbacks=[counter])
    return counter.seen.begun


def test_each_fold_is_trained_and_told(own, points):
    tuner = own(Folds)
    assert search(tuner, points) == [0, 1, 2] * 2
    for trial in tuner.record().trials:
        first, second = trial.curves
        assert first["val_loss"] != second["val_loss"]
        assert trial.score == pytest.approx((min(first["val_loss"]) + min(second["val_loss"])) / 2)
        assert trial.epochs == 6
    # The weights kept are those of the last fold.
    x, y = points
    (model,), best = tuner.get_best_models(), tuner.record().best
    assert model.evaluate(x[:24], y[:24], verbose=0) == pytest.approx(min(best.curves[1]["val_loss"]), rel=1e-4)
    assert not list(tuner.checkpoints.path(tuner.oracle.get_best_trials()[0]).parent.glob("epoch_state*"))


def test_the_first_call_is_what_a_single_one_is(own, points):
    x, y = points
    plain, folds = own(NASTuner, name="plain"), own(Folds)
    plain.search(x[:24], y[:24], validation_data=(x[24:], y[24:]), epochs=3, verbose=0)
    search(folds, points)
    for one, several in zip(plain.record().trials, folds.record().trials, strict=True):
        assert one.curves[0] == several.curves[0]


@pytest.mark.parametrize(("executions", "at"), [(1, 3), (1, 5), (2, 7)])
def test_folds_go_on_where_the_search_was_broken_off(executions, at, own, points):
    whole = own(Folds, name="whole", executions_per_trial=executions)
    expected = search(whole, points)
    with pytest.raises(KeyboardInterrupt):
        search(own(Folds, executions_per_trial=executions), points, at)
    keras.utils.set_random_seed(99)  # what the process drew before must not matter
    resumed = own(Folds, executions_per_trial=executions)
    assert search(resumed, points) == expected[at:]  # no finished epoch is trained twice
    assert outcome(resumed) == outcome(whole)
    for a, b in zip(whole.get_best_models()[0].get_weights(), resumed.get_best_models()[0].get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_trials_that_run_without_a_search_are_told_apart(own, points):
    tuner = own(NASTuner)
    for trial_id in "01":
        trial = kt.engine.trial.Trial(tuner.oracle.get_space(), trial_id)
        tuner.run_trial(trial, *points, validation_data=points)
        assert len(tuner._history.content["executions"]) == 1


class FirstFold(StoppingRule):
    """Stops the first training of a trial after an epoch, and asks to go on with whatever waits."""

    def __init__(self):
        self.asked = 0

    def should_stop(self, curve, others, *, epochs):
        self.asked += 1
        return Stop(rule="first", reason="enough") if self.asked == 1 else None

    def take_up(self, curves, waiting, *, epochs):
        return waiting[0]


def test_a_fold_that_is_stopped_does_not_stop_the_others_nor_foretell_the_score(own, points):
    tuner = own(Folds, stopping=FirstFold())
    assert search(tuner, points) == [0, 0, 1, 2]
    (trial,) = tuner.record().trials
    assert trial.stopped == {"rule": "first", "reason": "enough", "details": {}, "expected": None}
    assert trial.score == pytest.approx(np.mean([min(curve["val_loss"]) for curve in trial.curves]))


# -- what is passed on --


class OwnFit(kt.HyperModel):
    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, x, y, validation_data, callbacks=None):
        return model.fit(x, y, validation_data=validation_data, callbacks=callbacks)


class Three(NASTuner):
    def run_trial(self, trial, x, y, val):
        return super().run_trial(trial, x, y, validation_data=val)


class Listens(NASTuner):
    def run_trial(self, trial, x, y, val, verbose):
        assert verbose == 0
        return super().run_trial(trial, x, y, validation_data=val, verbose=verbose)


@pytest.mark.parametrize("hypermodel", [build, OwnFit()])
@pytest.mark.parametrize("kind", [NASTuner, Three, Listens])
def test_verbose_comes_only_where_it_is_taken_and_all_is_silent(kind, hypermodel, own, points, capsys):
    tuner = own(kind, hypermodel)
    name = "validation_data" if kind is NASTuner else "val"
    tuner.search(*points, **{name: points}, verbose=0)
    assert [trial.message for trial in tuner.record().trials] == [None]
    assert capsys.readouterr().out == ""


class Batch(NASTuner):
    def run_trial(self, trial, *args, **kwargs):
        size = trial.hyperparameters.Int("batch_size", 8, 48, step=8)
        return super().run_trial(trial, *args, batch_size=size, **kwargs)


class BatchOfFit(NASTuner):
    def _build_and_fit_model(self, trial, *args, **kwargs):
        size = trial.hyperparameters.Int("batch_size", 8, 48, step=8)
        return super()._build_and_fit_model(trial, *args, batch_size=size, **kwargs)


def same(hp):
    """One network alone."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize("kind", [Batch, BatchOfFit])
def test_what_is_drawn_while_a_trial_runs_is_searched(kind, own, points, capsys):
    tuner = own(kind, same, max_trials=8)
    tuner.search(*points, validation_data=points, epochs=1)
    trials = tuner.record().trials
    assert sorted(trial.values["batch_size"] for trial in trials) == [8, 16, 24, 32, 40, 48]
    assert len({trial.score for trial in trials}) == 6
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing new is left to try after 6 of 8 trials."


class Draws(NASTuner):
    def run_trial(self, trial, *args, **kwargs):
        v = trial.hyperparameters.Float("v", -2.0, 2.0)
        return v * v + 2 * v + 1


def test_what_builds_no_network_needs_no_hypermodel(own):
    tuner = own(Draws, None, kt.Objective("score", "min"), max_trials=8, initial_points=[{"v": 0.5}], inherit=True)
    tuner.search(verbose=0)
    record = tuner.record()
    assert [trial.status for trial in record.trials] == ["COMPLETED"] * 8
    assert len({trial.values["v"] for trial in record.trials}) == 8
    assert all(trial.score == pytest.approx((trial.values["v"] + 1) ** 2) for trial in record.trials)
