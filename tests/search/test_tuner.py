"""The tuner, with hypermodels that score without training; see test_tuner_training.py for those that train."""

import json

import keras
import keras_tuner as kt
import numpy as np
import pytest
from actions import raises

from kerasnas import ImageClassifier
from kerasnas.errors import InfeasibleArchitecture, InvalidArgument, SearchFailed
from kerasnas.objectives import MnasNetReward
from kerasnas.oracles import RandomOracle, ReinforceOracle
from kerasnas.search import NASTuner, SearchRecord


def test_keras_tuner_reads_the_folder_of_a_search(make, fake, tmp_path):
    tuner = make(max_trials=6)
    tuner.search(verbose=0)
    plain = kt.Tuner(
        kt.oracles.RandomSearchOracle(objective=kt.Objective("score", "max"), max_trials=6),
        fake(),
        directory=str(tmp_path),
        project_name="p",
    )
    best = tuner.record().best
    assert plain.get_best_hyperparameters()[0].values == best.values
    assert plain.oracle.get_best_trials()[0].score == best.score
    assert plain.remaining_trials == 0
    trial = kt.engine.trial.Trial.load(str(tmp_path / "p" / f"trial_{best.trial_id}" / "trial.json"))
    assert (trial.score, trial.status) == (best.score, "COMPLETED")


@pytest.mark.parametrize("oracle", [RandomOracle, ReinforceOracle, kt.oracles.RandomSearchOracle])
def test_works_with_any_oracle_and_records_it(make, oracle):
    tuner = make(oracle=oracle, seed=5)
    tuner.search(verbose=0)
    record = tuner.record()
    assert (record.oracle, record.seed, record.max_trials) == (oracle.__name__, 5, 4)
    assert (record.objective, record.direction) == ("score", "max")
    assert [t.score for t in record.trials] == [
        -abs(t.values["a"] - 7) + (0.5 if t.values["b"] else 0.0) for t in record.trials
    ]
    assert [entry["name"] for entry in record.space] == ["a", "b"]


class TooBig(kt.errors.FailedTrialError):
    """A class of the user's own."""


def test_own_classes_of_given_up_trials_do_not_end_the_search_either(make, fake):
    tuner = make(fake(dict.fromkeys(range(3), raises(TooBig("in width")))), max_trials=5)
    tuner.search(verbose=0)
    record = tuner.record()
    assert [t.status for t in record.trials] == ["FAILED"] * 3 + ["COMPLETED"] * 2
    assert "TooBig: in width" in record.trials[0].message


@pytest.mark.parametrize(
    "action",
    [
        raises(ValueError("out of luck")),
        raises(MemoryError("out of memory")),
        raises(InfeasibleArchitecture("too deep")),
        lambda: {"score": float("nan")},
        lambda: {"score": float("inf")},
        lambda: {"score": float("-inf")},
    ],
)
def test_a_bad_trial_does_not_end_the_search(action, make, fake):
    tuner = make(fake({1: action}))
    tuner.search(verbose=0)
    record = tuner.record()
    assert [t.status for t in record.trials] == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert record.trials[1].score is None
    assert record.trials[1].message
    assert len(record.completed) == len(record.best_so_far()) == 3


def test_the_message_of_a_failure_is_kept(make, fake, capsys):
    tuner = make(fake({0: raises(ValueError("out of luck"))}))
    tuner.search()
    assert "ValueError: out of luck" in tuner.record().trials[0].message
    assert "failed: ValueError: out of luck" in capsys.readouterr().out


def test_a_failed_trial_is_retried_if_asked_for(make, fake):
    hypermodel = fake({1: raises(ValueError("flaky"))})
    tuner = make(hypermodel, oracle_kwargs={"max_retries_per_trial": 1})
    tuner.search(verbose=0)
    assert [t.status for t in tuner.record().trials] == ["COMPLETED"] * 4
    assert hypermodel.fitted[1] == hypermodel.fitted[2]
    assert len(hypermodel.fitted) == 5


def test_a_row_of_failures_ends_the_search_with_their_message(make, fake):
    with pytest.raises(RuntimeError, match="out of luck"):
        make(fake({i: raises(ValueError("out of luck")) for i in range(3)}), max_trials=9).search(verbose=0)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_directions(direction, make, fake):
    tuner = make(fake(), objective=kt.Objective("score", direction), max_trials=8)
    tuner.search(verbose=0)
    record, pick = tuner.record(), {"max": max, "min": min}[direction]
    scores = [t.score for t in record.completed]
    assert record.best.score == pick(scores)
    assert record.best_so_far() == tuple(pick(scores[: i + 1]) for i in range(8))
    assert tuner.get_best_hyperparameters()[0].values == record.best.values


