import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kerasnas.errors import InvalidArgument
from kerasnas.stopping import LearningCurve, expected_final
from kerasnas.stopping.learning_curve import _reached

EPOCHS = 20


def power_laws(rng, count, epochs=EPOCHS, noise=0.0):
    asymptote, scale = rng.normal(0.7, 0.05, (count, 1)), rng.uniform(0.2, 0.5, (count, 1))
    values = asymptote - scale * np.arange(1, epochs + 1) ** -rng.uniform(0.4, 1.2, (count, 1))
    return (values + rng.normal(0, noise, values.shape))[..., None]


def search(rule, curves):
    """Run trials one after another; return what each showed."""
    seen = []
    for curve in curves:
        stops = (t for t in range(1, len(curve) + 1) if rule.should_stop(curve[:t], seen, epochs=len(curve)))
        seen.append(curve[: next(stops, len(curve))])
    return seen


def decisions(rule, curve, others):
    return [rule.should_stop(curve[:t], others, epochs=len(curve)) for t in range(1, len(curve) + 1)]


def test_searches_of_power_laws_keep_their_best_trial_and_save_half_of_the_epochs():
    searches, lost, trained = 20, 0, 0
    for seed in range(searches):
        curves = power_laws(np.random.default_rng(seed), 30)
        seen = search(LearningCurve(0.05), curves)
        lost += max(curve.max() for curve in seen) < curves.max()
        trained += sum(map(len, seen)) / curves.size / searches
    # More than this is found with probability 1e-6 if each best trial is lost with the probability 0.05.
    assert lost <= stats.binom.isf(1e-6, searches, 0.05)
    assert trained < 0.5


def test_of_noisy_curves_no_more_leaders_stop_than_allowed():
    """A late epoch may be a lucky one: its gain is part of the chance."""
    leaders, stopped = 0, 0
    for seed in range(40):
        curves = power_laws(np.random.default_rng(seed), 20, epochs=10, noise=0.05)
        seen = search(LearningCurve(0.05), curves)
        for i, (curve, shown) in enumerate(zip(curves, seen, strict=True)):
            leads = curve.max() > max((other.max() for other in seen[:i]), default=-np.inf)
            leaders, stopped = leaders + leads, stopped + (leads and len(shown) < len(curve))
    assert stopped <= stats.binom.isf(1e-3, leaders, 0.05)


def test_a_larger_chance_stops_more():
    curves = power_laws(np.random.default_rng(3), 30, noise=0.01)
    trained = [sum(map(len, search(LearningCurve(chance), curves))) for chance in (0.01, 0.1, 0.5)]
    assert trained[0] > trained[1] > trained[2]


def test_a_trial_far_behind_stops_and_one_ahead_goes_on():
    curves = power_laws(np.random.default_rng(0), 12)
    stop = LearningCurve().should_stop(curves[0, :5] - 0.5, curves[1:], epochs=EPOCHS)
    assert stop.rule == "learning-curve"
    assert 0 <= stop.details["probability"] < stop.details["asked"] == pytest.approx(0.05 / 12)
    assert "chance to beat the best trial" in stop.reason
    assert not any(decisions(LearningCurve(), curves.max(axis=0) + 0.01, list(curves)))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_never_stops_before_another_trial_has_finished(seed):
    rng = np.random.default_rng(seed)
    others = [curve[: rng.integers(0, EPOCHS)] for curve in power_laws(rng, 10)]
    assert not any(decisions(LearningCurve(0.9), rng.normal(-9, 1, (EPOCHS, 1)), others))
    assert not any(decisions(LearningCurve(0.9), rng.normal(-9, 1, (EPOCHS, 1)), [*others, np.full((EPOCHS, 1), np.nan)]))


def test_never_stops_before_min_epochs_nor_after_the_last():
    curves = power_laws(np.random.default_rng(0), 12)
    stops = decisions(LearningCurve(min_epochs=7), curves[0] - 0.5, curves[1:])
    assert [stop is not None for stop in stops] == [False] * 6 + [True] * 13 + [False]


def test_a_trial_without_a_finite_value_stops():
    curves = power_laws(np.random.default_rng(0), 5)
    stop = LearningCurve().should_stop(np.full((3, 1), np.nan), curves, epochs=EPOCHS)
    assert stop.reason == "no finite value after 3 epochs"


