"""Q-learning: the update by hand, a solved chain, the schedule."""

import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, QLearning, RandomSearch, Range
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.q_learning import ActionValues
from kerasnas.strategies.space import enumerate_choices

PAIR = [Discrete(name="a", values=("x", "y")), Discrete(name="b", values=(0, 1, 2))]
# The reward of each configuration of PAIR.
REWARDS = {("x", 0): 0.1, ("x", 1): 0.9, ("x", 2): 0.3, ("y", 0): 0.8, ("y", 1): 0.2, ("y", 2): 0.4}


def test_one_update_by_hand():
    """Q(s, a) += alpha [r + gamma max Q(s', .) - Q(s, a)] with alpha 0.5 and gamma 0.9, all values 0.5 before.

    Last decision: 0.5 + 0.5 (1 - 0.5) = 0.75, the greatest of its state; first: 0.5 + 0.5 (0.9 * 0.75 - 0.5) = 0.5875.
    """
    values = ActionValues(Encoding(PAIR))
    path = values.encoding.encode([{"a": "y", "b": 1}])
    np.testing.assert_array_equal(values.values(path), [[0.5, 0.5]])
    values.learn(path, np.array([1.0]), learning_rate=0.5, discount=0.9)
    np.testing.assert_allclose(values.values(path), [[0.5875, 0.75]], atol=1e-15)


def test_updates_are_exact_at_any_state():
    """The last decision's value, whatever was learned before and however many decisions are not active."""
    decisions = [
        Discrete(name="a", values=("x", "y")),
        Discrete(name="b", values=(0, 1, 2), conditions=(Condition("a", ("x",)),)),
        Range(name="c", low=1e-3, high=1, scale="log"),
        Discrete(name="d", values=tuple(range(5))),
    ]
    values, rng = ActionValues(Encoding(decisions)), np.random.default_rng(0)
    for _ in range(20):
        path, reward = values.sample(1, rng), rng.random(1)
        before = values.values(path)[0, -1]
        values.learn(path, reward, learning_rate=0.3, discount=1.0)
        assert values.values(path)[0, -1] == pytest.approx(before + 0.3 * (reward[0] - before), abs=1e-12)


def test_values_converge_to_those_of_a_solved_chain():
    """Q*(a) = gamma max_b r(a, b) and Q*(b | a) = r(a, b), to 1e-6 after 3,000 sweeps over all paths."""
    values = ActionValues(Encoding(PAIR))
    paths = values.encoding.encode([{"a": a, "b": b} for a, b in REWARDS])
    for _ in range(3000):
        values.learn(paths, np.array(list(REWARDS.values())), learning_rate=0.9, discount=0.9)
    first = [0.9 * max(r for (other, _), r in REWARDS.items() if other == a) for a, _ in REWARDS]
    np.testing.assert_allclose(values.values(paths), np.stack([first, list(REWARDS.values())], axis=1), atol=1e-6)
    values.epsilon = 1e-9
    assert values.encoding.decode(values.sample(1, np.random.default_rng(0))[0]) == {"a": "x", "b": 1}


def test_the_reward_finds_its_way_back_to_the_first_of_many_decisions():
    """Only the first of eight decisions counts: Q* of its arms is their reward, and no later decision prefers an arm."""
    decisions = [Discrete(name=f"d{i}", values=(0, 1)) for i in range(8)]
    values = ActionValues(Encoding(decisions))
    paths = values.encoding.encode(list(enumerate_choices(decisions)))
    rewards = np.where(paths[:, 0] > 0.5, 0.7, 0.2)
    for _ in range(400):
        values.learn(paths, rewards, learning_rate=1.0, discount=1.0)
    np.testing.assert_allclose(values.values(paths), np.broadcast_to(rewards[:, None], paths.shape), atol=1e-3)


