"""The account of a search, and what the policy believed."""

import math
import re
import sys
from dataclasses import FrozenInstanceError, replace
from types import MappingProxyType

import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search import Account, ablation_path, account, beliefs, importance
from kerasnas.record import RejectedRecord


@pytest.fixture(scope="module")
def told(planted):
    return account(planted(50))


def sentence(account, name):
    return next(s for s in account if name in s.evidence)


def test_the_account_tells_what_is_so(told):
    text = str(told)
    assert text.startswith("The search began 50 trials, and 50 came to a score.")
    assert set(sentence(told, "shares").evidence["shares"]) == {"a", "b", "d"}
    assert "whether c matters for score at all" in sentence(told, "p_values").text
    assert sentence(told, "gain").evidence["gain"] > 2  # 3a + 2d over a = 0, b off
    assert 0 <= sentence(told, "chance").evidence["chance"] <= 1
    assert "c" in sentence(told, "worst").evidence["worst"]
    assert "a" not in sentence(told, "worst").evidence["worst"]
    assert len(text) < 3000  # a page


def test_every_number_of_a_sentence_is_in_its_evidence(told):
    """Of what a sentence says in digits, each number is one of its evidence, rounded as it is written."""

    def numbers(value):
        if isinstance(value, bool):
            return []
        if isinstance(value, int | float):
            return [value, 100 * value]
        if hasattr(value, "values"):
            return [n for item in value.values() for n in numbers(item)]
        return [n for item in value for n in numbers(item)] if isinstance(value, tuple | list) else []

    for one in told:
        assert one.evidence
        known = [abs(n) for value in one.evidence.values() for n in numbers(value)]
        text = one.text.replace("95 % interval", "").replace("with a ", "")
        if "instead of" in text:  # the values of the winner and its rival
            text = text.split("predicts")[1]
        for digits in re.findall(r"\d+\.?\d*", text):
            assert any(math.isclose(float(digits), n, rel_tol=0.06, abs_tol=0.51 if n > 1 else 0.006) for n in known), one


def test_what_the_model_is_sure_of_and_the_test_is_not_is_said_to_be_so(planted):
    record = planted(50)
    known = importance(record, resamples=20)
    doubted = tuple(replace(p, verdict="not enough trials", p_value=0.2) if p.name == "a" else p for p in known.parameters)
    told = account(record, importances=[replace(known, parameters=doubted)])
    assert "a" in sentence(told, "steps").evidence["steps"]
    doubts = next(one for one in told if "stricter test" in one.text)
    assert doubts.text.startswith("What is said of a is what the model of the score expects")
    assert dict(doubts.evidence["p_values"]) == {"a": 0.2}
    assert "stricter test" not in str(account(record, importances=[known]))  # of a and d it says what the model says


def test_the_default_may_win(make_record, planted_truth, planted):
    """The default is tried first where nothing else is said: 41 trials, of which it is the best."""
    space, rng = planted(1).space, np.random.default_rng(0)
    space = [{**entry, "default": 1.0} if entry["name"] == "a" else entry for entry in space]
    others = [{"a": float(rng.random()), "b": "off", "c": float(rng.random())} for _ in range(40)]
    configurations = [{"a": 1.0, "b": "off", "c": 0.0}, *others]
    told = account(make_record(space, configurations, [planted_truth(values) for values in configurations]))
    assert "The winner is the default configuration." in str(told)
    assert "has a chance of" in str(told)  # and what follows is told, too


def test_what_was_measured_is_told_though_no_model_predicts_it(planted, make_record):
    record = planted(12)
    noise = make_record(record.space, [t.values for t in record.trials], np.random.default_rng(5).normal(size=12))
    path = ablation_path(noise).with_measured(lambda values: values["a"])
    assert not path.check.is_reliable
    told = account(noise, path=path)
    assert told[-1].text == path.finding
    assert "by a model that cannot rank unseen trials" in path.finding
    assert told[-1].evidence["measured"] == path.measured
    assert account(noise)[-1] == account(noise, path=ablation_path(noise))[-1]  # nothing was measured