def test_a_float_is_the_score(make, fake):
    tuner = make(fake({0: lambda: 3.25}))
    tuner.search(verbose=0)
    assert tuner.record().trials[0].score == 3.25


def test_a_function_will_do_as_hypermodel(make):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 9))])
        model.compile("sgd", "mse")
        return model

    tuner = make(build, objective="loss", max_trials=2)
    tuner.search(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0)
    assert len(tuner.record().completed) == 2


# -- history.json with a training loop of one's own --


class Loop(kt.HyperModel):
    """A training loop of one's own that tells its callbacks only the ends of epochs, as KerasTuner's guide does."""

    def build(self, hp):
        hp.Int("a", 0, 99)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, callbacks=(), **kwargs):
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(3, 6):
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"score": np.float32(epoch)})
        return {"score": 5.0}


def test_a_training_loop_of_ones_own_has_curves(make):
    tuner = make(Loop(), max_trials=2, executions_per_trial=2)
    tuner.search(verbose=0)
    for trial in tuner.record().trials:
        assert trial.status == "COMPLETED", trial.message
        assert [dict(curve) for curve in trial.curves] == [{"score": (3.0, 4.0, 5.0)}] * 2
        assert trial.parameters == 3


def test_without_epochs_there_are_no_curves(make):
    tuner = make(max_trials=1)
    tuner.search(verbose=0)
    trial = tuner.record().trials[0]
    assert trial.curves == ()
    assert trial.seconds > 0


# -- mistakes of the user --


def test_what_is_not_an_oracle_is_refused(fake, tmp_path):
    with pytest.raises(InvalidArgument, match="oracle"):
        NASTuner(fake(), "random", directory=tmp_path)
    with pytest.raises(InvalidArgument, match="keep_checkpoints"):
        NASTuner(fake(), RandomOracle(objective="loss"), keep_checkpoints=0, directory=tmp_path)


def test_an_oracle_with_a_schedule_of_its_own_is_refused(fake, tmp_path):
    oracle = kt.oracles.HyperbandOracle(kt.Objective("score", "max"), max_epochs=4)
    with pytest.raises(InvalidArgument, match=r"got HyperbandOracle.*stopping='asha'"):
        NASTuner(fake(), oracle, directory=tmp_path, project_name="p")
    x, y = np.zeros((8, 8, 8), "uint8"), np.arange(8) % 2
    with pytest.raises(InvalidArgument, match=r"got HyperbandOracle.*stopping='asha'"):
        ImageClassifier(oracle=oracle, directory=tmp_path).fit(x, y, verbose=0)
    assert not any(tmp_path.iterdir())


def test_a_dictionary_without_the_objective_ends_the_search(make, fake):
    hypermodel = fake({0: lambda: {"accuracy": 0.5}})
    with pytest.raises(kt.errors.FatalValueError, match="score"):
        make(hypermodel).search(verbose=0)
    assert len(hypermodel.fitted) == 1


def test_no_result_ends_the_search(make, fake):
    with pytest.raises(kt.errors.FatalTypeError, match="None"):
        make(fake({0: lambda: None})).search(verbose=0)


def test_a_hypermodel_that_builds_no_model_ends_the_search(make):
    class Wrong(kt.HyperModel):
        def build(self, hp):
            hp.Int("a", 0, 9)
            return "a model"

    with pytest.raises(kt.errors.FatalTypeError, match="Keras Model"):
        make(Wrong()).search(verbose=0)


def test_a_corrected_mistake_goes_on_in_the_same_folder(make, fake):
    hypermodel = fake({2: lambda: {"accuracy": 0.5}})
    tuner = make(hypermodel)
    with pytest.raises(kt.errors.FatalValueError):
        tuner.search(verbose=0)
    tuner.search(verbose=0)
    assert [t.status for t in tuner.record().trials] == ["COMPLETED"] * 4
    assert len(hypermodel.fitted) == 5


# -- what the oracle is given and tells --


