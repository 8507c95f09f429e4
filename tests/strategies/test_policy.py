"""The autoregressive policy, against enumeration and finite differences."""

import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, Range
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.policy import Adam, AutoregressivePolicy, propose_from
from kerasnas.strategies.space import enumerate_choices

TREE = [
    Discrete(name="a", values=("x", "y")),
    Discrete(name="b", values=(1, 2, 3), conditions=(Condition("a", ("x",)),)),
    Range(name="b", low=1, high=5, scale="log", integer=True, conditions=(Condition("a", ("y",)),)),
    Discrete(name="c", values=(False, True), conditions=(Condition("b", (2, 3)),)),
    Range(name="long", low=1, high=40, scale="log", integer=True),
]


def drawn_policy(decisions, *, context=16, scale=1.0):
    policy = AutoregressivePolicy(Encoding(decisions), context=context)
    policy.parameters[:] = np.random.default_rng(0).normal(0, scale, policy.parameters.size)
    return policy


def differences(function, parameters, step=1e-5):
    """Return the gradient of `function` by central differences: of an error near step^2."""
    gradient = np.zeros_like(parameters)
    for i in range(parameters.size):
        for sign in (1, -1):
            parameters[i] += sign * step
            gradient[i] += sign * function() / (2 * step)
            parameters[i] -= sign * step
    return gradient


def every(policy):
    return policy.encoding.encode(list(enumerate_choices(policy.encoding.decisions)))


@pytest.mark.parametrize("context", [0, 1, 16])
def test_probabilities_of_all_configurations_sum_to_one(context):
    """The last decision is cut into bins: the values of a bin share its probability, so it is left out of the list."""
    policy = drawn_policy(TREE[:-1], context=context)
    assert np.exp(policy.log_probability(every(policy))).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_draws_are_as_frequent_as_their_probability_says(scale):
    """Chi-square of 40,000 draws over all configurations: a threshold of mean + 6 sd lets one false alarm in a million pass."""
    policy = drawn_policy(TREE[:-1], scale=scale)
    units = every(policy)
    keys = {key: i for i, key in enumerate(policy.encoding.keys(units))}
    counts = np.zeros(len(units))
    for key in policy.encoding.keys(policy.sample(40_000, np.random.default_rng(1))):
        counts[keys[key]] += 1
    expected = 40_000 * np.exp(policy.log_probability(units))
    chi_square, freedom = ((counts - expected) ** 2 / expected).sum(), len(units) - 1
    assert chi_square < freedom + 6 * np.sqrt(2 * freedom)


def test_zero_parameters_draw_as_random_search_does():
    """On a logarithmic scale 1 owns log 2 / log 6 of the unit interval, not a fifth."""
    policy = AutoregressivePolicy(Encoding([Range(name="n", low=1, high=5, scale="log", integer=True)]))
    shares = np.log(np.arange(2, 7) / np.arange(1, 6)) / np.log(6)
    np.testing.assert_allclose(np.exp(policy.log_probability(every(policy))), shares, atol=1e-12)


def test_a_draw_counts_for_the_arm_it_came_from():
    """What `draw` says of its rows is what is found when they are looked at again, for values and for bins."""
    policy = drawn_policy(TREE)
    units, log_probabilities, entropy = policy.draw(500, np.random.default_rng(2))
    np.testing.assert_allclose(policy.step_log_probabilities(units), log_probabilities, atol=1e-12)
    np.testing.assert_allclose(policy.entropy(units), entropy, atol=1e-12)
    np.testing.assert_array_equal(policy.encoding.complete(units), units)
    np.testing.assert_allclose(policy.probabilities(units), np.exp(log_probabilities))


def test_gradient_equals_finite_differences():
    """Of the weighted log-probabilities and the entropy; central differences of step 1e-5 are exact to about 1e-9."""
    policy = drawn_policy(TREE)
    rng = np.random.default_rng(3)
    units = policy.sample(12, rng)
    weights = rng.normal(size=units.shape)

    def objective():
        return (weights * policy.step_log_probabilities(units)).sum() + 0.7 * policy.entropy(units).sum()

    expected = differences(objective, policy.parameters)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(policy.gradient(units, weights, 0.7), expected, atol=1e-7)


def test_score_function_has_mean_zero():
    """E[grad log pi] = 0 (Williams 1992), by enumeration."""
    policy = drawn_policy(TREE[:-1])
    units = every(policy)
    mean = policy.gradient(units, np.exp(policy.log_probability(units))[:, None])
    np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_policy_gradient_is_the_gradient_of_the_expected_reward():
    """grad E[r] = E[r grad log pi], both by enumeration."""
    policy = drawn_policy(TREE[:-1])
    units = every(policy)
    rewards = np.random.default_rng(4).normal(size=len(units))
    expected = differences(lambda: rewards @ np.exp(policy.log_probability(units)), policy.parameters)
    gradient = policy.gradient(units, (rewards * np.exp(policy.log_probability(units)))[:, None])
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_a_certain_policy_has_finite_gradients():
    """Logits a thousand apart: the probability of the other arm is zero in double precision, its logarithm is -1000."""
    policy = AutoregressivePolicy(Encoding([Discrete(name="a", values=(0, 1))]))
    policy.parameters[:] = [1000, 0]
    units = policy.encoding.encode([{"a": 1}])
    assert policy.log_probability(units)[0] == pytest.approx(-1000)
    np.testing.assert_allclose(policy.gradient(units, np.ones((1, 1)), 0.1), [-1, 1], atol=1e-12)
    assert policy.entropy(units)[0] == 0