def test_diverged_trials_change_little():
    rng = np.random.default_rng(5)
    curves = power_laws(rng, 31)
    diverged = [
        np.full((EPOCHS, 1), np.nan),
        np.vstack([[[-1e4]], np.full((3, 1), np.nan)]),
        -np.geomspace(1, 1e300, EPOCHS)[:, None],
    ]
    probability = lambda others: LearningCurve(0.999).should_stop(curves[0, :8] - 0.1, others, epochs=EPOCHS).details  # noqa: E731
    clean, spoilt = probability(curves[1:])["probability"], probability([*curves[1:], *diverged])["probability"]
    assert spoilt == pytest.approx(clean, rel=0.5)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
def test_the_same_question_has_the_same_answer_in_any_order_and_with_empty_curves(seed, objectives):
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(8, EPOCHS, objectives)).cumsum(axis=1)
    others = [curve[: rng.integers(2, EPOCHS + 1)] for curve in curves[1:]] + [curves[0] + rng.normal()]
    untouched = [other.copy() for other in others]
    rule = LearningCurve(0.3)
    for t in (2, 9):
        first = rule.should_stop(curves[0, :t], others, epochs=EPOCHS)
        again = rule.should_stop(curves[0, :t], others, epochs=EPOCHS)
        assert first == again
        turned = LearningCurve(0.3).should_stop(curves[0, :t].tolist(), others[::-1], epochs=EPOCHS)
        assert (first is None) == (turned is None)
        if first is not None:
            assert turned.details["probability"] == pytest.approx(first.details["probability"], rel=1e-6, abs=1e-12)
    for other, before in zip(others, untouched, strict=True):
        assert np.array_equal(other, before)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(-5, 5))
def test_the_scale_of_the_scores_does_not_count(seed, magnitude, offset):
    rng = np.random.default_rng(seed)
    curves, factor = power_laws(rng, 10, noise=0.02), 10.0**magnitude
    change = lambda values: factor * (values + offset)  # noqa: E731
    for t in (2, 5, 12):
        plain = LearningCurve(0.9).should_stop(curves[0, :t], curves[1:], epochs=EPOCHS)
        changed = LearningCurve(0.9).should_stop(change(curves[0, :t]), change(curves[1:]), epochs=EPOCHS)
        assert (plain is None) == (changed is None)
        if plain is not None:
            assert changed.details["probability"] == pytest.approx(plain.details["probability"], rel=1e-6, abs=1e-12)
        value, deviation = expected_final(curves[0, :t], curves[1:], epochs=EPOCHS)
        assert expected_final(change(curves[0, :t]), change(curves[1:]), epochs=EPOCHS) == pytest.approx(
            (change(value), factor * deviation), rel=1e-6, abs=1e-9 * factor
        )


# Several objectives


def normal_below(mean, deviation):
    return lambda values: stats.norm.cdf(values, mean, deviation)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_probability_of_a_front_against_random_draws(objectives):
    rng = np.random.default_rng(objectives)
    front, means = rng.normal(size=(5, objectives)), rng.normal(0, 0.3, objectives)
    exact = _reached(front, [normal_below(mean, 1.0) for mean in means])
    draws = rng.normal(means, 1.0, (200_000, objectives))
    share = (draws[:, None] <= front).all(axis=2).any(axis=1).mean()
    assert exact == pytest.approx(share, abs=5 * 0.5 / 200_000**0.5)


def with_latency(curve, latency_ms):
    return np.column_stack([curve[:, 0], np.full(len(curve), -latency_ms)])


def test_a_known_latency_decides_exactly():
    curves = power_laws(np.random.default_rng(0), 12)
    others = [with_latency(curve, 10.0 + i) for i, curve in enumerate(curves[1:])]
    hopeless = curves[0] - 0.5
    # The fastest trial of all is on the front, however bad it is; one that is slower than all others is not.
    assert not any(decisions(LearningCurve(), with_latency(hopeless, 9.9), others))
    assert LearningCurve().should_stop(with_latency(hopeless, 30)[:5], others, epochs=EPOCHS) is not None
    # As fast as one on the front, it has to beat that one.
    assert LearningCurve().should_stop(with_latency(hopeless, 10.0)[:5], others, epochs=EPOCHS) is not None


