"""Proposals that no trial is spent on: told to the strategy, never repeated, and the same after a resume."""

import json
import math
import shutil

import keras_tuner as kt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasnas.errors import SearchFailed
from kerasnas.oracles import EvolutionOracle, RandomOracle, ReinforceOracle, StrategyOracle
from kerasnas.oracles.rejections import Rejected, Rejection, by_turns
from kerasnas.record import SearchRecord
from kerasnas.strategies import RandomSearch


def too_wide(hp):
    """A limit on dense layers of the space of `declare`."""
    if hp.get("kind") == "dense" and hp.get("units") > 5:
        return Rejection(f"{hp.get('units')} units; at most 5 are allowed")
    return None


def twins(oracle):
    """A screen for which trials of the same kind and kernel are twins."""

    def screen(hp):
        for trial in oracle.trials.values():
            if all(trial.hyperparameters.values.get(name) == hp.values.get(name) for name in ("kind", "kernel")):
                return Rejection(f"trains the same network as trial {trial.trial_id}", trial.trial_id)
        return None

    return screen


def test_what_breaks_a_limit_costs_no_trial_and_is_told_as_a_failure(play):
    oracle = play.make(play.listener, known=True, max_trials=20)
    oracle.screen = too_wide
    trials = play.run(oracle)
    assert len(trials) == 20
    assert not any(too_wide(trial.hyperparameters) for trial in oracle.trials.values())
    record = SearchRecord.load(play.folder / "p")
    assert len(record.rejected) > 5
    for one in record.rejected:
        assert one.values["units"] > 5
        assert one.reason == f"{one.values['units']} units; at most 5 are allowed"
        assert one.twin is None
    rejected = [dict(one.values) for one in record.rejected]
    told = [choices for choices, score in oracle.strategy.told if math.isnan(score)]
    assert told == rejected
    assert len({json.dumps(values, sort_keys=True) for values in [*rejected, *trials]}) == len(rejected) + 20
    assert all(status.status == "COMPLETED" for status in record.trials)
    counts = [entry["rejected"] for entry in play.ledger()]
    assert sum(counts) == len(rejected)
    with pytest.raises(TypeError):
        record.rejected[0].values["units"] = 1


def test_the_strategy_hears_of_a_rejection_before_it_proposes_again(play):
    heard = []

    class Ear(play.Listener):
        def propose(self, rng, pending=()):
            heard.append(len(self.told))
            return super().propose(rng)

    oracle = play.make(lambda **kw: StrategyOracle(Ear(), **kw), known=True, max_trials=3)
    left = iter([Rejection("no")] * 4 + [None] * 3)
    oracle.screen = lambda hp: next(left)
    play.run(oracle)
    assert heard == [0, 1, 2, 3, 4, 5, 6]


def test_a_twin_has_the_score_of_its_trial(play):
    oracle = play.make(play.listener, known=True, max_trials=4)
    oracle.screen = twins(oracle)
    play.run(oracle)
    assert len(oracle.trials) == 4  # three kernels, and dense
    by_choice = {
        (t.hyperparameters.get("kind"), t.hyperparameters.values.get("kernel")): t.score for t in oracle.trials.values()
    }
    assert len(by_choice) == 4
    assert len(oracle.strategy.told) > 4
    for choices, score in oracle.strategy.told:
        assert score == by_choice[choices["kind"], choices.get("kernel")]


def test_the_twin_of_a_running_trial_is_told_when_that_ends(play):
    oracle = play.make(play.listener, known=True)
    first = oracle.create_trial("tuner0")
    left = iter([Rejection("the same", first.trial_id), None])
    oracle.screen = lambda hp: next(left)
    second = oracle.create_trial("tuner1")
    assert oracle.strategy.told == []
    play.finish(oracle, second, 0.25)
    assert [score for _, score in oracle.strategy.told] == [0.25]
    play.finish(oracle, first, 0.5)
    assert [score for _, score in oracle.strategy.told] == [0.25, 0.5, 0.5]
    (one,) = SearchRecord.load(play.folder / "p").rejected
    assert oracle.strategy.told[2][0] == dict(one.values)
    assert one.twin == first.trial_id


