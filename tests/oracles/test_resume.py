"""A search killed at any write of a file and resumed equals the uninterrupted one: hypothesis chooses the write."""

import shutil

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kerasnas import oracles
from kerasnas.oracles import RandomOracle
from kerasnas.record import SearchRecord

# The flagship fits its models anew at every resume.
ORACLES = [
    pytest.param(getattr(oracles, name), marks=[pytest.mark.slow] if name == "DynaOracle" else [])
    for name in oracles.__all__
    if name != "StrategyOracle"
]
TRIALS = 9


def outcome(play, hp):
    """The score of a configuration; some always fail."""
    score = play.declare(hp)
    return None if hp.get("kind") == "dense" and hp.get("lr") > 0.01 else score


def work(play, oracle):
    play.run_pairs(oracle, lambda oracle, trial: play.finish(oracle, trial, outcome(play, trial.hyperparameters)))


@pytest.fixture
def begin(play):
    """Begin a search, or resume it if its folder is there."""
    points = [{"kind": "dense", "units": 20, "lr": 0.05}, {"kernel": 5}]  # the first fails
    earlier = play.make(RandomOracle, known=True, project="earlier", seed=7, max_consecutive_failed_trials=99)
    play.run(earlier, lambda hp: outcome(play, hp))
    record = SearchRecord.load(play.folder / "earlier")

    def begin(cls, project, **kwargs):
        kwargs = {"max_trials": TRIALS, "max_consecutive_failed_trials": 99} | kwargs
        folder = play.folder / project
        if any(folder.glob("trial_*/trial.json")):  # what is on disk counts
            kwargs["seed"] = 99
        else:
            kwargs |= {"initial_points": points, "warm_start": record}
        oracle = play.make(cls, project=project, known=not folder.exists(), **kwargs)
        if (folder / "oracle.json").exists():
            oracle.reload()
        else:
            oracle.save()
        return oracle

    return begin


@pytest.mark.parametrize("cls", ORACLES)
def test_a_search_killed_at_any_write_ends_as_the_uninterrupted_one(cls, play, begin, writes_of):
    work(play, begin(cls, "whole"))
    expected = play.history("whole")
    phases = [entry["phase"] for entry in expected[2]]
    assert len(phases) == TRIALS
    assert phases[:2] == ["initial point"] * 2
    assert {entry["earlier"] for entry in expected[2]} == {12}
    assert max(entry["pending"] for entry in expected[2]) == 1
    assert expected[0][0][1] == "FAILED"
    with writes_of(1000) as targets:
        work(play, begin(cls, "counted"))

    @settings(max_examples=4, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    @example([0])
    @example([1])
    @example([len(targets) - 1])  # the very last write is the outcome of the last trial
    def check(lives):
        shutil.rmtree(play.folder / "killed", ignore_errors=True)
        for life in [*lives, 1000]:
            oracle = begin(cls, "killed")
            with writes_of(life):
                work(play, oracle)
        assert play.history("killed") == expected

    check()


def test_a_resumed_search_with_more_trials_keeps_what_it_knows(play, begin):
    work(play, begin(RandomOracle, "whole", max_trials=8))
    work(play, begin(RandomOracle, "longer", max_trials=5))
    work(play, begin(RandomOracle, "longer", max_trials=8))
    assert play.history("longer")[0] == play.history("whole")[0]