def test_where_all_are_equally_fast_only_the_other_objective_counts_once_that_is_known():
    curves = power_laws(np.random.default_rng(1), 12, noise=0.01)
    slow = with_latency(curves[1], 99.0)  # so that the latency is known to be one
    slow[:, 0] -= 1.0
    both = [with_latency(curve, 10.0) for curve in curves[1:]]
    own = curves[0] - 0.05
    for t in (3, 8):
        one = LearningCurve(0.999).should_stop(own[:t], [*curves[1:], slow[:, :1]], epochs=EPOCHS)
        two = LearningCurve(0.999).should_stop(with_latency(own, 10.0)[:t], [*both, slow], epochs=EPOCHS)
        assert one.details["probability"] > 0
        assert two.details == pytest.approx(one.details)


def test_a_trial_on_the_front_goes_on_and_a_dominated_one_stops():
    rng = np.random.default_rng(2)
    curves = np.concatenate([power_laws(rng, 12), power_laws(rng, 12)], axis=2)
    ahead = np.concatenate([curves[:, :, :1].max(axis=0) + 0.01, curves[0, :, 1:]], axis=1)
    assert not any(decisions(LearningCurve(), ahead, list(curves)))
    assert LearningCurve().should_stop(curves.min(axis=0)[:6] - 0.5, list(curves), epochs=EPOCHS) is not None


# expected_final


def test_expected_final_goes_on_where_the_curve_would():
    errors, unextrapolated = [], []
    for seed in range(40):
        curves = power_laws(np.random.default_rng(seed), 8, noise=0.005)
        value, deviation = expected_final(curves[0, :6], curves[1:], epochs=EPOCHS)
        errors.append(abs(value - curves[0].max()))
        unextrapolated.append(abs(curves[0, :6].max() - curves[0].max()))
        assert deviation > 0
    assert np.median(errors) < 0.6 * np.median(unextrapolated)


def test_expected_final_of_a_plateau_is_not_flattered_by_the_survivors():
    survivors = power_laws(np.random.default_rng(0), 8)
    value, deviation = expected_final(np.full((6, 1), survivors[:, 5].mean()), survivors, epochs=EPOCHS)
    assert value == pytest.approx(survivors[:, 5].mean())
    assert deviation > 0


def test_expected_final_where_nothing_is_to_come_or_known():
    curves = power_laws(np.random.default_rng(0), 3)
    assert expected_final(curves[0], curves[1:], epochs=EPOCHS) == (curves[0].max(), 0.0)
    assert expected_final([[0.1], [0.1]], [], epochs=EPOCHS) == (0.1, 0.0)
    assert np.isnan(expected_final([[np.nan]], curves, epochs=EPOCHS)).all()
    # Alone, a curve is its own scale.
    value, deviation = expected_final(curves[0, :5], [], epochs=EPOCHS)
    assert value > curves[0, 4, 0]
    assert deviation > 0
    with pytest.raises(InvalidArgument, match="one objective"):
        expected_final(np.zeros((3, 2)), [], epochs=EPOCHS)


# Any input


@settings(max_examples=150)
@given(st.data())
def test_takes_any_curves(data):
    m, epochs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 8))
    curve = st.lists(st.lists(st.floats(), min_size=m, max_size=m), min_size=1, max_size=epochs)
    full = st.lists(st.lists(st.floats(), min_size=m, max_size=m), min_size=epochs, max_size=epochs)
    own, others = np.array(data.draw(curve)), [np.array(c) for c in data.draw(st.lists(curve | full, max_size=6))]
    stop = LearningCurve(0.5, min_epochs=1).should_stop(own, others, epochs=epochs)  # a warning is an error in these tests
    assert stop is None or all(map(np.isfinite, stop.details.values()))
    if m == 1:
        value, deviation = expected_final(own, others, epochs=epochs)
        finite = own[np.isfinite(own)]
        assert (
            (finite.max() <= value < np.inf and 0 <= deviation < np.inf) if len(finite) else np.isnan([value, deviation]).all()
        )


@pytest.mark.parametrize("settings", [{"chance": 0}, {"chance": 1}, {"chance": "0.1"}, {"chance": np.nan}, {"min_epochs": 0}])
def test_settings_out_of_range(settings):
    with pytest.raises(InvalidArgument, match=next(iter(settings))):
        LearningCurve(**settings)