def test_a_twin_of_a_failed_trial_has_failed(play):
    oracle = play.make(play.listener, known=True)
    play.finish(oracle, oracle.create_trial("tuner0"), None)
    left = iter([Rejection("the same", "00"), None])
    oracle.screen = lambda hp: next(left)
    oracle.create_trial("tuner0")
    assert [math.isnan(score) for _, score in oracle.strategy.told] == [True, True]


def test_initial_points_that_are_rejected_are_skipped_and_said(play, capsys):
    points = [{"kind": "dense", "units": 50}, {"kernel": 5}]
    oracle = play.make(play.listener, known=True, initial_points=points, max_trials=3)
    oracle.verbose = 1
    oracle.screen = too_wide
    trial = oracle.create_trial("tuner0")
    assert trial.hyperparameters.get("kernel") == 5
    assert "50 units; at most 5 are allowed" in capsys.readouterr().out
    assert play.ledger()[0]["phase"] == "initial point"
    state = json.loads((play.folder / "p" / "oracle.json").read_text())
    assert [(one["phase"], one["after"], one["number"]) for one in state["rejected"]] == [("initial point", 0, 0)]


@pytest.mark.parametrize("limit", [{"max_trials": None}, {"max_trials": 5}])
def test_without_a_rejection_nothing_changes(limit, play):
    small = kt.HyperParameters()
    small.Int("a", 0, 5)
    runs = []
    for screen in (None, lambda hp: None):
        oracle = play.make(ReinforceOracle, project=str(screen is None), hyperparameters=small, **limit)
        oracle.screen = screen
        runs.append(play.run(oracle, lambda hp: hp.get("a")))
    assert runs[0] == runs[1]


def test_a_screen_that_raises_rejects_nothing(play):
    oracle = play.make(RandomOracle, known=True, max_trials=3)

    def screen(hp):
        raise ValueError("cannot be built")

    oracle.screen = screen
    assert len(play.run(oracle)) == 3
    assert SearchRecord.load(play.folder / "p").rejected == ()


@pytest.mark.parametrize("reason", ["limit", "twin"])
def test_200_rejections_in_a_row_end_the_search_in_words_with_nothing_lost(reason, play):
    oracle = play.make(RandomOracle, known=True)
    play.step(oracle)
    twin = "00" if reason == "twin" else None
    oracle.screen = lambda hp: Rejection(f"{hp.get('lr')} is too much", twin)
    message = "200 train the same network" if twin else r"(?s)200 would cost too much.*is too much"
    for times in (1, 2):  # and the lock is free
        with pytest.raises(SearchFailed, match=message):
            oracle.create_trial("tuner0")
        assert len(SearchRecord.load(play.folder / "p").rejected) == 200 * times
    resumed = play.make(RandomOracle)
    resumed.reload()
    assert len(play.run(resumed)) == 11


def test_a_strategy_that_has_set_its_mind_on_twins_does_not_end_the_search(play):
    class Stubborn(RandomSearch):
        def propose(self, rng, pending=()):
            return {"a": 0, "x": rng.random()}

    def declare(hp):
        hp.Int("a", 0, 3)
        hp.Float("x", 0, 1)

    oracle = play.make(lambda **kw: StrategyOracle(Stubborn(), **kw), max_trials=3)
    play.discover(oracle, declare)
    play.finish(oracle, oracle.create_trial("tuner0"), 0.5)
    oracle.screen = lambda hp: Rejection("the same", "00") if hp.get("a") == 0 else None
    assert 0 < oracle.create_trial("tuner0").hyperparameters.get("a") <= 3
    assert play.ledger()[1]["rejected"] >= 21


