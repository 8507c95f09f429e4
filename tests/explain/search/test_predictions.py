"""Ablation paths, counterfactuals and Shapley values against closed forms."""

import itertools
from dataclasses import replace

import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.errors import InvalidArgument
from kerasnas.explain.search import ablation_path, account, counterfactuals, shapley_ablation
from kerasnas.explain.search.evidence import Evidence, default_choices
from kerasnas.explain.search.mixture import Mixture
from kerasnas.explain.search.reward_posterior import RewardPosterior, _root
from kerasnas.explain.search.shapley_ablation import _drawn, _exact
from kerasnas.spaces import ConvDense
from kerasnas.strategies.space import random_choices


def terms_of(values):
    """Return what each decision of the additive search contributes over the default."""
    return {"rate": values["rate"], "kernel": {3: 0.0, 5: 2.0, 7: -1.0}[values["kernel"]], "norm": 0.4 * values["norm"]}


@pytest.fixture(scope="module")
def record(additive):
    return additive(50)


def test_ablation_steps_follow_the_contributions_and_sum_to_the_gain(record, additive):
    path = ablation_path(record, train=additive.score)
    terms = terms_of(dict(path.steps[-1].values))
    expected = sorted((name for name in terms if terms[name] != 0), key=lambda name: -terms[name])
    assert [step.name for step in path.steps] == expected
    for step in path.steps:
        assert step.measured == pytest.approx(terms[step.name])
        assert abs(step.gain - step.measured) < 3 * step.std + 0.02
    assert sum(step.gain for step in path.steps) == pytest.approx(path.gain)
    assert sum(step.measured for step in path.steps) == pytest.approx(path.measured)
    assert dict(path.start) == {"rate": 0.0, "kernel": 3, "norm": False}
    assert dict(path.steps[-1].values) == dict(record.best.values)
    assert "measured" in str(path)
    assert path.check.is_reliable


def test_ablation_of_a_minimised_objective_is_that_of_the_maximised_one(additive):
    up, down = (ablation_path(additive(30, direction=way)) for way in ("max", "min"))
    assert [step.name for step in up.steps] == [step.name for step in down.steps]
    assert up.gain == pytest.approx(down.gain)


def test_training_is_repeated_and_its_error_is_told(record, additive):
    rng, trained = np.random.default_rng(0), []

    def train(values):
        trained.append(values)
        return additive.score(values) + 0.3 * rng.normal()

    path = ablation_path(record, train=train, repeats=9)
    assert len(trained) == 9 * (len(path.steps) + 1)
    for step in path.steps:
        assert abs(step.measured - terms_of(step.values)[step.name]) < 4 * step.measured_error
        assert step.measured_error == pytest.approx(0.3 * np.sqrt(2 / 9), rel=0.8)


def test_a_parent_brings_its_children(planted):
    path = ablation_path(planted(50))
    by_name = {step.name: step for step in path.steps}
    assert set(by_name["b"].changes) == {"b", "d"}
    assert by_name["b"].changes["b"] == ("off", "on")
    assert by_name["b"].changes["d"][0] is None
    assert "d" not in by_name


def test_the_winner_may_be_the_default(additive, make_record):
    record = additive(12)
    default = {"rate": 0.0, "kernel": 3, "norm": False}
    same = make_record(record.space, [default] * 6, [1.0] * 6)
    assert ablation_path(same).steps == ()
    assert ablation_path(same).gain == 0
    assert shapley_ablation(same).values == ()
    assert not counterfactuals(same).check.is_reliable


@pytest.mark.parametrize("returned", [float("nan"), None, "good"])
def test_a_training_must_return_a_number(record, returned):
    with pytest.raises(InvalidArgument, match="finite number"):
        ablation_path(record, train=lambda values: returned)


def test_arguments_are_checked(record, make_record, additive):
    with pytest.raises(InvalidArgument, match="repeats"):
        ablation_path(record, repeats=0)
    with pytest.raises(InvalidArgument, match="train"):
        ablation_path(record, train=3)
    with pytest.raises(InvalidArgument, match="at least 4 trials"):
        counterfactuals(make_record(record.space, [dict(t.values) for t in record.trials[:5]], [1, 2, 3, None, None]))
    with pytest.raises(InvalidArgument, match="objective"):
        shapley_ablation(record, objective="latency")
    with pytest.raises(InvalidArgument, match="SearchRecord"):
        counterfactuals("folder")


