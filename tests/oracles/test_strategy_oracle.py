"""The adapter, driven as KerasTuner drives an oracle, without training anything."""

import copy
import json
import math
from concurrent.futures import ThreadPoolExecutor

import keras_tuner as kt
import pytest

from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.oracles import RandomOracle, ReinforceOracle, StrategyOracle
from kerasnas.strategies import RandomSearch

ORACLES = [RandomOracle, ReinforceOracle]


@pytest.mark.parametrize("cls", ORACLES)
def test_takes_keras_tuners_own_arguments_and_needs_none(cls):
    assert cls().max_trials == 10
    hp = kt.HyperParameters()
    hp.Choice("a", [1, 2])
    cls(
        objective="val_loss",
        max_trials=3,
        hyperparameters=hp,
        seed=3,
        allow_new_entries=False,
        tune_new_entries=False,
        max_retries_per_trial=2,
        max_consecutive_failed_trials=5,
    )


@pytest.mark.parametrize("cls", ORACLES)
def test_values_are_active_plain_and_new(cls, play):
    oracle = play.make(cls, max_trials=40)
    play.discover(oracle)
    trials = play.run(oracle)
    assert len(trials) == 40
    assert len({json.dumps(t, sort_keys=True) for t in trials}) == 40
    for values in trials:
        json.dumps(values)
        assert ("kernel" in values) == (values["kind"] == "conv")
        assert ("units" in values) == (values["kind"] == "dense")
        assert ("layers" in values) == (values.get("deep") is True)
        assert values["classes"] == 10
        assert type(values["lr"]) is float


def test_a_small_space_is_searched_whole_and_then_ends(play):
    def small(hp):
        return hp.Int("a", 1, 3) * (1 if hp.Boolean("b") else -1)

    for cls in ORACLES:
        oracle = play.make(cls, project=cls.__name__, max_trials=None)
        hp = oracle.get_space()
        small(hp)
        oracle.update_space(hp)
        assert len(play.run(oracle, small)) == 6


@pytest.mark.parametrize("cls", ORACLES)
@pytest.mark.parametrize("killed_after", [1, 5, 11])
def test_resume_by_replay_gives_the_uninterrupted_run(cls, killed_after, play):
    whole = play.make(cls, project="whole")
    play.discover(whole)
    expected = play.run(whole)

    first = play.make(cls, project="broken")
    play.discover(first)
    trials = [play.step(first) for _ in range(killed_after)]
    interrupted = first.create_trial("tuner0")
    second = play.make(cls, project="broken", seed=99)  # the seed on disk counts
    second.reload()
    if interrupted.status == "RUNNING":
        again = second.create_trial("tuner0")
        assert again.trial_id == interrupted.trial_id
        assert again.hyperparameters.values == interrupted.hyperparameters.values
        play.finish(second, again, play.declare(again.hyperparameters))
        trials.append(dict(again.hyperparameters.values))
    assert trials + play.run(second) == expected


def test_kill_between_trial_json_and_oracle_json_loses_nothing(tmp_path, play):
    oracle = play.make(ReinforceOracle)
    play.discover(oracle)
    play.step(oracle)
    before = (tmp_path / "p" / "oracle.json").read_text()
    play.step(oracle)
    (tmp_path / "p" / "oracle.json").write_text(before)  # trial 01 ended, oracle.json does not know of it
    resumed = play.make(ReinforceOracle)
    resumed.reload()
    score = resumed.trials["01"].score
    assert resumed.create_trial("tuner0").trial_id == "02"  # 01 has its score, and is not run again
    resumed.reload()
    play.run(resumed)
    assert resumed.trials["01"].score == score
    assert len(resumed.end_order) == len(set(resumed.end_order)) == 12
    assert all(t.status == "COMPLETED" for t in resumed.trials.values())


