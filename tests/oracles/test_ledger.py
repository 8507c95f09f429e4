"""The decision ledger: it says truly how each trial was proposed, and what came of it, once."""

import json
import math

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.oracles import ReinforceOracle, StrategyOracle
from kerasnas.record import SearchRecord
from kerasnas.strategies import Proposal, RandomSearch


class Mean(RandomSearch):
    """Expects the mean of what it has seen, and says all sorts of things."""

    def start(self, decisions):
        super().start(decisions)
        self.scores, self.pendings = [], []

    def propose(self, rng, pending=()):
        self.pendings.append(list(pending))
        why = {"mean": np.float32(0.5), "rows": np.arange(2), 3: float("nan"), "bounds": (1, math.inf), "who": self.__class__}
        return Proposal(super().propose(rng), phase="mean", facts=why, entropy=np.float64(-math.inf))

    def observe(self, choices, score):
        self.scores.append(score)

    def advantage(self, choices, score):
        return score - float(np.nanmean(self.scores)) if self.scores else None


def mean(**kwargs):
    return StrategyOracle(Mean(), **kwargs)


def scores(values):
    """A scoring function that gives `values` in turn; None fails a trial."""
    left = iter(values)
    return lambda hp: next(left)


def test_what_the_strategy_says_is_kept_as_strict_json(play):
    oracle = play.make(mean, known=True, max_trials=1)
    play.step(oracle)
    (entry,) = play.ledger()
    assert entry["facts"] == {
        "mean": 0.5, "rows": [0, 1], "3": None, "bounds": [1, None], "who": str(Mean),
    }  # fmt: skip
    assert (entry["strategy"], entry["phase"], entry["entropy"]) == ("Mean", "mean", None)
    assert (entry["number"], entry["after"], entry["pending"], entry["earlier"]) == (0, 0, 0, 0)
    assert entry["beliefs"] is None


def test_the_advantage_is_that_over_what_was_expected_before_the_score_came(play):
    oracle = play.make(mean, known=True, max_trials=4)
    play.run(oracle, scores([1.0, 4.0, None, 2.0]))
    ledger = play.ledger()
    assert [entry["advantage"] for entry in ledger] == [None, 3.0, None, -0.5]
    assert [entry["observed"] for entry in ledger] == [0, 1, 2, 3]
    assert [entry["after"] for entry in ledger] == [0, 1, 2, 3]


def test_the_advantage_of_a_score_to_be_minimised_is_better_when_it_is_lower(play):
    oracle = play.make(mean, known=True, max_trials=2, objective=kt.Objective("score", "min"))
    play.run(oracle, scores([1.0, 4.0]))
    assert play.ledger()[1]["advantage"] == -3.0


def test_before_a_trial_ends_nothing_is_said_of_its_outcome(play):
    oracle = play.make(mean, known=True)
    oracle.create_trial("tuner0")
    (entry,) = play.ledger()
    assert (entry["observed"], entry["advantage"]) == (None, None)


def test_pending_trials_are_told_to_the_strategy_as_choices_of_its_own(play):
    oracle = play.make(mean, known=True)
    trials = [oracle.create_trial(f"tuner{i}") for i in range(3)]
    play.finish(oracle, trials[1], 0.5)
    oracle.create_trial("tuner1")
    first, second, third = (dict(trial.hyperparameters.values) for trial in trials)
    assert oracle.strategy.pendings == [[], [first], [first, second], [first, third]]
    ledger = play.ledger()
    assert [entry["pending"] for entry in ledger] == [0, 1, 2, 2]
    assert [entry["after"] for entry in ledger] == [0, 0, 0, 1]


def test_a_trial_waiting_for_its_retry_is_not_pending_twice(play):
    oracle = play.make(mean, known=True, max_retries_per_trial=1)
    trial = oracle.create_trial("tuner0")
    play.finish(oracle, trial, math.nan)
    again = oracle.create_trial("tuner0")
    oracle.create_trial("tuner1")
    assert oracle.strategy.pendings[-1] == [again.hyperparameters.values]


def test_a_resumed_search_leaves_what_was_written_as_it_is(play):
    oracle = play.make(mean, known=True, max_trials=4)
    play.step(oracle, scores([1.0])), play.step(oracle, scores([4.0]))
    file = play.folder / "p" / "trial_1" / "decision.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"advantage": 123.0}))
    resumed = play.make(mean, max_trials=4)
    resumed.reload()
    play.run(resumed, scores([5.0, 6.0]))
    assert [entry["advantage"] for entry in play.ledger()] == [None, 123.0, 2.5, pytest.approx(6 - 10 / 3)]


def test_an_outcome_that_a_kill_cut_off_is_added_after_the_resume(play):
    oracle = play.make(mean, known=True, max_trials=3)
    play.step(oracle, scores([1.0]))
    before = play.ledger()
    play.step(oracle, scores([4.0]))
    file = play.folder / "p" / "trial_1" / "decision.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"observed": None, "advantage": None}))
    resumed = play.make(mean, max_trials=3)
    resumed.reload()
    resumed.create_trial("tuner0")
    assert play.ledger()[:2] == [*before, whole]


def test_a_strategy_that_repeats_itself_is_not_credited_with_what_it_did_not_propose(play):
    class Settled(RandomSearch):
        def propose(self, rng, pending=()):
            return Proposal({"a": 1, "b": True}, phase="policy", predicted={"mean": 9.0, "std": 1.0})

    def small(hp):
        return hp.Int("a", 1, 3) * (1 if hp.Boolean("b") else -1)

    oracle = play.make(lambda **kw: StrategyOracle(Settled(), **kw), max_trials=None)
    play.discover(oracle, small)
    trials = play.run(oracle, small)
    assert len(trials) == 6
    first, *others = play.ledger()
    assert (first["phase"], first["predicted"]) == ("policy", {"mean": 9.0, "std": 1.0})
    for values, entry in zip(trials[1:], others, strict=True):
        assert entry["phase"] == "novelty"
        assert "predicted" not in entry
        assert entry["parent"] == {"a": 1, "b": True}
        assert entry["mutation"] == {n: [entry["parent"][n], values[n]] for n in values if values[n] != entry["parent"][n]}
        assert entry["mutation"]


def test_the_policy_of_each_proposal_is_kept_and_its_probabilities_are_those_of_the_policy(play):
    oracle = play.make(ReinforceOracle, known=True)
    play.run(oracle)
    ledger = play.ledger()
    assert ledger[0]["beliefs"]["kind"] == pytest.approx({"conv": 0.5, "dense": 0.5})
    assert ledger[-1]["beliefs"]["kind"]["conv"] > 0.55  # the better kind by far
    record = SearchRecord.load(play.folder / "p")
    assert record.trials[-1].decision == ledger[-1]
    assert record.trials[-1].policy == ledger[-1]["beliefs"]
    with pytest.raises(TypeError):
        record.trials[-1].decision["beliefs"]["kind"]["conv"] = 0.0