def test_counterfactuals_of_a_planted_score_are_within_their_deviations(additive):
    inside, count = 0, 0
    for seed in range(4):
        record = additive(40, noise=0.2, seed=seed)
        told = counterfactuals(record)
        for item in told.items:
            truth = additive.score(item.values) - additive.score(dict(told.winner))
            assert abs(item.difference - truth) < 4 * item.std
            inside += abs(item.difference - truth) < 2 * item.std
            count += 1
    assert inside / count > 0.8  # 95 % if the deviations were exact
    assert {item.name for item in told.items} == {"rate", "kernel", "norm"}
    assert {item.instead for item in told.items if item.name == "kernel"} == {3, 7}
    assert all(item.is_loss for item in told.items if item.name == "kernel")
    assert "kernel" not in told.free
    assert "with kernel 3 instead of 5 the model predicts -" in str(told)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_search_that_has_converged_does_not_make_its_beginning_an_outlier(additive, make_record, direction):
    rng, sign = np.random.default_rng(0), 1 if direction == "max" else -1
    began = [dict(trial.values) for trial in additive(10, seed=1).trials]
    converged = [{"rate": rng.uniform(0.97, 1.0), "kernel": 5, "norm": True} for _ in range(60)]
    rows = [{"rate": 0.0, "kernel": 3, "norm": False}, *began, *converged]  # the default first
    scores = [sign * (additive.score(values) + 0.01 * rng.normal()) for values in rows]
    path = ablation_path(make_record(additive(4).space, rows, scores, direction=direction))
    assert path.gain == pytest.approx(3.4, rel=0.05)
    assert path.check.raised == 0
    by_name = {step.name: step.gain for step in path.steps}
    assert by_name == pytest.approx({"rate": 1.0, "kernel": 2.0, "norm": 0.4}, abs=0.2)


def test_a_training_that_has_diverged_does_not_hide_what_the_others_say(additive, make_record):
    record = additive(40, noise=0.05)
    rows, scores = [dict(trial.values) for trial in record.trials], [trial.score for trial in record.trials]
    rows += [{"rate": rate, "kernel": 7, "norm": False} for rate in (0.2, 0.4, 0.9)]
    told = counterfactuals(make_record(record.space, rows, [*scores, -1e3, -1e5, -2e7]))
    assert told.check.raised == 3
    assert told.check.is_reliable
    assert "3 so far below the others that they count as the lowest of these" in str(told.check)
    five = [item for item in told.items if item.name == "kernel" and item.instead == 3]
    assert len(five) == 1
    assert abs(five[0].difference + 2.0) < 2 * five[0].std < 2.0
    same = counterfactuals(make_record(record.space, rows[:4], [1.0, 1.0, 1.0, 1.0]))
    assert same.check.raised == 0


def test_of_many_names_each_is_another_choice_and_a_number_may_be_almost_the_same(random_record):
    def declare(hp):
        hp.Choice("name", list("abcdefghijkl"), ordered=False)
        hp.Float("rate", 0.0, 1.0)

    posterior = RewardPosterior(Evidence.of(random_record(declare, lambda values: values["rate"], 8)))
    taken = posterior.units[0]
    other = np.setdiff1d(
        posterior.encoding.encode([{"name": n, "rate": 0.5} for n in "abcdefghijkl"])[:, 0], posterior.units[:, 0]
    )
    assert posterior.unlike(taken) == 0
    assert posterior.unlike(np.array([taken[0], (taken[1] + 0.05) % 1])) == 0
    assert posterior.unlike(np.array([other[np.abs(other - taken[0]).argmin()], taken[1]])) == 1


def test_what_was_tried_often_does_not_stand_for_the_space(additive, make_record):
    rows = [{"rate": 0.0, "kernel": 7, "norm": False}, *([{"rate": 0.9, "kernel": 5, "norm": True}] * 20)]
    rows += [{"rate": 0.5, "kernel": 5, "norm": False}, {"rate": 0.5, "kernel": 3, "norm": True}]
    scores = [-1e6, *np.linspace(3.2, 3.4, 20), 2.5, 0.9]
    assert RewardPosterior(Evidence.of(make_record(additive(4).space, rows, scores))).check.raised == 1


def test_the_deviation_of_a_difference_is_not_the_sum_of_two(additive):
    record = additive(40, noise=0.2)
    posterior = RewardPosterior(Evidence.of(record))
    near = posterior.encoding.encode([{"rate": 0.50, "kernel": 5, "norm": True}, {"rate": 0.51, "kernel": 5, "norm": True}])
    _, single = posterior.contrast(near, np.eye(2))
    _, difference = posterior.contrast(near, np.array([[1.0, -1.0]]))
    assert difference[0] < 0.3 * np.hypot(*single)
    draws = posterior.draw(near, 20000, np.random.default_rng(0))
    assert (draws[:, 0] - draws[:, 1]).std() == pytest.approx(difference[0], rel=0.05)
    assert draws.std(axis=0) == pytest.approx(single, rel=0.05)