def test_initial_points_are_checked_before_the_search_begins(make, fake):
    hypermodel = fake()
    with pytest.raises(InvalidArgument, match=r"initial_points\[1\] has a=21; expected one of 0, 1"):
        make(hypermodel, oracle_kwargs={"initial_points": [{"a": 7}, {"a": 21}]}).search(verbose=0)
    tuner = make(hypermodel, oracle_kwargs={"initial_points": [{"a": 7}, {"b": True}]})  # mended, in the same folder
    tuner.search(verbose=0)
    assert hypermodel.fitted[:2] == [{"a": 7, "b": False}, {"a": 0, "b": True}]
    assert [trial.decision["phase"] for trial in tuner.record().trials[:3]] == ["initial point", "initial point", "random"]


def test_a_search_begins_with_the_best_of_an_earlier_one_and_says_so(make, fake, capsys):
    earlier = make(max_trials=8, project_name="earlier")
    earlier.search(verbose=0)
    hypermodel = fake()
    tuner = make(hypermodel, oracle_kwargs={"warm_start": earlier.record()})
    tuner.search()
    assert "Warm start: 8 of 8 earlier trials can be used." in capsys.readouterr().out
    best = sorted(earlier.record().trials, key=lambda trial: -trial.score)[:3]
    assert hypermodel.fitted[:3] == [dict(trial.values) for trial in best]


def test_several_objectives_have_a_front(small, points, tmp_path):
    objectives = [kt.Objective("val_accuracy", "max"), kt.Objective("parameters", "min")]
    oracle = RandomOracle(objective=objectives, max_trials=5, seed=0)
    tuner = NASTuner(small(), oracle, directory=tmp_path, project_name="p")
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    record = tuner.record()
    found = {t.trial_id: (t.metrics["val_accuracy"], -t.metrics["parameters"]) for t in record.trials}
    front = {
        i for i, a in found.items() if not any(b[0] >= a[0] and b[1] >= a[1] and b != a for j, b in found.items() if j != i)
    }
    assert {t.trial_id for t in record.pareto_front()} == front
    assert record.best.trial_id in front
    assert tuner.get_best_hyperparameters()[0].values == record.best.values


def test_no_more_models_than_checkpoints(make):
    tuner = make(keep_checkpoints=2)
    with pytest.raises(InvalidArgument, match="keep_checkpoints=3"):
        tuner.get_best_models(3)


def test_no_best_model_without_a_completed_trial(make, fake):
    tuner = make(fake({0: raises(ValueError("no"))}), max_trials=1)
    tuner.search(verbose=0)
    with pytest.raises(InvalidArgument, match="No trial"):
        tuner.get_best_models(1)


# -- workers, and records of a running search --


def test_a_worker_leaves_the_folder_of_the_chief_alone(make, tmp_path, monkeypatch):
    make().search(verbose=0)
    for name, value in (("IP", "127.0.0.1"), ("PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_ORACLE_{name}", value)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner1")
    make(overwrite=True)
    assert len(SearchRecord.load(tmp_path / "p").trials) == 4


def test_the_record_of_a_running_search(make, fake, tmp_path):
    def look():
        seen.append(SearchRecord.load(tmp_path / "p"))
        return {"score": 100.0}

    seen = []
    make(fake({2: look})).search(verbose=0)
    assert [t.status for t in seen[0].trials] == ["COMPLETED", "COMPLETED", "RUNNING"]
    assert seen[0].trials[2].score is None
    assert len(seen[0].best_so_far()) == 2
    assert seen[0].max_trials == 4


def test_no_drafts_are_left(make, tmp_path):
    make().search(verbose=0)
    assert [p.name for p in (tmp_path / "p").rglob(".*")] == [".lock"]
    for file in (tmp_path / "p").rglob("*.json"):
        json.loads(file.read_text())


def test_a_validation_objective_without_validation_data_is_refused_before_training(tmp_path):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Choice("units", [1, 2]))])
        model.compile("sgd", "mse")
        return model

    tuner = NASTuner(build, RandomOracle(objective="val_loss", max_trials=1, seed=0), directory=tmp_path, project_name="p")
    with pytest.raises(InvalidArgument, match="needs validation data"):
        tuner.search(np.zeros((4, 2)), np.zeros((4, 1)), epochs=1, verbose=0)
    assert not list((tmp_path / "p").glob("trial_*"))