def test_a_space_without_a_single_allowed_configuration_says_so(play):
    oracle = play.make(RandomOracle)
    play.discover(oracle, lambda hp: hp.Int("a", 1, 3))
    oracle.screen = lambda hp: Rejection(f"{hp.get('a')} is too much")
    with pytest.raises(SearchFailed, match=r"(?s)No configuration of the space.*3 would cost too much.*2 is too much"):
        oracle.create_trial("tuner0")


def test_a_small_space_is_searched_as_far_as_it_is_allowed(play):
    oracle = play.make(RandomOracle, max_trials=None)
    play.discover(oracle, lambda hp: hp.Int("a", 1, 9))
    oracle.screen = lambda hp: Rejection("odd") if hp.get("a") % 2 else None
    assert sorted(values["a"] for values in play.run(oracle, lambda hp: hp.get("a"))) == [2, 4, 6, 8]


def test_a_space_that_only_the_screen_discovers_is_known_from_then_on(play):
    def screen(hp):
        return Rejection("odd") if hp.Int("a", 1, 9) % 2 else None

    oracle = play.make(RandomOracle, max_trials=3)
    oracle.screen = screen
    trials = play.run(oracle, lambda hp: hp.Int("a", 1, 9))
    assert len(trials) == 3
    assert not any(values["a"] % 2 for values in trials)


def outcome(play, hp):
    return None if hp.get("kind") == "conv" and hp.get("lr") > 0.03 else play.declare(hp)


def work(play, oracle):
    play.run_pairs(oracle, lambda oracle, trial: play.finish(oracle, trial, outcome(play, trial.hyperparameters)))


def begin(play, cls, project, **kwargs):
    oracle = play.make(cls, project=project, known=not kwargs, max_trials=8, max_consecutive_failed_trials=99, **kwargs)
    same = twins(oracle)

    def screen(hp):
        # A limit, and twins among the convolutions with a small rate.
        return too_wide(hp) or (same(hp) if hp.get("kind") == "conv" and hp.get("lr") < 3e-3 else None)

    oracle.screen = screen
    oracle.save() if not kwargs else oracle.reload()
    return oracle


@pytest.mark.parametrize("cls", [RandomOracle, EvolutionOracle, ReinforceOracle])
def test_a_resumed_search_rejects_and_goes_on_as_the_uninterrupted_one(cls, play, kill_after):
    work(play, begin(play, cls, "whole"))
    expected = play.history("whole")
    kinds = {one["twin"] is None for one in expected[1]}
    assert kinds == {True, False}
    assert len(expected[0]) == 8
    for writes in (1, 2, 3, 10, 14, 21):
        shutil.rmtree(play.folder / "killed", ignore_errors=True)
        oracle = begin(play, cls, "killed")
        with kill_after(writes):
            work(play, oracle)
        work(play, begin(play, cls, "killed", seed=99))
        assert play.history("killed") == expected


@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_turns_are_only_ever_appended(data):
    ended, rejected, running, turns = [], [], [], []
    for step in range(data.draw(st.integers(0, 12))):
        action = data.draw(st.sampled_from(["begin", "end", "limit", "twin"]))
        if action == "begin":
            running.append(str(step))
        elif action == "end" and running:
            ended.append(running.pop(data.draw(st.integers(0, len(running) - 1))))
        elif action in ("limit", "twin"):
            known = [*ended, *running]
            twin = data.draw(st.sampled_from(known)) if action == "twin" and known else None
            rejected.append(Rejected({"step": step}, "no", twin, len(ended), len(known)))
        now = list(by_turns(ended, rejected))
        assert now[: len(turns)] == turns
        turns = now
    assert [trial_id for trial_id, one in turns if one is None] == ended
    heard = [one for _, one in turns if one is not None]
    assert all(heard.count(one) == (one.twin is None or one.twin in ended) for one in rejected)
    for place, (trial_id, one) in enumerate(turns):
        if one is not None and one.twin is not None:
            assert (trial_id, None) in turns[:place]