def test_a_model_is_fitted_once_to_the_same_trials_and_anew_to_others(additive, make_record):
    record = additive(12)
    evidence = Evidence.of(record)
    once = RewardPosterior.of(evidence)
    assert RewardPosterior.of(Evidence.of(record)) is once
    rows = [dict(t.values) for t in record.trials]
    scores = [t.score for t in record.trials]
    others = [
        make_record(record.space, rows, [*scores[:-1], scores[-1] + 1]),
        make_record(record.space, rows[:-1], scores[:-1]),
        make_record(record.space, [*rows[:-1], rows[-1] | {"norm": not rows[-1]["norm"]}], scores),
    ]
    fitted = [RewardPosterior.of(Evidence.of(other)) for other in others]
    assert len({id(model) for model in (once, *fitted)}) == 4
    assert RewardPosterior.of(evidence) is once
    for seed in range(1, 5):  # no more than a few are kept
        RewardPosterior.of(Evidence.of(additive(5, seed=seed)))
    again = RewardPosterior.of(evidence)
    assert again is not once
    assert again.mean(again.units) == pytest.approx(once.mean(once.units))


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_root_of_a_covariance_of_any_rank(rank, size, seed):
    half = np.random.default_rng(seed).normal(size=(size, rank))
    covariance = half @ half.T
    for root in (_root(covariance), _root(covariance - 1e-7 * np.eye(size))):  # the second one is indefinite
        assert root @ root.T == pytest.approx(covariance, abs=2e-6)


def test_shapley_values_of_an_additive_score_are_its_terms(record, additive):
    told = shapley_ablation(record)
    terms = terms_of(dict(record.best.values))
    for name, value, std in zip(told.names, told.values, told.stds, strict=True):
        assert abs(value - terms[name]) < 3 * std + 0.02
    assert sum(told.values) == pytest.approx(ablation_path(record).gain)
    assert told.is_well_founded
    assert told.orders is None
    assert [row["gain"] for row in told.rows] == sorted(told.values, reverse=True)


def test_without_a_model_that_ranks_trials_nothing_is_well_founded(additive, make_record):
    record = additive(12)
    noise = np.random.default_rng(3).normal(size=12)
    told = shapley_ablation(make_record(record.space, [t.values for t in record.trials], noise))
    assert not told.is_well_founded
    assert "Not enough trials" in str(told)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_shapley_weights_give_the_mean_over_all_orders(count, seed):
    rng = np.random.default_rng(seed)
    game = {frozenset(s): rng.normal() for r in range(count + 1) for s in itertools.combinations(range(count), r)}
    expected = np.zeros(count)
    orders = list(itertools.permutations(range(count)))
    for order in orders:
        for place, player in enumerate(order):
            expected[player] += (game[frozenset(order[: place + 1])] - game[frozenset(order[:place])]) / len(orders)
    exact = sum(weight * game[subset] for subset, weight in _exact(count).items())
    assert exact == pytest.approx(expected)
    # Orders that are drawn share out the same gain, and of an additive game they find the terms.
    drawn = sum(weight * game[subset] for subset, weight in _drawn(count, rng).items())
    assert drawn.sum() == pytest.approx(game[frozenset(range(count))] - game[frozenset()])
    terms = rng.normal(size=count)
    additive = sum(weight * terms[list(subset)].sum() for subset, weight in _drawn(count, rng).items() if subset)
    assert additive == pytest.approx(terms)


def test_of_many_decisions_orders_are_drawn_and_the_gain_is_shared_out(random_record):
    def declare(hp):
        for i in range(14):
            hp.Choice(f"x{i}", [0, 1], ordered=False)

    record = random_record(declare, lambda v: sum(v.values()), 60)
    told = shapley_ablation(record)
    assert len(told.names) > 8
    assert told.orders == 64
    assert sum(told.values) == pytest.approx(ablation_path(record).gain)
    assert shapley_ablation(record) == told


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_every_mixture_is_a_configuration_and_the_last_is_the_target(planted_conditional, seed):
    record, sample = planted_conditional
    rng = np.random.default_rng(seed)
    source, target = sample(rng), sample(rng)
    mixture = Mixture(record.decisions, record.space, source, target)
    assert mixture(()) == source
    assert mixture(mixture.names) == target
    some = [name for name in mixture.names if rng.random() < 0.5]
    mixed = mixture(some)
    made = {}
    for decision in record.decisions:
        assert (decision.name in mixed) == decision.is_active(made)
        if decision.name in mixed:
            made[decision.name] = mixed[decision.name]