def test_a_trial_killed_after_its_metrics_were_written_is_scored_by_its_second_run(play):
    oracle = play.make(ReinforceOracle)
    play.discover(oracle)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"score": 0.0})  # killed here
    resumed = play.make(ReinforceOracle)
    resumed.reload()
    again = resumed.create_trial("tuner0")
    assert again.trial_id == trial.trial_id
    play.finish(resumed, again, 1.0)
    assert resumed.trials[trial.trial_id].score == 1.0


def test_ties_fall_the_same_after_a_resume(play):
    oracle = play.make(RandomOracle)
    play.discover(oracle)
    play.run(oracle, lambda hp: (play.declare(hp), 0.5)[1])
    resumed = play.make(RandomOracle)
    resumed.reload()
    best = [[trial.trial_id for trial in o.get_best_trials(12)] for o in (oracle, resumed)]
    assert best[0] == best[1] == sorted(best[0])


def test_completed_trial_still_listed_as_ongoing_is_kept(tmp_path, play):
    oracle = play.make(ReinforceOracle)
    play.discover(oracle)
    trial = oracle.create_trial("tuner0")
    ongoing = (tmp_path / "p" / "oracle.json").read_text()
    play.finish(oracle, trial, 0.5)
    (tmp_path / "p" / "oracle.json").write_text(ongoing)
    resumed = play.make(ReinforceOracle)
    resumed.reload()
    assert resumed.end_order == ["00"]
    assert resumed.create_trial("tuner0").trial_id == "01"


@pytest.mark.parametrize("cls", ORACLES)
def test_seeds(cls, play):
    def first_values(seed, project):
        oracle = play.make(cls, seed=seed, project=project)
        play.discover(oracle)
        return [play.step(oracle) for _ in range(4)]

    zero = first_values(0, "a")
    assert zero == first_values(0, "b")
    assert zero != first_values(1, "c")
    # Adjacent seeds do not share draws, as they do in KerasTuner.
    assert not any(values in zero for values in first_values(1, "d"))
    assert cls(seed=None).seed is not None


def test_both_directions_tell_the_strategy_that_higher_is_better(play):
    for direction, sign in (("max", 1), ("min", -1)):
        oracle = play.make(ReinforceOracle, project=direction, objective=kt.Objective("score", direction))
        play.discover(oracle)
        seen = []
        oracle.strategy.observe = lambda choices, score, seen=seen: seen.append(score)
        play.run(oracle, lambda hp, sign=sign: sign * play.declare(hp))
        oracle._replay()
        assert seen == [sign * t.score for t in oracle.trials.values()]


def test_mirrored_objectives_give_mirrored_searches(play):
    up = play.make(ReinforceOracle, project="up")
    down = play.make(ReinforceOracle, project="down", objective=kt.Objective("score", "min"))
    play.discover(up), play.discover(down)
    assert play.run(up) == play.run(down, lambda hp: -play.declare(hp))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_fails_the_trial_and_the_search_goes_on(bad, tmp_path, play):
    oracle = play.make(ReinforceOracle)
    play.discover(oracle)
    trial = oracle.create_trial("tuner0")
    play.finish(oracle, trial, bad)
    known = oracle.trials[trial.trial_id]
    assert known.status == "FAILED"
    assert known.score is None
    assert "expected a finite number" in known.message
    assert json.loads((tmp_path / "p" / "trial_00" / "trial.json").read_text())["score"] is None
    assert len(play.run(oracle)) == 11
    assert oracle.get_best_trials()[0].status == "COMPLETED"


def test_failed_trials_reach_the_strategy_as_nan(play):
    oracle = play.make(ReinforceOracle, known=True)
    seen = []
    oracle.strategy.observe = lambda choices, score: seen.append(score)
    play.finish(oracle, oracle.create_trial("tuner0"), None)
    assert len(seen) == 1
    assert math.isnan(seen[0])


def test_a_retried_trial_is_observed_once_with_its_last_score(play):
    oracle = play.make(ReinforceOracle, max_retries_per_trial=1, max_trials=3)
    play.discover(oracle)
    trial = oracle.create_trial("tuner0")
    play.finish(oracle, trial, float("nan"))
    again = oracle.create_trial("tuner0")
    assert again.trial_id == trial.trial_id
    play.finish(oracle, again, 0.75)
    assert oracle.trials["0"].status == "COMPLETED"
    assert oracle.trials["0"].score == 0.75
    oracle._replay()
    assert oracle._replayed.observed == ["0"]


