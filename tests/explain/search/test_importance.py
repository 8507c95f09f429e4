"""Importance against closed forms: shares of the variance when the space is drawn uniformly.

The trials are those of random search: a search that learns varies little what it has found out, and importance in its trials is
another quantity than importance in the space.
"""

import logging
import sys

import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from kerasnas.errors import InvalidArgument, MissingExtra
from kerasnas.explain.search import importance
from kerasnas.explain.search.evidence import Evidence
from kerasnas.explain.search.main_effects import _without
from kerasnas.explain.search.optuna_importance import optuna_importance
from kerasnas.explain.search.permuted import permuted
from kerasnas.oracles import RandomOracle
from kerasnas.record import SearchRecord
from kerasnas.strategies import Discrete, Range
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.one_thread import one_thread

NAMES = ("a", "b", "c", "d")


def test_fifty_trials_explain_the_planted_search(planted, planted_shares):
    covered = dict.fromkeys(NAMES, 0)
    for seed in range(3):
        told = importance(planted(50, seed=seed))
        assert [told[name].verdict for name in NAMES] == ["matters", "matters", "not enough trials", "matters"]
        assert told.parameters[0].name == "a"
        for name in NAMES:
            covered[name] += told[name].low <= planted_shares[name] <= told[name].high
            assert told[name].share == pytest.approx(planted_shares[name], abs=0.12)
        assert sum(p.share for p in told.parameters) == pytest.approx(1)
    # That of c begins at 0, its truth. Of the 9 others 6 or fewer hold theirs once in 125 times, were they independent.
    assert sum(covered[name] for name in "abd") >= 7


def test_what_is_known_of_one_decision_says_nothing_of_another(planted):
    """d is there where b is on: what is told of a alone must not tell that, or b would be judged against itself."""
    for seed in range(3):
        evidence = Evidence.of(planted(50, seed=seed))
        units = Encoding(evidence.decisions).encode(evidence.choices)
        on = ~np.isnan(units[:, 3])
        expected = _without(evidence, units, [0])
        slope, middle = np.polyfit(units[:, 0], expected, 1)
        rest = expected - slope * units[:, 0] - middle
        assert abs(rest[on].mean() - rest[~on].mean()) < 0.15  # of the 1 by which the score differs
        assert slope == pytest.approx(3, abs=0.8)


@pytest.mark.parametrize("method", ["reward_model", "ped_anova"])
def test_fifteen_noisy_trials_do_not_tell(planted, method):
    for seed in range(3):
        told = importance(planted(15, noise=1.5, seed=seed), method=method, resamples=20)
        assert told["c"].verdict == told["d"].verdict == "not enough trials"
        assert told["c"].low == told["d"].low == 0
        assert "not enough trials" in str(told)


def test_a_score_of_noise_makes_nothing_matter(planted, make_record):
    space = planted(5).space
    claims = 0
    for seed in range(4):
        trials = planted(20, seed=seed).trials
        noise = np.random.default_rng([seed, 1]).normal(size=20)
        told = importance(make_record(space, [t.values for t in trials], noise), resamples=20, seed=seed)
        claims += any(p.verdict == "matters" for p in told.parameters)
    assert claims <= 1  # each with a chance of 1 in 20: more than one once in 70 times, and the seeds are fixed


@pytest.mark.parametrize("method", ["reward_model", "ped_anova", "fanova"])
def test_the_only_hyperparameter_has_share_one(random_record, method):
    record = random_record(lambda hp: hp.Float("x", 0.0, 1.0), lambda values: values["x"], 30)
    told = importance(record, method=method, resamples=20)
    assert told["x"].share == pytest.approx(1)
    assert told["x"].verdict == "matters"
    assert told.method == method


def test_fanova_finds_the_strongest_and_drops_no_conditional_hyperparameter(planted):
    told = importance(planted(24, noise=0.1), method="fanova", resamples=20)
    assert told.parameters[0].name == "a"
    assert told["a"].verdict == "matters"
    assert told["c"].verdict == "not enough trials"
    assert {p.name for p in told.parameters} == set(NAMES)  # d is in half of the trials: Optuna's fANOVA would drop it