def test_an_account_is_frozen(told):
    assert isinstance(told, tuple)
    with pytest.raises(FrozenInstanceError):
        told[0].text = "It went well."
    with pytest.raises(TypeError):
        told[0].evidence["trials"] = 1000


def test_few_noisy_trials_claim_little(planted):
    for seed in range(3):
        text = str(account(planted(15, noise=1.5, seed=seed)))
        assert re.search(r"not enough trials to tell whether .*\bc\b", text)
        claims = re.findall(r"([a-d]) \(\d+ %", text)
        assert "c" not in claims


def test_a_score_of_noise_is_no_ground_for_predictions(planted, make_record):
    record = planted(12)
    noise = make_record(record.space, [t.values for t in record.trials], np.random.default_rng(5).normal(size=12))
    told = account(noise)
    assert "not enough trials for a model that ranks unseen ones" in str(told)
    assert not any("gain" in one.evidence or "chance" in one.evidence for one in told)


@pytest.mark.parametrize("scores", [[None, None], [None, 0.5], [0.1, 0.2, 0.3, None]])
def test_hardly_any_trials(planted, make_record, scores):
    record = planted(len(scores))
    told = account(make_record(record.space, [t.values for t in record.trials], scores))
    assert "not enough trials to explain the search any further" in str(told)
    assert f"{scores.count(None)} trial" in str(told)
    assert isinstance(told, Account)


def test_what_was_stopped_and_rejected_is_told(planted):
    record = planted(20)
    stopped = replace(record.trials[3], stopped={"rule": "asha", "expected": 1.0})
    rejected = (RejectedRecord({}, "too large", None), RejectedRecord({}, "twin", "003"))
    told = account(replace(record, trials=(*record.trials[:3], stopped, *record.trials[4:]), rejected=rejected))
    assert "1 trial was stopped early; 1 of them" in str(told)
    assert dict(sentence(told, "rejected").evidence) == {"rejected": 2, "twins": 1}


def test_several_objectives_have_an_account(planted):
    record = planted(20)
    trials = tuple(
        replace(t, score=float(i), metrics=MappingProxyType({"error": -t.score, "size": t.values["c"]}))
        for i, t in enumerate(record.trials)
    )
    objectives = (("error", "min"), ("size", "min"))
    several = replace(record, trials=trials, objective="multi_objective", direction="min", objectives=objectives)
    told = account(several)
    assert sentence(told, "front").evidence["objectives"] == 2
    assert trials[sentence(told, "knee").evidence["knee"] - 1] is several.knee_point()
    shares = [set(one.evidence["shares"]) for one in told if "shares" in one.evidence]
    assert shares[1] == {"c"}  # of the size
    assert "a" in shares[0]
    assert "c" not in shares[0]
    assert "matters for size beyond chance" in str(told)
    assert not any("gain" in one.evidence for one in told)  # it would have no unit
    known = tuple(importance(several, objective=name) for name, _ in objectives)
    assert account(several, importances=known) == told


def test_what_is_known_of_importance_is_not_computed_again(planted, monkeypatch):
    record = planted(12)
    told, known = account(record), importance(record)
    monkeypatch.setattr(sys.modules[account.__module__], "importance", None)
    assert account(record, importances=[known]) == told
    with pytest.raises(InvalidArgument, match="importances"):
        account(record, importances=["known"])


def test_a_default_that_was_tried_is_named(additive, make_record):
    record = additive(20)
    default = {"rate": 0.0, "kernel": 3, "norm": False}
    values = [*(dict(t.values) for t in record.trials), default]
    assert "which was not tried itself" in str(account(record))
    told = account(make_record(record.space, values, [*(t.score for t in record.trials), 0.0]))
    assert "default configuration, which is that of trial 21, the winner gains" in str(told)
    assert sentence(told, "default").evidence["default"] == 21