def test_context_is_bounded_in_large_spaces():
    """Parameters grow linearly: twice the decisions, at most twice the parameters and those of the first few."""
    sizes = [
        AutoregressivePolicy(Encoding([Discrete(name=f"{i}", values=tuple(range(20))) for i in range(n)])).parameters.size
        for n in (50, 100, 200)
    ]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
    assert sizes[1] <= 100 * 20 * 65


def test_a_decision_looks_at_its_conditions_however_far_back():
    decisions = [Discrete(name="kind", values=(0, 1, 2))]
    decisions += [Discrete(name=f"between{i}", values=tuple(range(20))) for i in range(10)]
    decisions += [Discrete(name="last", values=(0, 1), conditions=(Condition("kind", (0, 1)),))]
    policy = drawn_policy(decisions)
    first = {f"between{i}": 0 for i in range(10)} | {"last": 1}
    units = policy.encoding.encode([{**first, "kind": kind} for kind in (0, 1)])
    one, other = policy.probabilities(units)[:, -1]
    assert abs(one - other) > 0.01


def marginals(policy):
    """Return the exact beliefs, and how probable it is that each decision is made, by enumeration."""
    decisions, mass = policy.encoding.decisions, {}
    for choices, p in zip(enumerate_choices(decisions), np.exp(policy.log_probability(every(policy))), strict=True):
        for name, value in choices.items():
            values = mass.setdefault(name, {})
            values[str(value)] = values.get(str(value), 0.0) + p
    active = {name: sum(values.values()) for name, values in mass.items()}
    return {name: {v: p / active[name] for v, p in values.items()} for name, values in mass.items()}, active


def test_beliefs_are_the_marginals_of_an_enumeration():
    """1024 draws of a number of mean q in [0, 1] have a standard error of at most sqrt(q (1 - q) / draws): within 4 such."""
    policy = drawn_policy(TREE[:-1])
    for seed in range(12):
        policy.parameters[:] = np.random.default_rng(seed).normal(0, 3, policy.parameters.size)
        exact, active = marginals(policy)
        told = policy.beliefs()
        assert told.keys() == exact.keys()
        for name, values in exact.items():
            for value, q in values.items():
                error = np.sqrt(q * (1 - q) / (1024 * active[name]))
                assert told[name][value] == pytest.approx(q, abs=4 * error + 1e-9)


def test_beliefs_where_nothing_comes_before_are_exact_and_all_sum_to_one():
    policy = drawn_policy([Discrete(name="a", values=("x", "y")), Discrete(name="c", values=(0, 1))])
    units = policy.encoding.encode([{"a": "x", "c": 0}])
    assert policy.beliefs()["a"]["x"] == pytest.approx(policy.probabilities(units)[0, 0])
    assert all(sum(masses.values()) == pytest.approx(1) for masses in drawn_policy(TREE).beliefs().values())


def test_a_copy_learns_by_itself():
    policy = drawn_policy(TREE)
    twin, before = policy.copy(), policy.parameters.copy()
    Adam(twin, 0.1).step(np.ones_like(twin.parameters))
    np.testing.assert_array_equal(policy.parameters, before)
    assert (twin.parameters != before).all()


def test_adam_equals_the_published_update():
    """Kingma & Ba 2015, algorithm 1, written down again for three steps."""
    policy = AutoregressivePolicy(Encoding([Discrete(name="a", values=(0, 1)), Discrete(name="b", values=(0, 1))]))
    optimizer, rng = Adam(policy, 0.05), np.random.default_rng(5)
    theta, m, v = np.zeros((3, policy.parameters.size))
    rate = 0.05 * policy.step_scale
    for t in (1, 2, 3):
        gradient = rng.normal(size=theta.size)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        theta = theta + rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        optimizer.step(gradient)
        np.testing.assert_allclose(policy.parameters, theta, rtol=1e-12)
    assert set(policy.step_scale) == {1.0, 0.5}


def test_a_proposal_says_how_it_came_about():
    policy = drawn_policy(TREE)
    for seed in range(20):
        proposal = propose_from(policy, np.random.default_rng(seed))
        units = policy.encoding.encode([proposal])
        probabilities = policy.probabilities(units)[0]
        names = [d.name for d, unit in zip(TREE, units[0], strict=True) if not np.isnan(unit)]
        assert proposal.why["phase"] == "policy"
        assert list(proposal.why["probabilities"]) == names == list(proposal)
        assert np.prod(list(proposal.why["probabilities"].values())) == pytest.approx(probabilities.prod())
        assert proposal.why["entropy"] == pytest.approx(policy.entropy(units)[0])
        assert proposal.why["runner_up"] != proposal


def test_the_only_configuration_has_no_runner_up():
    policy = AutoregressivePolicy(Encoding([Discrete(name="a", values=(0,))]))
    assert "runner_up" not in propose_from(policy, np.random.default_rng(0)).why
