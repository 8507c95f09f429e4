"""REINFORCE: the mathematics of an update, and what it learns."""

import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, Reinforce
from kerasnas.strategies.space import enumerate_choices

TREE = [
    Discrete(name="a", values=("x", "y")),
    Discrete(name="b", values=(1, 2, 3), conditions=(Condition("a", ("x",)),)),
    Discrete(name="c", values=(False, True)),
]


def started(decisions, **arguments):
    strategy = Reinforce(**arguments)
    strategy.start(decisions)
    return strategy


def probability(strategy, choices):
    policy = strategy._policy
    return float(np.exp(policy.log_probability(policy.encoding.encode([choices])))[0])


def test_policy_gradient_on_two_arms_equals_enumeration():
    """grad E[r] = sum_a pi(a) r(a) grad log pi(a); for arms with rewards 1 and 0 it is pi(1 - pi) (+1, -1)."""
    policy = started([Discrete(name="arm", values=(0, 1))])._policy
    policy.parameters[:] = [0.4, -0.3]
    p = 1 / (1 + np.exp(-0.7))
    units = policy.encoding.encode([{"arm": 0}, {"arm": 1}])
    weights = np.exp(policy.log_probability(units))[:, None] * np.array([[1.0], [0.0]])
    np.testing.assert_allclose(policy.gradient(units, weights), [p * (1 - p), -p * (1 - p)])


@pytest.mark.parametrize("baseline", ["rank", "moving"])
def test_an_update_follows_the_sign_of_the_advantage(baseline):
    """Adam's first step is its learning rate along the sign of advantage * grad log pi; later ones keep that sign here."""
    strategy = started([Discrete(name="arm", values=(0, 1))], baseline=baseline, entropy_weight=0.0, learning_rate=0.1)
    strategy.observe({"arm": 0}, 1.0)  # nothing to compare with: no advantage, no step
    np.testing.assert_array_equal(strategy._policy.parameters, 0)
    before = probability(strategy, {"arm": 0})
    strategy.observe({"arm": 1}, 0.0)  # worse than what is known: less likely from now on
    after = probability(strategy, {"arm": 0})
    assert after > before
    # the step: mean 0.1 g / (1 - 0.9^2), root mean square sqrt(0.001 g^2 / (1 - 0.999^2)), the same size for both arms
    step = 0.1 * (0.1 / 0.19) / np.sqrt(0.001 / (1 - 0.999**2))
    np.testing.assert_allclose(strategy._policy.parameters, [step, -step], rtol=1e-5)
    strategy.observe({"arm": 1}, float("nan"))  # a failure: less likely still
    assert probability(strategy, {"arm": 0}) > after


@pytest.mark.parametrize("baseline", ["rank", "moving"])
def test_a_step_is_the_announced_advantage_times_the_gradient(baseline):
    """Adam's first moment after the step shows the gradient that it got."""
    strategy, rng = started(TREE, baseline=baseline), np.random.default_rng(0)
    policy = strategy._policy
    for score in [*rng.normal(size=8), np.nan, np.inf, 1e300, 0.0]:
        choices = strategy.propose(rng)
        units = policy.encoding.encode([choices])
        advantage = strategy.advantage(choices, score)
        assert strategy.advantage(choices, score) == advantage
        gradient = advantage * policy.gradient(units, np.ones((1, 1))) + policy.gradient(units, np.zeros((1, 1)), 0.1)
        expected = 0.9 * strategy._optimizer._momentum + 0.1 * gradient
        strategy.observe(choices, score)
        np.testing.assert_allclose(strategy._optimizer._momentum, expected, atol=1e-12)


def test_rank_advantages_in_closed_form():
    strategy = started(TREE)
    for score in (1.0, 2.0, 3.0):
        strategy.observe({"a": "y", "c": True}, score)
    advantages = [strategy.advantage({}, score) for score in (0.0, 1.0, 2.5, 3.0, 9.0, np.nan)]
    np.testing.assert_allclose(advantages, [-1, -2 / 3, 1 / 3, 2 / 3, 1, -1])


def test_moving_advantages_in_closed_form():
    """Mean 0, then 10 with weight 0.1: mean 1, variance 0.9 * 0.1 * 10^2 = 9."""
    strategy = started(TREE, baseline="moving")
    strategy.observe({"a": "y", "c": True}, 0.0)
    assert strategy.advantage({}, 10.0) == 1.0  # no deviation is known: the sign
    strategy.observe({"a": "y", "c": True}, 10.0)
    advantages = [strategy.advantage({}, score) for score in (1.0, 4.0, -2.0, 1e300, np.nan)]
    np.testing.assert_allclose(advantages, [0, 1, -1, 3, -1])


def test_policy_learns_a_context():
    """Reward 1 only if c agrees with a: no factorised policy can do better than one half."""
    strategy = started([Discrete(name="a", values=(0, 1)), Discrete(name="c", values=(0, 1))], entropy_weight=0.5)
    for t in range(300):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, float(choices["a"] == choices["c"]))
    agreement = sum(probability(strategy, {"a": value, "c": value}) for value in (0, 1))
    assert agreement > 0.9


def test_rank_baseline_ignores_the_unit_of_the_score():
    plain, scaled = started(TREE), started(TREE)
    for t in range(20):
        choices = plain.propose(np.random.default_rng(t))
        assert choices == scaled.propose(np.random.default_rng(t))
        score = float(np.sin(7 * t))
        plain.observe(choices, score)
        scaled.observe(choices, 1e6 * score - 5)


def test_what_fails_becomes_unlikely():
    """`x` cannot be built: after 40 trials it is proposed less than a tenth as often as at first."""
    strategy = started(TREE)
    for t in range(40):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, np.nan if choices["a"] == "x" else float(np.sin(7 * t)))
    assert strategy.beliefs()["a"]["x"] < 0.05
    assert sum(probability(strategy, choices) for choices in enumerate_choices(TREE)) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"baseline": "best"}, {"entropy_weight": -1}])
def test_reinforce_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must be"):
        Reinforce(**wrong)