def test_too_many_failures_end_the_search_but_not_the_record_of_it(tmp_path, play):
    oracle = play.make(RandomOracle, max_consecutive_failed_trials=2)
    play.discover(oracle)
    for attempt in range(2):
        trial = oracle.create_trial("tuner0")
        trial.status, trial.message = "FAILED", "out of memory"
        if attempt == 0:
            oracle.end_trial(trial)
        else:
            with pytest.raises(RuntimeError, match="out of memory"):
                oracle.end_trial(trial)
    assert json.loads((tmp_path / "p" / "trial_01" / "trial.json").read_text())["status"] == "FAILED"
    assert oracle.create_trial("tuner0").trial_id == "02"  # the lock is free


def test_trials_that_end_out_of_order(play):
    oracle = play.make(ReinforceOracle, max_trials=8)
    play.discover(oracle)
    first, second, third = (oracle.create_trial(f"tuner{i}") for i in range(3))
    assert len({json.dumps(t.hyperparameters.values, sort_keys=True) for t in (first, second, third)}) == 3
    for trial in (third, first):
        play.finish(oracle, trial, play.declare(trial.hyperparameters))
    resumed = play.make(ReinforceOracle, max_trials=8)
    resumed.reload()
    assert resumed.create_trial("tuner9").trial_id == second.trial_id  # what was under way comes first
    assert resumed._retry_queue == []
    oracle.create_trial("tuner0")
    resumed._replay()
    assert resumed._replayed.observed == oracle._replayed.observed == [third.trial_id, first.trial_id]
    assert resumed.strategy.beliefs() == oracle.strategy.beliefs()


def test_entries_discovered_late_join_the_search(play):
    def grows(hp):
        score = hp.Int("a", 0, 100) / 100
        if hp.get("a") >= 0:
            score += hp.Float("late", 0.0, 1.0)
        return score

    oracle = play.make(ReinforceOracle)
    trials = play.run(oracle, grows)  # nothing is known before the first trial
    assert len(trials) == 12
    assert all({"a", "late"} <= set(values) for values in trials)
    assert len({values["late"] for values in trials[1:]}) == 11


def test_an_unknown_space_is_waited_for_while_a_trial_runs(play):
    oracle = play.make(RandomOracle)
    oracle.create_trial("tuner0")
    assert oracle.create_trial("tuner1").status == "IDLE"


def test_entries_that_may_not_be_tuned_keep_their_default(play):
    hp = kt.HyperParameters()
    hp.Choice("kernel", [3, 5, 7])

    def build(hp):
        return hp.Choice("kernel", [3, 5, 7]) + hp.Int("extra", 1, 9, default=4)

    oracle = play.make(RandomOracle, hyperparameters=hp, tune_new_entries=False)
    trials = play.run(oracle, build)
    assert len(trials) == 3
    assert {values.get("extra", 4) for values in trials} == {4}


def test_a_given_hyperparameter_overrides_the_hypermodel(play):
    hp = kt.HyperParameters()
    hp.Fixed("kind", "conv")
    oracle = play.make(ReinforceOracle, hyperparameters=hp)
    play.discover(oracle)
    assert {values["kind"] for values in play.run(oracle)} == {"conv"}


def test_an_error_of_the_strategy_is_raised_and_leaves_the_lock_free(play):
    class Broken(RandomSearch):
        def propose(self, rng, pending=()):
            raise KeyError("oops")

    oracle = play.make(lambda **kw: StrategyOracle(Broken(), **kw))
    for _ in range(2):
        with pytest.raises(KeyError, match="oops"):
            oracle.create_trial("tuner0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_trials": 0}, "max_trials"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"max_trials": 2.5}, "max_trials"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        RandomOracle(**arguments)
    assert isinstance(caught.value, KerasNASError)
    with pytest.raises(InvalidArgument, match="strategy"):
        StrategyOracle("reinforce")


