"""The recommended configuration is the one that the posterior of all trials prefers."""

import math
import sys
from types import ModuleType, SimpleNamespace

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

    module = ModuleType("kerasnas.strategies.best_arm")
    module.best_arm = second
    monkeypatch.setitem(sys.modules, "kerasnas.strategies.best_arm", module)
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