def test_ped_anova_finds_what_the_best_tenth_has_in_common(planted):
    """Of the best tenth, 3a + 2d where b is on, the Pearson divergences are known.

    It is a fifth of the unit square of (1 - a, 1 - d): a triangle of area s^2 / 12 = 1/5 with the sides s/3 and s/2. The
    density of a coordinate falls linearly to 0 at its side r, and its divergence from a uniform one is 4 / (3 r) - 1; that of
    d, which is active in 1/2 of all trials and in all of the best, counts twice. So a and d matter about alike, unlike their
    shares of the variance. (b has the divergence 1, of which Optuna's smoothing of categories leaves little.)
    """
    side = np.sqrt(12 / 5)
    a_to_d = (4 / side - 1) / (2 * (8 / (3 * side) - 1))
    told = importance(planted(200, noise=0.1), method="ped_anova", resamples=20)
    assert told["a"].share / told["d"].share == pytest.approx(a_to_d, rel=0.5)
    assert {p.name for p in told.parameters[:2]} == {"a", "d"}
    assert told["a"].verdict == told["d"].verdict == "matters"
    assert told["c"].verdict == "not enough trials"


def test_fanova_finds_a_conditional_hyperparameter_as_large_as_its_variance(random_record):
    def declare(hp):
        hp.Choice("b", ["off", "on"])
        with hp.conditional_scope("b", ["on"]):
            hp.Choice("d", [-1, 1], ordered=False)

    # Var(E[y | b]) = 1/4, and d is +-1 half of the time: 1/2.
    record = random_record(declare, lambda v: v["d"] + 0.5 if v["b"] == "on" else -0.5, 200)
    decisions = record.decisions
    units = Encoding(decisions).encode([dict(t.values) for t in record.trials])
    scores = np.array([t.score for t in record.trials])
    found = optuna_importance(decisions, units, scores, method="fanova", chances=np.array([1, 0.5]))
    assert found == pytest.approx([1 / 3, 2 / 3], abs=0.08)


def test_fanova_of_an_additive_score_gives_shares_of_the_variance():
    decisions = (Discrete(name="x", values=(0, 1, 2)), Discrete(name="y", values=(0, 1)), Discrete(name="z", values=(0, 1)))
    grid = np.array([(x, y, z) for x in range(3) for y in range(2) for z in range(2)] * 4)
    units = (grid + 0.5) / np.array([3, 2, 2])
    told = optuna_importance(decisions, units, 2.0 * grid[:, 0] + grid[:, 1], method="fanova", chances=np.ones(3))
    assert told == pytest.approx(np.array([4 * 2 / 3, 1 / 4, 0]) / (8 / 3 + 1 / 4), abs=0.05)


def test_what_none_of_the_best_trials_has_is_nothing_to_ped_anova():
    rng = np.random.default_rng(0)
    space = (Range(name="x", low=0.0, high=1.0), Range(name="y", low=0.0, high=1.0))
    units = rng.random((80, 2))
    units[::2, 1] = np.nan
    for gain in (-10, 10):  # of the trials with y, in which y matters most
        scores = units[:, 0] + np.where(np.isnan(units[:, 1]), 0, 3 * units[:, 1] + gain)
        x, y = optuna_importance(space, units, scores, method="ped_anova", chances=np.array([1, 0.5]))
        assert x > 0
        assert y == 0 if gain < 0 else y > x


def test_a_logarithmic_range_counts_on_its_own_scale():
    rng = np.random.default_rng(0)
    linear = (Range(name="x", low=0.0, high=1.0), Range(name="y", low=0.0, high=1.0))
    log = (Range(name="x", low=1e-4, high=1e-1, scale="log"), linear[1])
    units = rng.random((40, 2))
    scores = 2 * units[:, 0] + units[:, 1]
    for method in ("ped_anova", "fanova"):
        same = [optuna_importance(space, units, scores, method=method, chances=np.ones(2)) for space in (linear, log)]
        assert same[0] == pytest.approx(same[1])


def test_failed_trials_are_left_out_and_minimising_is_maximising_the_negative(planted, make_record):
    up, down = planted(16), planted(16, direction="min")
    first, second = (importance(record, resamples=20) for record in (up, down))
    assert first.rows == second.rows
    failing = make_record(
        up.space, [*(t.values for t in up.trials), up.trials[0].values], [*(t.score for t in up.trials), None]
    )
    assert importance(failing, resamples=20).rows == first.rows


