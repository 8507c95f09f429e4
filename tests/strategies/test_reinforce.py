"""REINFORCE: the mathematics."""

import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, Reinforce
from kerasnas.strategies.space import enumerate_choices

TREE = [
    Discrete(name="a", values=("x", "y")),
    Discrete(name="b", values=(1, 2, 3), conditions=(Condition("a", ("x",)),)),
    Discrete(name="c", values=(False, True)),
]


@pytest.fixture
def trained():
    strategy = Reinforce()
    strategy.start(TREE)
    rng = np.random.default_rng(0)
    for _ in range(12):
        choices = strategy.propose(rng)
        strategy.observe(choices, float(rng.normal()))
    return strategy


def test_probabilities_of_all_configurations_sum_to_one(trained):
    assert sum(np.exp(trained.log_probability(c)) for c in enumerate_choices(TREE)) == pytest.approx(1)


def test_gradient_equals_finite_differences(trained):
    choices = {"a": "x", "b": 2, "c": True}
    gradient = trained.log_probability_gradient(choices)
    numeric = np.zeros_like(gradient)
    for index in np.ndindex(*gradient.shape):
        for sign in (1, -1):
            trained._weights[index] += sign * 1e-6
            numeric[index] += sign * trained.log_probability(choices) / 2e-6
            trained._weights[index] -= sign * 1e-6
    np.testing.assert_allclose(gradient, numeric, atol=1e-7)


def test_score_function_has_mean_zero(trained):
    """E[grad log pi] = 0 (Williams 1992), by enumeration."""
    mean = sum(np.exp(trained.log_probability(c)) * trained.log_probability_gradient(c) for c in enumerate_choices(TREE))
    np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_policy_gradient_on_two_arms_equals_enumeration():
    """grad E[r] = sum_a pi(a) r(a) grad log pi(a); for arms with rewards 1 and 0 it is pi(1 - pi) (+1, -1)."""
    strategy = Reinforce()
    strategy.start([Discrete(name="arm", values=(0, 1))])
    strategy._weights[0] = [0.4, -0.3]
    p = 1 / (1 + np.exp(-0.7))
    expected = np.exp(strategy.log_probability({"arm": 0})) * strategy.log_probability_gradient({"arm": 0})[0]
    np.testing.assert_allclose(expected, [p * (1 - p), -p * (1 - p)])


@pytest.mark.parametrize("baseline", ["rank", "moving"])
def test_an_update_follows_the_sign_of_the_advantage(baseline):
    """Adam's first step is its learning rate along the sign of advantage * grad log pi; later ones keep that sign here."""
    strategy = Reinforce(baseline=baseline, entropy_weight=0.0, learning_rate=0.1)
    strategy.start([Discrete(name="arm", values=(0, 1))])
    strategy.observe({"arm": 0}, 1.0)  # nothing to compare with: no advantage, no step
    np.testing.assert_array_equal(strategy._weights, 0)
    before = strategy.log_probability({"arm": 0})
    strategy.observe({"arm": 1}, 0.0)  # worse than what is known: less likely from now on
    after = strategy.log_probability({"arm": 0})
    assert after > before
    # the step: mean 0.1 g / (1 - 0.9^2), root mean square sqrt(0.001 g^2 / (1 - 0.999^2)), the same size for both arms
    step = 0.1 * (0.1 / 0.19) / np.sqrt(0.001 / (1 - 0.999**2))
    np.testing.assert_allclose(strategy._weights[0], [step, -step], rtol=1e-5)
    strategy.observe({"arm": 1}, float("nan"))  # a failure: less likely still
    assert strategy.log_probability({"arm": 0}) > after


def test_entropy_gradient_equals_finite_differences(trained):
    choices = {"a": "y", "c": True}

    def entropy():
        return -sum(np.sum(policy * np.log(policy)) for _, _, policy, _ in trained._steps_of(choices))

    gradient = trained._entropy_gradient(choices)
    for index in [(0, 0), (0, 5), (2, 5), (2, 6), (0, 2)]:
        trained._weights[index] += 1e-6
        high = entropy()
        trained._weights[index] -= 2e-6
        low = entropy()
        trained._weights[index] += 1e-6
        assert gradient[index] == pytest.approx((high - low) / 2e-6, abs=1e-6)


def test_policy_learns_a_context():
    """Reward 1 only if c agrees with a: no factorised policy can do better than one half."""
    decisions = [Discrete(name="a", values=(0, 1)), Discrete(name="c", values=(0, 1))]
    strategy = Reinforce(entropy_weight=0.5)
    strategy.start(decisions)
    for t in range(300):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, float(choices["a"] == choices["c"]))
    agreement = [(c := strategy.propose(np.random.default_rng(10_000 + t)))["a"] == c["c"] for t in range(200)]
    assert np.mean(agreement) > 0.9


def test_rank_baseline_ignores_the_unit_of_the_score():
    plain, scaled = Reinforce(), Reinforce()
    plain.start(TREE), scaled.start(TREE)
    for t in range(20):
        choices = plain.propose(np.random.default_rng(t))
        assert choices == scaled.propose(np.random.default_rng(t))
        score = float(np.sin(7 * t))
        plain.observe(choices, score)
        scaled.observe(choices, 1e6 * score - 5)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"baseline": "best"}, {"entropy_weight": -1}])
def test_reinforce_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must be"):
        Reinforce(**wrong)
