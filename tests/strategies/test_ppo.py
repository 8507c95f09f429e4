"""PPO: its surrogate at the corners and against finite differences, and what it learns."""

import numpy as np
import pytest

from kerasnas.strategies import PPO, Condition, Discrete, Range
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import AutoregressivePolicy
from kerasnas.strategies.ppo import surrogate, surrogate_weights

TREE = [
    Discrete(name="a", values=("x", "y")),
    Discrete(name="b", values=(1, 2, 3), conditions=(Condition("a", ("x",)),)),
    Range(name="c", low=1e-4, high=1, scale="log"),
]


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "weight"),
    [
        (1.0, 2.0, 2.0, 2.0),  # where it begins: the plain policy gradient
        (1.1, 2.0, 2.2, 2.2),
        (1.3, 2.0, 2.4, 0.0),  # already likelier by more than the clip: nothing more to be earned
        (1.3, -2.0, -2.6, -2.6),  # likelier though it is bad: the way back is not clipped
        (0.7, -2.0, -1.6, 0.0),  # already less likely by more than the clip
        (0.7, 2.0, 1.4, 1.4),  # less likely though it is good: the way back is not clipped
        (1.3, 0.0, 0.0, 0.0),
    ],
)
def test_clipping_at_its_corners(ratio, advantage, value, weight):
    """Schulman et al. 2017, eq. 7 and figure 1, with a clip of 0.2; d(rA) = rA dlog pi."""
    arguments = np.array([[ratio]]), np.array([advantage]), 0.2
    np.testing.assert_allclose(surrogate(*arguments), [[value]])
    np.testing.assert_allclose(surrogate_weights(*arguments), [[weight]])


def test_surrogate_gradient_equals_finite_differences():
    """Central differences of step 1e-6 are exact to about 1e-9 where no ratio lies at a corner."""
    policy, rng = AutoregressivePolicy(Encoding(TREE)), np.random.default_rng(0)
    policy.parameters[:] = rng.normal(size=policy.parameters.size)
    units, advantages = policy.sample(20, rng), rng.normal(size=20)
    before = policy.step_log_probabilities(units)
    policy.parameters += rng.normal(0, 0.3, policy.parameters.size)

    def ratios():
        return np.exp(policy.step_log_probabilities(units) - before)

    weights = surrogate_weights(ratios(), advantages, 0.2)
    clipped = (weights == 0) & ~np.isnan(units)
    assert 0.1 < clipped.mean() < 0.9
    assert np.abs(np.abs(ratios() - 1) - 0.2).min() > 1e-4
    numeric = np.zeros_like(policy.parameters)
    for i in range(numeric.size):
        for sign in (1, -1):
            policy.parameters[i] += sign * 1e-6
            numeric[i] += sign * surrogate(ratios(), advantages, 0.2).sum() / 2e-6
            policy.parameters[i] -= sign * 1e-6
    assert np.abs(numeric).max() > 0.1
    np.testing.assert_allclose(policy.gradient(units, weights), numeric, atol=1e-7)


def test_the_first_epoch_follows_the_plain_policy_gradient():
    """With a batch of one trial, no ratio has moved yet: Adam's first moment is 0.1 of A * grad log pi."""
    strategy = PPO(epochs=1, batch=1, entropy_weight=0.0)
    strategy.start(TREE)
    strategy.observe({"a": "y", "c": 0.1}, 1.0)
    policy = strategy._policy
    choices = {"a": "x", "b": 2, "c": 0.01}
    expected = strategy.advantage(choices, 0.0) * policy.gradient(policy.encoding.encode([choices]), np.ones((1, 1)))
    before = strategy._optimizer._momentum.copy()
    strategy.observe(choices, 0.0)
    np.testing.assert_allclose(strategy._optimizer._momentum, 0.9 * before + 0.1 * expected, atol=1e-12)


def test_clipping_bounds_what_one_trial_does_in_many_epochs():
    """A good arm of four in 200 epochs: clipped at 1.2, the ratio coasts to where Adam's momentum of about 0.3 takes it.

    Hardly clipped (2), it goes past 2; 4 is certainty.
    """

    def ratio(clip):
        strategy = PPO(epochs=200, batch=1, entropy_weight=0.0, learning_rate=0.01, clip=clip)
        strategy.start([Discrete(name="arm", values=tuple(range(4)))])
        strategy.observe({"arm": 0}, 0.0)
        strategy.observe({"arm": 1}, 1.0)
        return np.exp(strategy._policy.step_log_probabilities(strategy._units) - strategy._before).item()

    assert 1.2 < ratio(0.2) < 1.2 * np.exp(0.35)
    assert ratio(0.99) > 1.99


def test_the_batch_holds_the_latest_trials_and_how_likely_they_were():
    strategy = PPO(batch=3)
    strategy.start(TREE)
    history = []
    for t in range(6):
        choices = strategy.propose(np.random.default_rng(t))
        units = strategy._policy.encoding.encode([choices])
        history.append((units[0], strategy._policy.step_log_probabilities(units)[0]))
        strategy.observe(choices, float(t))
    np.testing.assert_array_equal(strategy._units, [units for units, _ in history[-3:]])
    np.testing.assert_array_equal(strategy._before, [before for _, before in history[-3:]])
    assert np.ptp([before[0] for _, before in history]) > 0.01


@pytest.mark.parametrize("score", [np.nan, -np.inf, 1e300])
def test_advantages_are_ranks(score):
    strategy = PPO()
    strategy.start(TREE)
    for other in (1.0, 2.0, 3.0):
        strategy.observe({"a": "y", "c": 0.1}, other)
    assert strategy.advantage({}, score) == (1.0 if score > 0 else -1.0)
    assert strategy.advantage({}, 2.5) == pytest.approx(1 / 3)


def test_policy_learns_a_context():
    """Reward 1 only if c agrees with a: no factorised policy can do better than one half."""
    strategy = PPO(entropy_weight=0.1)
    strategy.start([Discrete(name="a", values=(0, 1)), Discrete(name="c", values=(0, 1))])
    for t in range(200):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, float(choices["a"] == choices["c"]))
    units = strategy._policy.encoding.encode([{"a": value, "c": value} for value in (0, 1)])
    assert np.exp(strategy._policy.log_probability(units)).sum() > 0.8


def test_what_fails_becomes_unlikely():
    strategy = PPO()
    strategy.start(TREE)
    for t in range(40):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, np.nan if choices["a"] == "x" else float(np.sin(7 * t)))
    assert strategy.beliefs()["a"]["x"] < 0.05


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0}, {"clip": 0}, {"clip": 1}, {"epochs": 0}, {"batch": 0}, {"entropy_weight": -1}]
)
def test_ppo_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must be"):
        PPO(**wrong)
