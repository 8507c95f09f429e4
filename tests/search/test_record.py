"""Reading the folder of a search."""

import copy
import dataclasses
import json
import math
import os
import pickle
import subprocess
import sys
import warnings

import keras_tuner as kt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written_searches import write

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.errors import InvalidArgument
from kerasnas.search import SearchRecord
from kerasnas.strategies import Condition, Discrete, Range

scores = st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scores=scores, direction=st.sampled_from(["max", "min"]))
def test_best_so_far_is_the_running_best(scores, direction, tmp_path_factory):
    record = SearchRecord.load(write(tmp_path_factory.mktemp("p"), scores, direction=direction))
    pick, done = {"max": max, "min": min}[direction], [s for s in scores if s is not None]
    assert [t.score for t in record.completed] == done
    assert record.best_so_far() == tuple(pick(done[: i + 1]) for i in range(len(done)))
    assert len(record.trials) == len(scores)
    if done:
        assert record.best.score == pick(done)
        assert record.best.trial_id == f"{scores.index(pick(done)):03d}"  # the first of equals
    else:
        with pytest.raises(InvalidArgument, match="No trial"):
            record.best  # noqa: B018


def test_trials_come_in_the_order_of_their_numbers(tmp_path):
    ids = ["0", "9", "010", "011", "0100"]
    record = SearchRecord.load(write(tmp_path, [1.0] * 5, ids=ids))
    assert [t.trial_id for t in record.trials] == ids


def test_a_dataframe_has_a_row_for_each_trial_and_gaps_where_nothing_was_chosen(tmp_path):
    values = {0: {"kind": "conv", "kernel": 3}, 1: {"kind": "dense", "units": 8}, 2: {"kind": "conv", "kernel": 5}}
    frame = SearchRecord.load(write(tmp_path, [0.1, 0.4, None], values=values)).to_dataframe()
    assert set(frame.columns) == {
        "trial",
        "trial_id",
        "status",
        "score",
        "best_epoch",
        "seconds",
        "parameters",
        "kind",
        "kernel",
        "units",
    }
    assert list(frame["trial_id"]) == ["000", "001", "002"]
    assert frame["score"].tolist()[:2] == [0.1, 0.4]
    assert math.isnan(frame["score"][2])
    assert frame["kernel"].isna().tolist() == [False, True, False]
    assert frame["units"].isna().tolist() == [True, False, True]
    assert frame["status"].tolist() == ["COMPLETED", "COMPLETED", "FAILED"]


