"""The record of a search with several objectives: front, knee point, hypervolume."""

import json
import math

import pytest
from written_searches import write

from kerasnas.errors import InvalidArgument
from kerasnas.search import SearchRecord


def several(folder, values, *, objectives=(("accuracy", "max"), ("size", "min")), in_oracle=False):
    """Write the folder of a search with these values of several objectives; None stands for a trial that failed."""
    write(folder, [None if row is None else 0.0 for row in values])
    for i, row in enumerate(values):
        file = folder / f"trial_{i:03d}" / "trial.json"
        state = json.loads(file.read_text())
        for (name, direction), value in zip(objectives, row or (), strict=False):
            state["metrics"]["metrics"][name] = {"direction": direction, "observations": [{"value": [value], "step": 0}]}
        file.write_text(json.dumps(state))
    told = {"objectives": [{"name": name, "direction": direction} for name, direction in objectives]}
    search = {"objective": "multi_objective", "direction": "min"}
    (folder / "search.json").write_text(json.dumps(search if in_oracle else search | told))
    (folder / "oracle.json").write_text(json.dumps(told if in_oracle else {}))
    return SearchRecord.load(folder)


@pytest.mark.parametrize("in_oracle", [False, True])
def test_several_objectives_have_a_front_a_knee_and_a_volume(in_oracle, tmp_path):
    rows = [(0.5, 10.0), (0.9, 40.0), None, (0.8, 12.0), (0.7, 50.0), (0.5, 10.0)]
    record = several(tmp_path, rows, in_oracle=in_oracle)
    assert record.objectives == (("accuracy", "max"), ("size", "min"))
    assert (record.objective, record.direction) == ("multi_objective", "min")
    assert [t.trial_id for t in record.pareto_front()] == ["000", "001", "003", "005"]
    assert record.knee_point() == record.best == record.trials[3]
    assert [t.score for t in record.trials] == [0.25, 0.25, None, 0.0, 1.0, 0.25]
    assert record.best_so_far() == (0.25, 0.25, 0.0, 0.0, 0.0)
    volume = (0.9 - 0.4) * (60 - 40) + (0.8 - 0.4) * (40 - 12) + (0.5 - 0.4) * (12 - 10)
    assert record.hypervolume({"size": 60.0, "accuracy": 0.4}) == pytest.approx(volume)
    assert record.hypervolume() == pytest.approx(0.4 * 10 + 0.3 * (40 - 12))  # from accuracy 0.5 and size 50
    assert [score for _, score in record.observations][3:] == [0.0, -1.0, -0.25]
    for wrong in ({"size": 1.0}, {"size": 1.0, "accuracy": 0.0, "more": 1.0}, 3, {"size": math.nan, "accuracy": 0.0}):
        with pytest.raises(InvalidArgument, match="reference"):
            record.hypervolume(wrong)


def test_a_trial_that_lacks_an_objective_comes_last(tmp_path):
    record = several(tmp_path, [(0.5, 10.0), (0.9,), (0.4, 20.0)])
    assert [math.floor(t.score) for t in record.trials] == [0, 2, 1]
    assert record.pareto_front() == (record.trials[0],)
    assert record.hypervolume() == pytest.approx(0.1 * 10.0)


def test_of_a_single_objective_the_front_is_the_best(tmp_path):
    record = SearchRecord.load(write(tmp_path, [0.1, 0.4, None, 0.4], direction="max"))
    assert record.objectives == (("score", "max"),)
    assert record.pareto_front() == (record.trials[1], record.trials[3])
    assert record.knee_point() == record.best == record.trials[1]
    assert record.hypervolume({"score": 0.0}) == 0.4
    record = SearchRecord.load(write(tmp_path / "min", [0.1, 0.4], direction="min"))
    assert record.pareto_front() == (record.trials[0],)
    assert record.hypervolume({"score": 1.0}) == pytest.approx(0.9)


def test_before_a_trial_is_completed_there_is_no_front(tmp_path):
    record = SearchRecord.load(write(tmp_path, [None]))
    assert record.pareto_front() == ()
    for ask in (record.knee_point, record.hypervolume):
        with pytest.raises(InvalidArgument, match="No trial"):
            ask()


def test_of_two_trials_on_a_front_the_cheaper_is_knee_and_best_alike(tmp_path):
    record = several(
        tmp_path, [(0.95, 200.0), (0.9, 100.0), (0.8, 300.0)], objectives=(("accuracy", "max"), ("parameters", "min"))
    )
    assert [trial.score for trial in record.trials] == [0.0, 0.0, 1.0]
    assert record.best == record.knee_point() == record.trials[1]


def test_where_no_trial_has_a_value_of_an_objective_there_is_no_volume(tmp_path):
    assert several(tmp_path, [(0.5,), (0.9,)]).hypervolume() == 0.0


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_list_of_one_objective_is_that_objective(direction, tmp_path):
    record = several(tmp_path, [(0.5,), (0.9,), None, (0.8,)], objectives=(("accuracy", direction),))
    assert (record.objective, record.direction) == ("accuracy", direction)
    assert [trial.score for trial in record.trials] == [0.5, 0.9, None, 0.8]
    assert record.best == record.trials[1 if direction == "max" else 0]
