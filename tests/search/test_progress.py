"""What a search prints where the output is no terminal."""

import re
from types import SimpleNamespace

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.objectives import MnasNetReward
from kerasnas.search import progress
from kerasnas.search.progress import SearchProgress


@pytest.fixture(autouse=True)
def _no_hint(monkeypatch):
    """On some CPUs a hint would come first."""
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")


def test_the_hint_for_this_cpu_comes_first_and_only_where_something_is_said(monkeypatch, capsys):
    monkeypatch.setattr(progress, "onednn_hint", lambda: "Set it.")
    for enabled in (True, False):
        with SearchProgress(objective="score", direction="max", total=1, epochs=1, enabled=enabled):
            pass
        assert capsys.readouterr().out == ("Set it.\n" if enabled else "")


def test_one_line_for_each_trial_and_the_best(make, capsys):
    tuner = make(max_trials=6)
    tuner.search()
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 6
    best = -np.inf
    for number, (line, trial) in enumerate(zip(lines, tuner.record().trials, strict=True), start=1):
        assert line.startswith(f"trial {number}/6")
        assert f"score {trial.score:.4f}" in line
        better = trial.score > best
        best = max(best, trial.score)
        assert line.endswith("best so far" if better else f"(best {best:.4f})")
        assert re.search(r"\d+\.\d s", line)


def test_parameters_are_shown(make, small, points, capsys):
    tuner = make(small(), objective="loss", max_trials=1)
    tuner.search(*points)
    assert f"{tuner.record().best.parameters} parameters" in capsys.readouterr().out


def test_silence(make, fake, capsys):
    make(fake({1: lambda: {"score": float("nan")}})).search(verbose=0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ""


def test_a_resumed_search_says_where_it_goes_on(make, capsys):
    make(max_trials=2).search(verbose=0)
    tuner = make(max_trials=3)
    capsys.readouterr()
    tuner.search()
    first, second = capsys.readouterr().out.strip().splitlines()
    best = max(t.score for t in tuner.record().trials[:2])
    assert first == f"Resuming after 2 trials, best score {best:.4f}"
    assert second.startswith("trial 3/3")


@pytest.mark.parametrize("direction", ["max", "min"])
def test_failures_and_unlimited_searches(direction, capsys):
    progress = SearchProgress(objective="loss", direction=direction, total=None, epochs=1)
    with progress:
        progress.begin_trial(1)
        progress.end_trial(1, None, {}, "Traceback ...\nValueError: [red] is no layer")
        progress.end_epoch(1, {"loss": 0.25})
        for number, score in ((2, 2.0), (3, 1.0)):
            progress.end_trial(number, score, {"parameters": 1234567}, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("failed: ValueError: [red] is no layer")
    assert "1,234,567 parameters" in lines[1]
    assert lines[1].endswith("best so far")
    assert lines[2].endswith("best so far" if direction == "min" else "(best 2.0000)")
    assert kt.Objective("loss", direction).better_than(1.0, 2.0) == lines[2].endswith("best so far")


def test_the_best_is_that_of_all_workers(capsys):
    known = [SimpleNamespace(score=score, status="COMPLETED") for score in (0.5, 0.25)]
    progress = SearchProgress(objective="score", direction="max", total=9, epochs=1, trials=lambda number: known[:number])
    with progress:
        progress.resume()
        known.insert(0, SimpleNamespace(score=0.75, status="COMPLETED"))  # of another worker
        progress.end_trial(4, 0.625, {}, None)
        known.insert(0, SimpleNamespace(score=0.875, status="COMPLETED"))
        progress.end_trial(5, 0.875, {}, None)
    begun, fourth, fifth = capsys.readouterr().out.splitlines()
    assert begun == "Resuming after 2 trials, best score 0.5000"
    assert fourth.endswith("score 0.6250 (best 0.7500)")
    assert fifth.endswith("score 0.8750 best so far")


def test_a_failed_trial_is_not_the_best(capsys):
    known = [SimpleNamespace(score=float("nan"), status="FAILED")]
    progress = SearchProgress(objective="score", direction="max", total=9, epochs=1, trials=lambda number: known[:number])
    with progress:
        progress.end_trial(1, float("nan"), {}, None)  # as KerasTuner's own oracles score one
        known.insert(0, SimpleNamespace(score=0.5, status="COMPLETED"))
        progress.end_trial(2, 0.5, {}, None)
    assert capsys.readouterr().out.splitlines()[1].endswith("score 0.5000 best so far")


def test_of_several_objectives_each_is_told(make, fake, capsys):
    both = [kt.Objective("score", "max"), kt.Objective("cost", "min")]
    results = [{"score": 0.5, "cost": 2.0}, {"score": 0.25, "cost": 3.0}]
    tuner = make(fake(dict(enumerate(lambda r=r: r for r in results))), objective=both, max_trials=2)
    tuner.search()
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first.endswith("score 0.5000, cost 2.0000, on the front so far")
    assert second.endswith("score 0.2500, cost 3.0000, not on the front")
    assert tuner.record().to_dataframe()[["score", "cost"]].shape == (2, 2)


def test_what_a_reward_is_made_of_is_told(make, fake, capsys):
    reward = MnasNetReward("score", cost="cost", target=1.0, alpha=0, beta=-1)
    tuner = make(fake({0: lambda: {"score": 0.5, "cost": 2.0}}), objective=reward, max_trials=1)
    tuner.search()
    assert "mnasnet_reward 0.2500 (score 0.5000, cost 2.0000) best so far" in capsys.readouterr().out
    frame = tuner.record().to_dataframe()
    assert frame[["score", "cost"]].to_numpy().tolist() == [[0.25, 2.0]]  # the score of the trial is the reward