@pytest.mark.parametrize("call", ["create_trial", "update_trial", "end_trial"])
def test_a_full_disk_does_not_leave_the_lock_held(play, monkeypatch, call):
    oracle = play.make(RandomOracle, known=True)
    trial = oracle.create_trial("tuner0")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(oracle, "_save_trial", full)
        ended = copy.copy(trial)
        ended.status = "FAILED"
        arguments = {"create_trial": ["tuner1"], "update_trial": [trial.trial_id, {"score": 1.0}], "end_trial": [ended]}
        with pytest.raises(OSError, match="No space left"):
            getattr(oracle, call)(*arguments[call])
    assert isinstance(oracle.failure, OSError)
    with ThreadPoolExecutor(1) as pool:  # another thread would wait for ever
        assert pool.submit(oracle.create_trial, "tuner9").result(20).status == "RUNNING"


def test_an_inactive_entry_of_the_same_name_takes_no_value_away(play):
    def build(hp):
        kind = hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["a"]):
            few = hp.Choice("units", [1, 2])
        with hp.conditional_scope("kind", ["b"]):
            many = hp.Choice("units", [100, 200])
        return few if kind == "a" else many

    hp = kt.HyperParameters()
    build(hp)
    oracle = play.make(RandomOracle, hyperparameters=hp, max_trials=None)
    trials = play.run(oracle, build)
    assert sorted((values["kind"], values["units"]) for values in trials) == [("a", 1), ("a", 2), ("b", 100), ("b", 200)]
    assert [entry["values"] for entry in play.ledger()] == trials


def test_a_search_with_an_overridden_conditional_entry_ends(play):
    def build(hp):
        kind = hp.Choice("kind", ["dense", "conv"])
        with hp.conditional_scope("kind", ["conv"]):
            hp.Choice("kernel", [3, 5, 7])
        return float(kind == "conv")

    hp = kt.HyperParameters()
    hp.Fixed("kernel", 5)
    oracle = play.make(RandomOracle, hyperparameters=hp, max_trials=50)
    tried = [tuple(sorted(values.items())) for values in play.run(oracle, build)]
    assert len(tried) == len(set(tried)) < 50


def test_a_trial_ended_by_its_name_keeps_its_values_and_is_judged_like_any_other(play):
    oracle = play.make(play.listener, known=True)
    trial = oracle.create_trial("tuner0")
    values = dict(trial.hyperparameters.values)
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    oracle.end_trial(trial.trial_id, "COMPLETED")
    assert oracle.trials[trial.trial_id].hyperparameters.values == values
    assert oracle.trials[trial.trial_id].score == 1.0
    other = oracle.create_trial("tuner0")
    oracle.update_trial(other.trial_id, {"score": float("inf")})
    oracle.end_trial(other.trial_id, "COMPLETED")
    assert oracle.trials[other.trial_id].status == "FAILED"


def test_what_runs_is_not_proposed_again_under_a_space_that_has_grown(play):
    def grows(hp):
        return hp.Int("a", 0, 1) + (hp.Int("late", 0, 1) if hp.get("a") else 0)

    hp = kt.HyperParameters()
    hp.Int("a", 0, 1)
    oracle = play.make(RandomOracle, hyperparameters=hp, initial_points=[{"a": 0}, {"a": 1}], max_trials=None)
    running = [oracle.create_trial(f"tuner{i}") for i in range(2)]
    larger = oracle.get_space()
    larger.Int("late", 0, 1)  # another process has met it
    oracle.update_space(larger)
    asked = []
    while (trial := oracle.create_trial("tuner2")).status == "RUNNING":
        asked.append((trial.hyperparameters.values["a"], trial.hyperparameters.values["late"]))
        play.finish(oracle, trial, 0.0)
    assert [t.hyperparameters.values["a"] for t in running] == [0, 1]
    assert sorted(asked) == [(0, 1), (1, 1)]  # late = 0 is what the two that run will get