def test_nothing_can_be_changed(tmp_path):
    record = SearchRecord.load(write(tmp_path, [0.1, 0.4]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.objective = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.trials[0].score = 1.0
    for mapping in (record.trials[0].values, record.trials[0].metrics):
        with pytest.raises(TypeError):
            mapping["a"] = 5


def test_curves_with_gaps(tmp_path):
    write(tmp_path, [0.5])
    history = {"seconds": 1.5, "parameters": 7, "executions": [{"loss": [0.5, None]}, {"loss": [0.25]}]}
    (tmp_path / "trial_000" / "history.json").write_text(json.dumps(history))
    (trial,) = SearchRecord.load(tmp_path).trials
    assert trial.curves[0]["loss"][0] == 0.5
    assert math.isnan(trial.curves[0]["loss"][1])
    assert trial.curves[1]["loss"] == (0.25,)
    assert (trial.seconds, trial.parameters, trial.decision, trial.policy) == (1.5, 7, None, None)


def test_the_decision_ledger_and_that_of_an_older_folder(tmp_path):
    write(tmp_path, [0.5, 0.6])
    decision = {"phase": "policy", "parents": [{"a": 1}], "beliefs": {"a": {"1": 1.0}}, "advantage": None}
    (tmp_path / "trial_000" / "decision.json").write_text(json.dumps(decision))
    (tmp_path / "trial_001" / "policy.json").write_text(json.dumps({"probabilities": {"a": {"1": 0.5, "2": 0.5}}}))
    new, old = SearchRecord.load(tmp_path).trials
    assert new.decision == decision | {"parents": ({"a": 1},)}
    assert new.policy == {"a": {"1": 1.0}}
    assert old.decision == {"beliefs": {"a": {"1": 0.5, "2": 0.5}}}
    assert old.policy == {"a": {"1": 0.5, "2": 0.5}}
    for mapping in (new.decision, new.decision["parents"][0], old.policy["a"]):
        with pytest.raises(TypeError):
            mapping["a"] = 5


@pytest.mark.parametrize(("direction", "sign"), [("max", 1), ("min", -1)])
def test_the_space_and_the_trials_as_strategies_see_them(direction, sign, tmp_path):
    write(tmp_path, [0.5, None, 0.25], direction=direction)
    write(tmp_path / "more", [None], ids=["003"], status="RUNNING")
    (tmp_path / "more" / "trial_003").rename(tmp_path / "trial_003")
    hp = kt.HyperParameters()
    hp.Int("a", 0, 9)
    with hp.conditional_scope("a", [0, 1]):
        hp.Float("x", 0.1, 1.0, sampling="log")
    (tmp_path / "oracle.json").write_text(json.dumps({"hyperparameters": hp.get_config()}))
    record = SearchRecord.load(tmp_path)
    assert record.decisions == (
        Discrete(name="a", values=tuple(range(10)), ordered=True),
        Range(name="x", low=0.1, high=1.0, scale="log", conditions=(Condition("a", (0, 1)),)),
    )
    assert record.decisions == tuple(decisions_of(entries_of(hp)))
    assert [choices for choices, _ in record.observations] == [{"a": 0}, {"a": 1}, {"a": 2}]
    scores = [score for _, score in record.observations]
    assert (scores[0], scores[2]) == (0.5 * sign, 0.25 * sign)
    assert math.isnan(scores[1])


DAMAGE = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"trial_id": "001"}',
    b'{"metrics": 3, "trial_id": "1"}',
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_trial_is_named_and_the_rest_is_read(damage, tmp_path):
    write(tmp_path, [0.1, 0.2, 0.3])
    (tmp_path / "trial_001" / "trial.json").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"trial_001.trial\.json is not whole"):
        record = SearchRecord.load(tmp_path)
    assert [t.trial_id for t in record.trials] == ["000", "002"]
    assert record.best.score == 0.3


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["history.json", "decision.json", "policy.json"])
def test_of_a_trial_with_another_damaged_file_the_rest_is_read(damage, file, tmp_path):
    write(tmp_path, [0.1, 0.2])
    (tmp_path / "trial_001" / file).write_bytes(damage)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trial = SearchRecord.load(tmp_path).trials[1]
    assert (trial.score, trial.curves, trial.seconds, trial.policy) == (0.2, (), None, None)
    whole = damage.startswith(b"{") and damage.endswith(b"}") and not (file == "policy.json" and damage != b"{}")
    assert [f"trial_001/{file}" in str(warning.message) for warning in caught] == ([] if whole else [True])


@pytest.mark.parametrize(
    "history",
    [{"executions": 3}, {"executions": [{"loss": ["a"]}]}, {"seconds": "a"}, {"parameters": [1]}, {"executions": [3]}],
)
def test_a_history_with_wrong_types_is_left_out(history, tmp_path):
    write(tmp_path, [0.1])
    (tmp_path / "trial_000" / "history.json").write_text(json.dumps(history))
    with pytest.warns(UserWarning, match=r"history\.json is not whole"):
        (trial,) = SearchRecord.load(tmp_path).trials
    assert (trial.score, trial.curves, trial.seconds, trial.parameters) == (0.1, (), None, None)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["search.json", "oracle.json"])
def test_a_damaged_description_is_guessed_from_the_trials(damage, file, tmp_path):
    write(tmp_path, [0.1, 0.2])
    (tmp_path / file).write_bytes(damage)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = SearchRecord.load(tmp_path)
    assert (record.objective, record.direction, record.best.score) == ("score", "max", 0.2)
    assert (record.seed, record.rejected, record.space) == (None, (), ())
    assert caught or (file == "oracle.json" and damage.startswith(b"{") and damage.endswith(b"}"))