@pytest.mark.parametrize(("oracle", "seed"), [(RandomOracle, 0), (kt.oracles.RandomSearchOracle, 2)])
def test_of_equals_the_cheapest_is_the_winner_and_keeps_its_weights(make, oracle, seed, tmp_path):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 50))])
        model.compile("sgd", "mse")
        return model

    tuner = make(build, oracle=oracle, objective="loss", seed=seed, max_trials=3, keep_checkpoints=1)
    tuner.search(np.zeros((4, 2)), np.zeros((4, 1)), verbose=0)
    record = tuner.record()
    assert {trial.score for trial in record.trials} == {0.0}
    assert record.best.values["units"] == min(t.values["units"] for t in record.trials) < record.trials[0].values["units"]
    (kept,) = (tmp_path / "p").glob("trial_*/*.weights.h5")
    assert kept.parent.name == f"trial_{record.best.trial_id}"
    (model,) = tuner.get_best_models()
    assert model.count_params() == 3 * record.best.values["units"]
    assert tuner.get_best_hyperparameters()[0].values == record.best.values


def test_ctrl_c_says_that_the_search_goes_on_and_shows_no_frames_of_it(make, fake):
    tuner = make(fake({1: raises(KeyboardInterrupt())}), max_trials=3)
    with pytest.raises(KeyboardInterrupt, match="the same code goes on with it") as caught:
        tuner.search(verbose=0)
    assert caught.value.__suppress_context__
    again = make(max_trials=3)
    again.search(verbose=0)
    assert [trial.status for trial in again.record().trials] == ["COMPLETED"] * 3


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_said(make, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match=r"Expected a folder for the search.*Not a directory\. Choose another"):
        make(directory=tmp_path / place)


def test_limits_that_no_network_keeps_are_told_while_they_are_searched(make, capsys):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 100, 220))])
        model.compile("sgd", "mse")
        return model

    tuner = make(build, limits={"parameters": 10}, objective="loss")
    with pytest.raises(SearchFailed, match=r"The nearest to the limits of all:\n  300 parameters; at most 10 are allowed"):
        tuner.search(np.zeros((4, 2)), np.zeros(4))
    repaired = [one["phase"] == "repair" for one in tuner.oracle.get_state()["rejected"]]
    said = [line for line in capsys.readouterr().out.splitlines() if "cost too much" in line]
    for line, number in zip(said, (50, 100), strict=True):
        repairs = sum(repaired[:number])
        start = (
            f"{number - repairs} proposals in a row and {repairs} repairs of them cost too much; the nearest to the limits: "
        )
        assert repairs
        assert line.startswith(start)
    assert "300 parameters" in said[-1]


def test_an_objective_that_no_trial_was_scored_by_can_be_corrected(make, small, points):
    data = {"validation_data": points, "epochs": 1, "verbose": 0}
    with pytest.raises(InvalidArgument, match="val_mean_squared_error"):
        make(small(), objective="val_mean_squared_error", max_trials=2).search(*points, **data)
    tuner = make(small(), objective="val_accuracy", max_trials=2)
    tuner.search(*points, **data)
    assert len(tuner.record().completed) == 2


def test_the_order_of_objectives_does_not_matter_and_the_weights_of_a_reward_do(make, small, points):
    data = {"validation_data": points, "epochs": 1, "verbose": 0}
    several = ["val_loss", "val_accuracy"]
    make(small(), objective=several, max_trials=1, project_name="several").search(*points, **data)
    make(small(), objective=several[::-1], max_trials=2, project_name="several").search(*points, **data)
    make(small(), objective=MnasNetReward(cost="macs", target=9.0), max_trials=1).search(*points, **data)
    with pytest.raises(InvalidArgument, match=r"'target': 9.0.*this search by.*'target': 8.0"):
        make(small(), objective=MnasNetReward(cost="macs", target=8.0), max_trials=2).search(*points, **data)


def test_trials_that_another_objective_scored_are_not_gone_on_with(make, fake):
    make(fake(), max_trials=2).search(verbose=0)
    other = make(fake(), max_trials=4, objective=kt.Objective("score", "min"))
    with pytest.raises(InvalidArgument, match=r"scored by score \(max\), this search by score \(min\).*overwrite=True"):
        other.search(verbose=0)
    again = make(fake(), max_trials=3)
    again.search(verbose=0)
    assert len(again.record().trials) == 3
    anew = make(fake(), max_trials=1, objective=kt.Objective("score", "min"), overwrite=True)
    anew.search(verbose=0)
    assert anew.record().direction == "min"