def test_a_gain_over_a_default_that_is_like_no_trial_is_said_to_reach_beyond_them(additive, make_record):
    record = additive(60)
    assert "reaches beyond" not in str(account(record))
    far = [trial for trial in record.trials if trial.values["rate"] > 0.1 and trial.values["norm"]]
    told = account(make_record(record.space, [dict(t.values) for t in far], [t.score for t in far]))
    assert "no trial was like the default (the most similar differs in 2 hyperparameters)" in str(told)
    assert sentence(told, "unlike").evidence["unlike"] == 2


def test_luck_is_told_by_a_model_that_ranks_trials_alone(planted, make_record, monkeypatch):
    record = planted(20)
    noise = make_record(record.space, [t.values for t in record.trials], np.random.default_rng(5).normal(size=20))
    for one in (record, noise):
        other = next(trial for trial in one.completed if trial is not one.best)
        monkeypatch.setattr(type(one), "preferred", property(lambda self, other=other: other))
        assert ("partly luck" in str(account(one))) == (one is record)


@pytest.mark.parametrize(("costs", "which"), [((None, None), "earliest"), ((3, 3), "earliest"), ((3, 2), "cheapest")])
def test_of_equals_it_is_said_which_wins(costs, which, planted):
    record = planted(20)
    best = max(trial.score for trial in record.trials)
    equals = [
        replace(t, score=best, metrics=MappingProxyType({} if cost is None else {"macs": cost}))
        for t, cost in zip(record.trials, costs, strict=False)
    ]
    others = [replace(trial, score=min(trial.score, best - 1)) for trial in record.trials[2:]]
    assert f"of equals the {which} is the winner" in str(account(replace(record, trials=(*equals, *others))))


def test_a_record_is_asked_for():
    for function in (account, beliefs):
        with pytest.raises(InvalidArgument, match="SearchRecord"):
            function("folder")


def test_beliefs_are_those_of_the_policy(planted, make_record):
    record = planted(4, noise=0.0)
    values = [dict(t.values) for t in record.trials]
    scores = [t.score for t in record.trials]
    policies = [None, {"b": {"off": 0.5, "on": 0.5}, "c": {"0 to 1": 1.0}}, {"b": {"off": 0.1, "on": 0.9}}, None]
    record = make_record(record.space, values, scores, policies=policies)
    told = beliefs(record)
    chosen = record.best.values["b"]
    assert told.trials[0].entropy is None
    assert told.trials[3].winner is None
    assert told.trials[1].entropy == {"b": pytest.approx(1.0)}
    assert told.trials[2].entropy["b"] == pytest.approx(-(0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / math.log(2))
    assert told.trials[2].winner["b"] == policies[2]["b"][chosen]
    assert told.trials[1].winner["a"] is None  # the policy did not know it
    assert told.is_recorded
    assert {row["trial"] for row in told.rows} == {2, 3}
    assert f"b = {chosen}: 50% ->" in str(told)
    assert "went from 1.00 to 0.47" in str(account(make_record(record.space, values * 2, scores * 2, policies=policies * 2)))


def test_the_bin_of_a_range_is_found(make_record, random_record):
    """The labels are those that a policy of the package writes."""
    from kerasnas.strategies.encoding import Encoding
    from kerasnas.strategies.policy import AutoregressivePolicy

    def declare(hp):
        hp.Float("lr", 1e-4, 1e-1, sampling="log")
        hp.Int("units", 8, 512)
        hp.Boolean("norm")

    record = random_record(declare, lambda v: -math.log10(v["lr"]), 12)
    policy = AutoregressivePolicy(Encoding(record.decisions)).beliefs()
    with_policy = make_record(
        record.space, [t.values for t in record.trials], [t.score for t in record.trials], policies=[policy] * 12
    )
    winner = beliefs(with_policy).trials[-1].winner
    assert winner["lr"] == pytest.approx(1 / 16)
    assert winner["units"] == pytest.approx(1 / 16, rel=0.1)
    assert winner["norm"] == pytest.approx(1 / 2)


def test_a_search_without_a_policy_says_so(planted):
    told = beliefs(planted(5))
    assert not told.is_recorded
    assert told.rows == []
    assert "no policy" in str(told)
