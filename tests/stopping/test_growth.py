"""The predictive distribution of a curve: closed forms, and calibration on planted families."""

import numpy as np
import pytest

from kerasnas.stopping import growth
from kerasnas.stopping.growth import Growth


def power_laws(rng, count, epochs, noise):
    """Best values so far of asymptote - scale * epoch ** -exponent."""
    asymptote, scale = rng.normal(0.7, 0.05, (count, 1)), rng.uniform(0.2, 0.5, (count, 1))
    values = asymptote - scale * np.arange(1, epochs + 1) ** -rng.uniform(0.4, 1.2, (count, 1))
    return np.maximum.accumulate(values + rng.normal(0, noise, values.shape), axis=1)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_regression_equals_a_gaussian_process_with_the_same_prior(count):
    """The same posterior in the space of functions: a kernel of the features, an inverse-gamma scale."""
    rng = np.random.default_rng(count)
    features = np.column_stack([np.ones(count), rng.normal(size=(count, 2))])
    targets, point = rng.normal(size=count), np.array([1.0, 0.3, -0.5])
    location, scale, degrees = growth._regress(features, targets, np.ones(count), point, True)
    prior, variances = growth._RATE, 1 / growth._CURVES
    covariance = np.eye(count) + features * variances @ features.T
    cross, residual = features * variances @ point, targets - features @ prior
    solved = np.linalg.solve(covariance, np.column_stack([residual, cross]))
    squares = growth._DEGREES * growth._DEVIATION**2 + residual @ solved[:, 0]
    assert degrees == growth._DEGREES + count
    assert location == pytest.approx(point @ prior + cross @ solved[:, 0])
    assert scale**2 == pytest.approx(squares / degrees * (1 + point * variances @ point - cross @ solved[:, 1]))


def test_a_curve_of_weight_two_counts_as_two_curves():
    rng = np.random.default_rng(0)
    features, targets, weights = rng.normal(size=(4, 3)), rng.normal(size=4), np.array([1, 2, 3, 1])
    twice = growth._regress(features.repeat(weights, axis=0), targets.repeat(weights), np.ones(7), features[0], True)
    assert growth._regress(features, targets, weights.astype(float), features[0], True) == pytest.approx(twice)


@pytest.mark.parametrize(("count", "noise"), [(5, 0.0), (30, 0.01)])
def test_of_curves_with_a_chance_p_about_p_get_there(count, noise):
    chances, reached = [], []
    for seed in range(1200):
        rng = np.random.default_rng(seed)
        curves = power_laws(rng, count + 1, 50, noise)
        t = int(rng.choice([2, 4, 8, 16, 30]))
        aim = np.quantile(curves[1:, -1], rng.random())
        if curves[0, t - 1] < aim:
            prediction = Growth.of(curves[0, :t], curves[1:], np.full(count, 50))
            chances.append(1 - prediction.below(np.array([aim]))[0])
            reached.append(curves[0, -1] > aim)
    chances, reached = np.array(chances), np.array(reached)
    for low, high in ((0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 0.9), (0.9, 1)):
        inside = (low <= chances) & (chances <= high)
        expected = chances[inside].mean()
        # 0.17 for a model that is a little less sure than it could be, and 4 standard errors.
        assert inside.sum() > 40
        assert abs(reached[inside].mean() - expected) < 0.17 + 4 * (expected * (1 - expected) / inside.sum()) ** 0.5
        if high <= 0.05:  # what the rule acts on: a chance of a false alarm near 1e-5 were the share the one that is said
            assert reached[inside].sum() <= 5 + 5 * chances[inside].sum()


def test_more_curves_that_are_alike_make_it_surer():
    curves = power_laws(np.random.default_rng(0), 101, 50, 0.0)
    few, many = (Growth.of(curves[0, :10], curves[1:n], np.full(n - 1, 50)) for n in (6, 101))
    assert many.degrees > few.degrees + 10
    assert many.deviation < few.deviation


def test_a_stopped_curve_counts_less_than_a_whole_one_and_more_than_none():
    curves = power_laws(np.random.default_rng(1), 31, 50, 0.0)

    def degrees(length):
        return Growth.of(curves[0, :10], curves[1:], np.array([50] + [length] * 29)).degrees

    assert degrees(10) < degrees(15) < degrees(30) < degrees(50)
    # By the share of the way in logarithms that it was seen.
    whole, none = degrees(50), degrees(10)
    assert (degrees(30) - none) / (whole - none) == pytest.approx(np.log(3) / np.log(5))


def test_a_best_value_never_falls():
    curves = power_laws(np.random.default_rng(2), 20, 50, 0.01)
    prediction = Growth.of(curves[0, :10], curves[1:], np.full(19, 50))
    values = np.linspace(curves[0, 9] - 0.2, curves[:, -1].max(), 50)
    chances = prediction.below(values)
    assert (chances[values < curves[0, 9]] == 0).all()
    assert (np.diff(chances) >= 0).all()
    median, deviation = prediction.middle()
    assert median >= curves[0, 9]
    assert deviation > 0
    assert prediction.below(np.array([median]))[0] == pytest.approx(0.5)


def test_luck_of_the_epochs_to_come_against_random_draws():
    """Where nothing grows any more, half of the epochs left are as many draws of the noise."""
    flat = np.full((2, 40), 0.5)
    certain = Growth(0.5, 0.6, 0.1, np.log(1.5), 1.0, 0.0, 1e-9, 50.0, noise=0.02, done=1, left=39)
    values = np.array([0.5, 0.52, 0.55, 0.6])
    draws = flat[0, 0] + np.random.default_rng(0).normal(0, 0.02, (200_000, 20)).max(axis=1)
    # Half an epoch more: 39 / 2 are between 19 and 20.
    assert certain.below(values) == pytest.approx((draws[:, None] <= values).mean(axis=0), abs=0.03)
    # One of eight epochs that is the best has had some luck: without it, the best of those to come is lower.
    later = Growth(0.5, 0.6, 0.1, np.log(1.5), 1.0, 0.0, 1e-9, 50.0, noise=0.02, done=16, left=39)
    best_of_eight = np.random.default_rng(1).normal(0, 0.02, (200_000, 8)).max(axis=1).mean()
    assert later.below(values[1:]) == pytest.approx(certain.below(values[1:] + best_of_eight), abs=0.01)


def test_noise_is_that_of_the_epochs_not_the_curve():
    rng = np.random.default_rng(0)
    smooth = 0.7 - 0.4 * np.arange(1, 31) ** -0.8 + rng.normal(0, 0.05, (20, 1))
    noisy = smooth + rng.normal(0, 0.01, smooth.shape)
    assert growth.noise(smooth[0], smooth[1:]) < 0.003
    assert growth.noise(noisy[0], noisy[1:]) == pytest.approx(0.01, rel=0.2)
    assert growth.noise(noisy[0, :2], noisy[1:]) == pytest.approx(0.01, rel=0.2)  # its own are too few
    twice = smooth[0] + rng.normal(0, 0.02, 30)
    assert 0.015 < growth.noise(twice, noisy[1:]) < 0.023
    cliff = np.where(np.arange(30) < 15, noisy[0], -1e30)
    assert growth.noise(cliff, noisy[1:]) < 0.03
    assert growth.noise(noisy[0], np.full((0, 30), np.nan)) == 0.0
    assert growth.noise(noisy[0], np.full((3, 30), np.nan)) == 0.0


def test_nothing_is_said_of_curves_that_never_differ():
    assert Growth.of(np.full(3, 0.1), np.full((4, 9), 0.1), np.full(4, 9)) is None