def test_the_policy_is_greedy_but_for_epsilon():
    """Two of three arms are best: each has half of 1 - epsilon, and all have their share of epsilon."""
    values = ActionValues(Encoding([Discrete(name="a", values=(0, 1, 2))]))
    values.parameters[:] = [0.3, 0.1, 0.3]
    values.epsilon = 0.3
    units = values.encoding.encode([{"a": 0}, {"a": 1}, {"a": 2}])
    np.testing.assert_allclose(values.probabilities(units)[:, 0], [0.45, 0.1, 0.45])


def test_epsilon_falls_with_the_number_of_trials():
    strategy = QLearning(warm_up=20)
    strategy.start(PAIR)
    assert [strategy.epsilon(trials) for trials in (0, 19, 39, 79, 199, 10_000)] == [1.0, 1.0, 0.5, 0.25, 0.1, 0.1]
    strategy.start([Discrete(name=f"d{i}", values=(0, 1)) for i in range(50)])
    assert strategy.epsilon(10_000) == 1 / 50
    strategy.start([])
    assert strategy.epsilon(10_000) == 0.1


def test_the_policy_uses_the_epsilon_of_the_schedule():
    strategy = QLearning(warm_up=2, replay=1)
    strategy.start(PAIR)
    for t in range(9):
        expected = strategy.epsilon(t)
        proposal = strategy.propose(np.random.default_rng(t))
        assert proposal.why["epsilon"] == expected
        assert min(proposal.why["probabilities"].values()) >= expected / 3 - 1e-12
        strategy.observe(proposal, float(t))


def test_rewards_are_ranks_whatever_the_unit():
    plain, scaled = QLearning(), QLearning()
    plain.start(PAIR), scaled.start(PAIR)
    for t in range(30):
        choices = plain.propose(np.random.default_rng(t))
        assert choices == scaled.propose(np.random.default_rng(t))
        plain.observe(choices, REWARDS[choices["a"], choices["b"]])
        scaled.observe(choices, -7 + 1e6 * REWARDS[choices["a"], choices["b"]])


def test_advantage_is_the_rank_less_the_value_of_the_best_path():
    strategy = QLearning()
    strategy.start(PAIR)
    assert strategy.advantage({"a": "x", "b": 0}, 3.0) == 0.0
    strategy.observe({"a": "x", "b": 0}, 1.0)
    best = strategy._values.first().max()
    assert strategy.advantage({}, 2.0) == pytest.approx(1 - best)
    assert strategy.advantage({}, np.nan) == pytest.approx(-best)


def test_what_fails_is_worth_nothing():
    """Half the space cannot be built: 40 trials later the value of going there is below that of any other path."""
    strategy = QLearning()
    strategy.start(PAIR)
    for t in range(40):
        choices = strategy.propose(np.random.default_rng(t))
        strategy.observe(choices, np.nan if choices["a"] == "x" else float(np.sin(7 * t)))
    bad, good = strategy._values.first()
    assert bad < good - 0.2
    assert strategy.beliefs()["a"]["x"] < 0.3


def test_it_finds_more_than_random_search():
    """Best of 60 trials on a noisy sum of ten decisions, 6 seeds: 2.5 better, with a standard error of 0.3."""
    decisions = [Discrete(name=f"d{i}", values=(0, 1, 2)) for i in range(10)]

    def best(make, seed):
        strategy, noise, found = make(), np.random.default_rng(seed), -np.inf
        strategy.start(decisions)
        for t in range(60):
            choices = strategy.propose(np.random.default_rng([seed, t]))
            found = max(found, sum(choices.values()))
            strategy.observe(choices, sum(choices.values()) + noise.normal())
        return found

    gains = [best(QLearning, seed) - best(RandomSearch, seed) for seed in range(6)]
    assert np.mean(gains) > 1


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0}, {"learning_rate": 2}, {"discount": -1}, {"replay": 0}, {"warm_up": 0}, {"final_epsilon": 0}],
)
def test_q_learning_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must be"):
        QLearning(**wrong)