def test_a_stopped_trial_counts_by_its_expected_score(planted):
    from dataclasses import replace

    record = planted(16)
    last = record.trials[-1]
    stopped = replace(last, score=-99.0, stopped={"rule": "asha", "expected": last.score})
    cut = replace(record, trials=(*record.trials[:-1], stopped))
    assert importance(cut, resamples=20).rows == importance(record, resamples=20).rows


def test_one_of_several_objectives(planted):
    from dataclasses import replace
    from types import MappingProxyType

    record = planted(24)
    trials = tuple(
        replace(t, score=float(i), metrics=MappingProxyType({"error": -t.score, "size": t.values["c"]}))
        for i, t in enumerate(record.trials)
    )
    several = replace(
        record, trials=trials, objective="multi_objective", direction="min", objectives=(("error", "min"), ("size", "min"))
    )
    assert importance(several, objective="size", resamples=20)["c"].share == pytest.approx(1, abs=0.05)
    assert importance(several, objective="error", resamples=20).rows == importance(record, resamples=20).rows
    assert importance(several, resamples=20)["a"].verdict == "not enough trials"  # the score that it was given is the order


def test_what_has_one_value_is_listed_as_fixed(random_record):
    def declare(hp):
        hp.Float("x", 0.0, 1.0)
        hp.Fixed("classes", 10)

    told = importance(random_record(declare, lambda v: v["x"], 12), resamples=20)
    assert told["classes"].verdict == "fixed"
    assert told["classes"].active == 12
    with pytest.raises(KeyError):
        told["y"]
    assert [row["name"] for row in told.rows] == ["x", "classes"]


def test_equal_scores_and_equal_configurations_tell_nothing(planted, make_record):
    record = planted(12)
    for method in ("reward_model", "ped_anova", "fanova"):
        flat = make_record(record.space, [t.values for t in record.trials], [1.0] * 12)
        told = importance(flat, method=method, resamples=20)
        assert {p.verdict for p in told.parameters} == {"not enough trials"}


def test_the_same_seed_tells_the_same(planted):
    record = planted(12)
    assert importance(record, resamples=20) == importance(record, resamples=20)
    assert importance(record, resamples=20, seed=1) != importance(record, resamples=20)


def test_optuna_says_nothing(planted, capfd):
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    importance(planted(12), method="ped_anova", resamples=20)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").level == before


def test_without_optuna_the_install_line_is_told(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kerasnas\[explain\]'"):
        importance(planted(12), method="ped_anova", resamples=20)
    assert importance(planted(12), resamples=20).method == "reward_model"


@pytest.mark.parametrize("wrong", [{"method": "shap"}, {"seed": -1}, {"seed": 0.5}, {"resamples": 19}, {"objective": "size"}])
def test_arguments_are_checked(planted, wrong):
    with pytest.raises(InvalidArgument, match=f"{next(iter(wrong))}"):
        importance(planted(12), **wrong)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(max_examples=30)
def test_a_useless_copy_has_the_same_values_in_the_same_rows_of_activity(seed, rows):
    rng = np.random.default_rng(seed)
    units = np.where(rng.random((rows, 3)) < 0.3, np.nan, rng.random((rows, 3)))
    copies = permuted(units, rng)
    assert (np.isnan(copies) == np.isnan(units)).all()
    assert np.sort(copies, axis=0) == pytest.approx(np.sort(units, axis=0), nan_ok=True)


def test_a_search_of_our_oracle_is_explained(tmp_path, planted_declare, planted_truth, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    oracle = RandomOracle(objective=kt.Objective("score", "max"), max_trials=40, seed=0)
    oracle.verbose = 0
    oracle._set_project_dir(str(tmp_path), "p")
    hp = oracle.get_space()
    planted_declare(hp)
    oracle.update_space(hp)
    rng = np.random.default_rng(0)
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        oracle.update_trial(trial.trial_id, {"score": planted_truth(trial.hyperparameters.values) + 0.2 * rng.normal()})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    told = importance(SearchRecord.load(tmp_path / "p"), resamples=20)
    assert told.trials == 40
    assert [told[name].verdict for name in NAMES] == ["matters", "matters", "not enough trials", "matters"]


def test_one_thread_and_back():
    before = threadpool_info()
    seen = one_thread(threadpool_info)()
    assert all(pool["num_threads"] == 1 for pool in seen if pool["user_api"] == "blas")
    assert threadpool_info() == before
