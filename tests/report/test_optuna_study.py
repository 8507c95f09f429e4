"""What a study of Optuna tells of a search is what the record tells."""

import shutil
from dataclasses import replace

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.cli import main
from kerasnas.errors import InvalidArgument, MissingExtra
from kerasnas.oracles import DynaOracle
from kerasnas.record import SearchRecord
from kerasnas.report import to_optuna
from kerasnas.search import NASTuner

optuna = pytest.importorskip("optuna")


def build(hp):
    if hp.Choice("kind", ["wide", "deep", "broken"]) == "broken":
        raise ValueError("There is no broken network.")
    with hp.conditional_scope("kind", ["wide"]):
        if hp.get("kind") == "wide":
            hp.Int("units", 16, 64, step=16)
    with hp.conditional_scope("kind", ["deep"]):
        if hp.get("kind") == "deep":
            hp.Int("units", 2, 8)
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.get("units")), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model


def search(folder, objective, trials=8, **settings):
    oracle = DynaOracle(objective=objective, max_trials=trials, seed=3, max_consecutive_failed_trials=8)
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    tuner = NASTuner(build, oracle, directory=folder, project_name="planted", **settings)
    tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=3, verbose=0)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optuna")
    search(folder, "val_loss", stopping="learning-curve")
    return folder / "planted"


def with_trial(record, **what):
    """Return the record with one trial, made of its first one that has a score."""
    return replace(record, trials=(replace(record.completed[0], **what),))


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def test_a_study_tells_what_the_record_does(project, storage):
    record = SearchRecord.load(project)
    to_optuna(project, storage)
    study = optuna.load_study(study_name="planted", storage=storage)  # as another process reads it
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == ["val_loss"]
    assert len(study.trials) == len(record.ended) == 8
    states = {t.state.name for t in study.trials}
    assert {"COMPLETE", "FAIL"} <= states
    for there, trial in zip(study.trials, record.ended, strict=True):
        assert there.user_attrs["trial_id"] == trial.trial_id
        assert there.params == dict(trial.values)
        if trial.status == "FAILED":
            assert there.state.name == "FAIL"
            assert there.values is None
            assert there.user_attrs["failed"] == "ValueError: There is no broken network."
            continue
        assert there.state.name == ("PRUNED" if trial.stopped else "COMPLETE")
        assert there.value == trial.score
        curve = trial.curves[-1]["val_loss"]
        assert there.intermediate_values == dict(enumerate(curve))
        assert there.user_attrs["val_mae"] == trial.metrics["val_mae"]
        assert there.duration.total_seconds() == pytest.approx(trial.seconds, abs=1e-5)
        assert there.distributions["rate"] == optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)
        assert there.distributions["units"] == optuna.distributions.IntDistribution(2, 64)  # of both kinds
    full = [t for t in record.completed if not t.stopped]
    assert study.best_trial.user_attrs["trial_id"] == min(full, key=lambda t: t.score).trial_id


def test_a_study_grows_with_its_search(project, storage):
    record = SearchRecord.load(project)
    first = to_optuna(replace(record, trials=record.trials[:5]), storage)
    before = [(t.number, t._trial_id) for t in first.trials]
    after = [(t.number, t._trial_id) for t in to_optuna(record, storage).trials]
    assert len(before) == 5
    assert after[:5] == before  # they are not written again
    assert len(after) == 8
    some = to_optuna(replace(record, trials=record.trials[1::2]), storage, study_name="of several workers").trials
    whole = to_optuna(record, storage, study_name="of several workers")  # some had begun earlier, and ended later
    assert [t._trial_id for t in whole.trials[:4]] == [t._trial_id for t in some]
    assert sorted(t.user_attrs["trial_id"] for t in whole.trials) == [t.trial_id for t in record.trials]
    optuna.delete_study(study_name="of several workers", storage=storage)
    trials = list(record.trials)
    trials[0] = replace(trials[0], status="COMPLETED", score=0.5)  # as one that was taken up
    anew = to_optuna(replace(record, trials=tuple(trials)), storage)
    assert anew.trials[0].value == 0.5
    assert len(anew.trials) == 8
    assert optuna.get_all_study_names(storage) == ["planted"]


def test_what_was_ended_for_its_time_may_be_the_best(project, storage):
    record = SearchRecord.load(project)
    states = {"time": "COMPLETE", "learning-curve": "PRUNED", "asha": "PRUNED"}
    for rule, state in states.items():
        ended = with_trial(record, stopped={"rule": rule, "reason": "for a reason", "details": {}})
        study = to_optuna(ended, storage, study_name=rule)
        assert [t.state.name for t in study.trials] == [state]
        assert study.trials[0].user_attrs["stopped"] == "for a reason"


def test_intermediate_values_are_means_over_the_executions(project, storage):
    record = SearchRecord.load(project)
    runs = ({"val_loss": (4.0, 2.0)}, {"val_loss": (3.0, 1.0, float("nan"), 0.5)}, {"loss": (9.0,)})
    (trial,) = to_optuna(with_trial(record, curves=runs), storage).trials
    assert trial.intermediate_values == {0: 3.5, 1: 1.5, 3: 0.5}


def test_a_study_of_several_objectives(tmp_path, storage):
    objectives = [kt.Objective("val_loss", "min"), kt.Objective("parameters", "min")]
    search(tmp_path, objectives, trials=6)
    record = SearchRecord.load(tmp_path / "planted")
    study = to_optuna(record, storage)
    assert study.metric_names == ["val_loss", "parameters"]
    assert {t.user_attrs["trial_id"] for t in study.best_trials} == {t.trial_id for t in record.pareto_front()}
    assert all(not t.intermediate_values for t in study.trials)


def test_a_study_that_is_another_stays(project, tmp_path, storage):
    optuna.create_study(study_name="planted", storage=storage).enqueue_trial({"mine": 1})
    with pytest.raises(InvalidArgument, match="is another"):
        to_optuna(project, storage)
    assert len(optuna.load_study(study_name="planted", storage=storage).trials) == 1
    assert to_optuna(project, storage, study_name="other").study_name == "other"
    shutil.copytree(project, moved := tmp_path / "elsewhere" / "planted")
    with pytest.raises(InvalidArgument, match="Pass a study_name"):
        to_optuna(moved, storage, study_name="other")


@pytest.mark.parametrize("storage", ["nowhere://x", "sqlite:////no/such/folder/x.db", 3])
def test_a_storage_that_cannot_be_opened_is_named(project, storage):
    with pytest.raises(InvalidArgument, match="Expected a storage that Optuna can open"):
        to_optuna(project, storage)


def test_without_optuna_the_install_line_is_told(project, storage, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"kerasnas\[explain\]"):
        to_optuna(project, storage)


def test_the_command_line_copies_a_search(project, storage, capsys):
    assert main(["report", str(project), "--out", str(project.parent / "page.html"), "--optuna", storage]) == 0
    assert f"wrote study planted of 8 trials; see it with: optuna-dashboard {storage}" in capsys.readouterr().out
    assert len(optuna.load_study(study_name="planted", storage=storage).trials) == 8
    command = ["report", str(project), "--out", str(project.parent / "page.html"), "--optuna", storage]
    assert main([*command, "--study-name", "another"]) == 0
    assert set(optuna.get_all_study_names(storage)) == {"planted", "another"}