@pytest.fixture(scope="module")
def planted_conditional(random_record):
    from kerasnas.strategies.space import random_choices

    def declare(hp):
        hp.Choice("kind", ["conv", "dense"])
        with hp.conditional_scope("kind", ["conv"]):
            hp.Choice("kernel", [3, 5])
            hp.Boolean("deep")
            with hp.conditional_scope("deep", [True]):
                hp.Int("layers", 2, 6)
        with hp.conditional_scope("kind", ["dense"]):
            hp.Int("units", 1, 500, sampling="log")
        hp.Fixed("classes", 10)

    record = random_record(declare, lambda v: float(len(v)), 5)
    return record, lambda rng: random_choices(record.decisions, rng)


def test_the_default_configuration_is_kerastuners(planted_conditional):
    record, _ = planted_conditional
    assert default_choices(record) == {"kind": "conv", "kernel": 3, "deep": False, "classes": 10}


def test_noise_in_a_large_space_is_not_taken_for_a_model_that_ranks():
    """With 31 hyperparameters and 30 trials, tuning alone brings scores of noise to a rank correlation of 0.75."""
    hp = kt.HyperParameters()
    ConvDense.tiny((8, 8, 1), 10).declare_hyperparameters(hp)
    decisions, rng = tuple(decisions_of(entries_of(hp))), np.random.default_rng(7)
    choices = tuple(random_choices(decisions, rng) for _ in range(30))
    noise = Evidence(decisions, tuple(range(1, 31)), choices, rng.standard_normal(30), 0, 1, "noise")
    check = RewardPosterior(noise).check
    assert check.low > 0  # so that it would be believed
    assert check.by_luck > 0.05
    assert not check.is_reliable
    assert "shuffled scores come as far" in str(check)
    told = RewardPosterior(replace(noise, scores=np.array([float(c["filters"]) for c in choices]))).check
    assert told.is_reliable
    assert told.by_luck == 0.05


def test_what_failed_was_tried_and_what_no_network_used_was_not(additive, make_record):
    record = additive(30)
    rows = [dict(t.values) | ({"kernel": 5} if t.values["kernel"] == 7 else {}) for t in record.trials]
    scores = [additive.score(row) for row in rows]
    untried = make_record(record.space, rows, scores)
    assert {(i.tried, i.failed) for i in counterfactuals(untried).items if i.instead == 7} == {(False, False)}
    failed = make_record(record.space, [*rows, rows[0] | {"kernel": 7}], [*scores, None])
    (seven,) = [item for item in counterfactuals(failed).items if item.instead == 7]
    assert (seven.tried, seven.failed) == (True, True)
    assert "every trial with it failed" in str(seven)
    filler = make_record(record.space, [*rows, rows[0] | {"kernel": 7}], [*scores, 0.0])
    unused = replace(filler, trials=(*filler.trials[:-1], replace(filler.trials[-1], unused=("kernel",))))
    assert {i.tried for i in counterfactuals(filler).items if i.instead == 7} == {True}
    assert {i.tried for i in counterfactuals(unused).items if i.instead == 7} == {False}


def test_of_a_range_it_is_the_trials_near_a_value_that_failed(additive, make_record):
    record = additive(30)
    rows = [dict(t.values) | {"rate": 0.6 + 0.4 * t.values["rate"]} for t in record.trials]
    failed = make_record(record.space, [*rows, rows[0] | {"rate": 0.22}], [*map(additive.score, rows), None])
    (near,) = [item for item in counterfactuals(failed).items if item.instead == 0.25]
    assert (near.tried, near.failed) == (True, True)
    assert "every trial near it failed" in str(near)


def test_a_value_that_a_failed_network_had_no_use_for_was_not_tried(additive, make_record):
    record = additive(40)
    rows = [dict(t.values) | {"norm": True} for t in record.trials]
    for kernel in (3, 5):  # the norm is of a layer that is there with kernels of 5 alone
        lost = rows[0] | {"kernel": kernel, "norm": False}
        told = make_record(record.space, [*rows, lost], [*map(additive.score, rows), None])
        trials = [replace(t, unused=() if t.values["kernel"] == 5 else ("norm",)) for t in told.trials[:-1]]
        items = counterfactuals(replace(told, trials=(*trials, told.trials[-1]))).items
        (without,) = [item for item in items if item.name == "norm"]
        assert (without.tried, without.failed) == (kernel == 5, kernel == 5)


def test_a_default_that_failed_is_not_said_to_be_untried(additive, make_record):
    record = additive(30)
    rows, scores = [dict(t.values) for t in record.trials], [t.score for t in record.trials]
    default = {"rate": 0.0, "kernel": 3, "norm": False}
    for score, told in ((None, "is that of trial 31, which failed"), (1.0, "is that of trial 31")):
        said = str(account(make_record(record.space, [*rows, default], [*scores, score])))
        assert f"Over the default configuration, which {told}, the winner gains" in said