def test_where_no_trial_can_be_read_there_is_no_record(tmp_path):
    write(tmp_path, [0.1])
    (tmp_path / "trial_000" / "trial.json").write_bytes(b"{")
    with (
        pytest.warns(UserWarning, match=r"trial\.json is not whole"),
        pytest.raises(InvalidArgument, match=r"None of the 1 files trial\.json"),
    ):
        SearchRecord.load(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_field_of_another_type_breaks_nothing(data, tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("p"), [0.1, 0.2, None])
    hp = kt.HyperParameters()
    hp.Int("a", 0, 9)
    rejected = [{"values": {"a": 3}, "reason": "no", "twin": None}]
    (folder / "oracle.json").write_text(json.dumps({"hyperparameters": hp.get_config(), "rejected": rejected, "seed": 1}))
    objectives = [{"name": "score", "direction": "max"}]
    (folder / "search.json").write_text(json.dumps({"objective": "score", "direction": "max", "objectives": objectives}))
    history = {"seconds": 1.5, "parameters": 7, "executions": [{"loss": [0.5, None]}]}
    (folder / "trial_001" / "history.json").write_text(json.dumps(history))
    name = data.draw(st.sampled_from(["oracle.json", "search.json", "trial_001/trial.json", "trial_001/history.json"]))
    content = at = json.loads((folder / name).read_text())
    while True:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not at[key] or not isinstance(at[key], dict | list) or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(json_values)
    (folder / name).write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = SearchRecord.load(folder)
        assert {"000", "002"} <= {t.trial_id for t in record.trials}
        assert name == "search.json" or record.trials[0].score == 0.1
        assert record.best in record.pareto_front() or name == "search.json"
        record.hypervolume()
        record.to_dataframe()
        _ = record.decisions, record.observations


def test_there_is_no_search(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidArgument, match=r"trial_\*"):
            SearchRecord.load(path)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("objective", "direction"), [("val_accuracy", "max"), ("val_loss", "min")])
def test_the_folder_of_plain_keras_tuner(objective, direction, small, points, tmp_path):
    tuner = kt.RandomSearch(small(), objective=objective, max_trials=3, seed=1, directory=tmp_path, project_name="p")
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    record = SearchRecord.load(str(tmp_path / "p"))
    assert (record.objective, record.direction, record.seed) == (objective, direction, 1)
    assert (record.oracle, record.max_trials) == (None, None)
    best = tuner.oracle.get_best_trials()[0]
    assert (record.best.score, dict(record.best.values)) == (best.score, best.hyperparameters.values)
    assert record.best.best_epoch == best.best_step
    assert record.best.curves == ()
    assert record.best.seconds is None
    assert [entry["name"] for entry in record.space] == ["units", "rate"]
    assert [entry["kind"] for entry in record.space] == ["Int", "Float"]
    assert len(record.to_dataframe()) == 3


def test_a_record_can_be_copied_and_pickled(tmp_path):
    write(tmp_path, [0.1, None])
    (tmp_path / "trial_000" / "history.json").write_text(json.dumps({"executions": [{"loss": [0.5]}]}))
    record = SearchRecord.load(tmp_path)
    for other in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert other == record
        assert other.trials[0].curves[0]["loss"] == (0.5,)
        with pytest.raises(TypeError):
            other.trials[0].values["a"] = 5
    assert dataclasses.asdict(record)["trials"][0]["values"] == {"a": 0}


def test_reading_a_record_loads_no_tuner_and_no_tensorflow(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    write(tmp_path, [0.1])
    script = """
import sys
from kerasnas.search import SearchRecord
print(SearchRecord.load(sys.argv[1]).best.score)
assert not {"tensorflow", "kerasnas.search.tuner"} & set(sys.modules)
"""
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    run = subprocess.run([sys.executable, "-c", script, tmp_path], env=environment, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "0.1", run.stderr


def test_what_was_rejected_is_told_in_order(tmp_path):
    write(tmp_path, [0.1])
    rejected = [
        {"values": {"a": 3}, "reason": "too large", "twin": None, "after": 0, "number": 0, "phase": None},
        {"values": {"a": 4}, "reason": "the same", "twin": "000", "after": 1, "number": 1, "phase": "policy"},
    ]
    (tmp_path / "oracle.json").write_text(json.dumps({"rejected": rejected}))
    record = SearchRecord.load(tmp_path)
    assert [(dict(one.values), one.reason, one.twin) for one in record.rejected] == [
        ({"a": 3}, "too large", None),
        ({"a": 4}, "the same", "000"),
    ]
    with pytest.raises(TypeError):
        record.rejected[0].values["a"] = 1
    assert pickle.loads(pickle.dumps(record)) == record


def test_what_is_printed_fits_a_line(tmp_path):
    record = SearchRecord.load(write(tmp_path, [0.25, 0.5, None]))
    assert repr(record) == f"SearchRecord({str(tmp_path)!r}: 3 trials, 2 completed, best score 0.5 (trial 2))"
    assert "curves" not in repr(record.best)
    assert "score=0.5" in repr(record.best)


def test_why_nothing_is_completed_is_said(tmp_path):
    write(tmp_path, [None])
    file = tmp_path / "trial_000" / "trial.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"message": "Traceback ...\nTypeError: no layer"}))
    with pytest.raises(InvalidArgument, match=r"1 were begun\. The last one that failed said: TypeError: no layer"):
        _ = SearchRecord.load(tmp_path).best
