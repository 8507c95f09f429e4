"""The recommended configuration is the one that the posterior of all trials prefers."""

import math
from types import SimpleNamespace

import keras_tuner as kt
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.oracles import RandomOracle
from kerasnas.record import SearchRecord


@pytest.fixture
def asked(monkeypatch):
    """Put a stand-in for `best_arm` that prefers the second best score; returns what it was asked."""
    asked = []

    def second(decisions, observations):
        asked.append((list(decisions), list(observations)))
        ranked = sorted((i for i, (_, s) in enumerate(observations) if not math.isnan(s)), key=lambda i: -observations[i][1])
        return SimpleNamespace(index=ranked[1])

    for module in ("kerasnas.record", "kerasnas.oracles.strategy_oracle"):
        monkeypatch.setattr(f"{module}.best_arm", second)
    return asked


@pytest.mark.parametrize(("direction", "expected"), [("max", 1), ("min", 3)])
def test_it_is_asked_of_the_posterior_and_survives_a_resume(direction, expected, asked, play):
    oracle = play.make(RandomOracle, known=True, max_trials=5, objective=kt.Objective("score", direction))
    scores = iter([0.9, 0.7, None, 0.4, 0.3])
    trials = play.run(oracle, lambda hp: next(scores))
    resumed = play.make(RandomOracle, objective=kt.Objective("score", direction))
    resumed.reload()
    for each in (oracle, resumed):
        best = each.recommend()
        assert isinstance(best, kt.HyperParameters)
        assert best.values == trials[expected]
    best.values["kernel"] = "changed"  # a copy
    assert resumed.recommend().values == trials[expected]
    sign = 1 if direction == "max" else -1
    decisions, observations = asked[0]
    assert [d.name for d in decisions] == ["kind", "kernel", "deep", "layers", "units", "lr", "classes"]
    assert [choices for choices, _ in observations] == trials
    assert [score for _, score in observations] == pytest.approx(
        [sign * s for s in (0.9, 0.7, math.nan, 0.4, 0.3)], nan_ok=True
    )
    record = SearchRecord.load(play.folder / "p")
    assert record.preferred == record.trials[expected]


def test_there_is_nothing_to_recommend_before_a_trial_is_completed(asked, play):
    oracle = play.make(RandomOracle, known=True)
    with pytest.raises(InvalidArgument, match="No trial is completed"):
        oracle.recommend()
    play.finish(oracle, oracle.create_trial("tuner0"), None)
    with pytest.raises(InvalidArgument, match="No trial is completed"):
        oracle.recommend()
    assert asked == []


@pytest.mark.parametrize("scores", [[0.5], [0.5, None], [0.5, 0.5, 0.5], [1e300, None, -1e300]])
def test_few_or_odd_scores_have_a_recommendation(scores, play):
    oracle = play.make(RandomOracle, known=True, max_trials=len(scores), max_consecutive_failed_trials=9)
    left = iter(scores)
    trials = play.run(oracle, lambda hp: next(left))
    done = [values for values, score in zip(trials, scores, strict=True) if score is not None]
    assert oracle.recommend().values in done
    assert dict(SearchRecord.load(play.folder / "p").preferred.values) == oracle.recommend().values


def test_a_search_that_decides_nothing_has_a_recommendation(play):
    oracle = play.make(RandomOracle, max_trials=1)
    play.run(oracle, lambda hp: 0.5)
    assert oracle.recommend().values == {}


def test_the_luckiest_of_noisy_runs_is_not_recommended(play):
    """Twenty runs of 0.9 to 0.905 on one side, and one lucky 0.95 among twenty of 0.1 on the other."""
    points = [{"kind": kind, "lr": 10 ** -(1 + 3 * i / 20)} for kind in ("conv", "dense") for i in range(1, 21)]
    oracle = play.make(RandomOracle, known=True, max_trials=40, initial_points=points)
    left = iter(
        [0.9 + 0.005 * (i % 3) / 2 for i in range(20)] + [0.95 if i == 10 else 0.1 + 0.001 * (i % 7) for i in range(20)]
    )
    play.run(oracle, lambda hp: next(left))
    assert oracle.get_best_trials()[0].hyperparameters.get("kind") == "dense"
    assert oracle.recommend().get("kind") == "conv"
