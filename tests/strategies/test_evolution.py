from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, Evolution, Range
from kerasnas.strategies.space import identity, random_choices

MANY = [Discrete(name=f"d{i}", values=(0, 1, 2)) for i in range(100)]
MARK = [Discrete(name="mark", values=tuple(range(1000)))]


def started(decisions, observations=(), **options):
    strategy = Evolution(**options)
    strategy.start(decisions)
    for choices, score in observations:
        strategy.observe(choices, score)
    return strategy


def proposals(strategy, count, **kwargs):
    return [strategy.propose(np.random.default_rng([7, i]), **kwargs) for i in range(count)]


def parent_marks(strategy, count):
    return [p.why["parent"]["mark"] for p in proposals(strategy, count)]


# -- who lives ---------------------------------------------------------------------------------


def test_the_oldest_dies_in_aging_evolution():
    observations = [({"mark": i}, -float(i)) for i in range(12)]  # the older the better
    strategy = started(MARK, observations, population=5, selection_share=0.2, crossover=None)
    assert set(parent_marks(strategy, 300)) == {7, 8, 9, 10, 11}  # one is missed with probability 5 * 0.8^300 < 1e-28


def test_the_worst_dies_without_aging():
    scores = [3, 9, 1, 7, 5, 8, 2, 6, 0, 4]
    observations = [({"mark": i}, score) for i, score in enumerate(scores)]
    strategy = started(MARK, observations, population=4, selection_share=0.25, crossover=None, aging=False)
    assert {scores[mark] for mark in parent_marks(strategy, 300)} == {9, 8, 7, 6}


def test_of_equally_bad_ones_the_older_dies():
    observations = [({"mark": i}, score) for i, score in enumerate([1, 0, 0, 0])]
    strategy = started(MARK, observations, population=3, selection_share=0.1, crossover=None, aging=False)
    assert set(parent_marks(strategy, 200)) == {0, 2, 3}


@pytest.mark.parametrize(("trials", "size"), [(9, 9), (10, 10), (100, 30), (150, 37)])
def test_the_adaptive_population_grows_as_three_times_the_root_of_the_trials(trials, size):
    strategy = started(MARK, [({"mark": i}, 0.0) for i in range(trials)], selection_share=0.001, crossover=None)
    # All are alike and one contestant is drawn: each is as likely; 37 * (36/37)^1000 < 1e-10.
    assert set(parent_marks(strategy, 1000)) == set(range(trials - size, trials))


def test_random_configurations_fill_the_population_first():
    strategy = started(MARK, [({"mark": i}, 0.0) for i in range(8)])
    assert strategy.propose(np.random.default_rng(0)).why == {"phase": "initial"}
    strategy.observe({"mark": 8}, np.nan)  # a failure fills nothing
    assert strategy.propose(np.random.default_rng(0)).why == {"phase": "initial"}
    strategy.observe({"mark": 9}, 0.0)
    assert strategy.propose(np.random.default_rng(0)).why["phase"] in ("crossover", "mutation")


@pytest.mark.parametrize("aging", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_failed_trial_has_no_children(aging, bad):
    observations = [({"mark": i}, bad if i % 2 else float(i)) for i in range(20)]
    strategy = started(MARK, observations, population=8, selection_share=0.1, crossover=None, aging=aging)
    marks = set(parent_marks(strategy, 300))
    assert marks == {4, 6, 8, 10, 12, 14, 16, 18}


# -- who is selected ---------------------------------------------------------------------------


def test_a_tournament_selects_rank_k_as_often_as_its_closed_form_says():
    """S of P drawn without replacement: rank k wins with probability C(P - k, S - 1) / C(P, S).

    Tolerance: 5 standard errors of a share, for 8 shares a false alarm once in 2e5 (the seeds are fixed, so never by chance).
    """
    size, contestants, draws = 8, 4, 4000
    strategy = started(
        MARK, [({"mark": i}, -float(i)) for i in range(size)], population=size, selection_share=0.5, crossover=None
    )
    counts = np.bincount(parent_marks(strategy, draws), minlength=size)
    expected = np.array([comb(size - k, contestants - 1) / comb(size, contestants) for k in range(1, size + 1)])
    assert expected.sum() == pytest.approx(1)
    assert np.all(np.abs(counts / draws - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws))


def test_the_runner_up_is_the_second_of_the_tournament():
    strategy = started(MARK, [({"mark": i}, -float(i)) for i in range(6)], population=6, selection_share=1.0, crossover=None)
    for proposal in proposals(strategy, 20):
        assert proposal.why["parent"] == {"mark": 0}
        assert proposal.why["runner_up"] == {"mark": 1}


def test_truncation_takes_only_the_top_and_all_of_it_alike():
    """5 standard errors of a share of 1/3 in 1500 draws are 0.061."""
    strategy = started(
        MARK,
        [({"mark": i}, float(i)) for i in range(10)],
        population=10,
        selection="truncation",
        selection_share=0.3,
        crossover=None,
    )
    marks, counts = np.unique(parent_marks(strategy, 1500), return_counts=True)
    assert marks.tolist() == [7, 8, 9]
    np.testing.assert_allclose(counts / 1500, 1 / 3, atol=0.061)


# -- crossover ---------------------------------------------------------------------------------


def crossed(crossover, decisions, count):
    """Return children of one parent of zeros and one of ones, as an array, without mutation."""
    parents = [({d.name: value for d in decisions}, 0.0) for value in (0, 1)]
    strategy = started(decisions, parents, population=2, crossover=crossover, crossover_rate=1.0, mutation_rate=0.0)
    return np.array([[p[d.name] for d in decisions] for p in proposals(strategy, count)])


def test_uniform_crossover_takes_each_value_of_either_parent_with_probability_one_half():
    """Tolerances: 5 standard errors, 2.5 / sqrt(number of coins)."""
    children = crossed("uniform", MANY, 400)
    assert children.mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(children.size))
    assert np.all(np.abs(children.mean(axis=0) - 0.5) <= 2.5 / np.sqrt(400))
    # independent coins: neighbours differ half of the time
    switches = children[:, 1:] != children[:, :-1]
    assert switches.mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(switches.size))


def test_one_point_crossover_has_exactly_one_switch_anywhere():
    children = crossed("one-point", MANY[:20], 400)
    switches = children[:, 1:] != children[:, :-1]
    assert switches.sum(axis=1).tolist() == [1] * 400
    assert switches.any(axis=0).all()  # a point is missed with probability 19 * (18/19)^400 < 1e-8


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_crossover_rate_is_the_share_of_children_with_two_parents(rate):
    """5 standard errors in 1000 draws: at most 0.079."""
    rng = np.random.default_rng(0)
    strategy = started(MANY, [(random_choices(MANY, rng), float(i)) for i in range(10)], crossover_rate=rate)
    found = [p.why["phase"] for p in proposals(strategy, 1000)]
    assert set(found) <= {"crossover", "mutation"}
    assert np.mean([phase == "crossover" for phase in found]) == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / 1000))


@given(data=st.data(), crossover=st.sampled_from(["uniform", "one-point"]), seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_crossover_only_mixes_parents(spaces, data, crossover, seed):
    """Without mutation, each value is a parent's; only what no parent decided is drawn, and that is told."""
    decisions = data.draw(spaces)
    rng = np.random.default_rng(seed)
    known = [random_choices(decisions, rng) for _ in range(6)]
    observations = [(choices, rng.normal()) for choices in known]
    options = {"population": 6, "crossover": crossover, "crossover_rate": 1.0, "mutation_rate": 0.0}
    strategy = started(decisions, observations, **options)
    strategy._known.clear()  # a child that equals a parent would be mutated
    for _ in range(5):
        child = strategy.propose(rng)
        parents = child.why.get("parents") or [child.why["parent"]]
        assert all(parent in known for parent in parents)
        for name, value in child.items():
            inherited = [parent[name] for parent in parents if name in parent]
            if inherited:
                assert value in inherited
                assert name not in child.why["mutation"]
            else:
                assert child.why["mutation"][name] == [None, value]


def test_a_value_of_another_decision_with_the_same_name_is_not_inherited():
    decisions = [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="units", values=(1, 2, 3), conditions=(Condition("kind", ("a",)),)),
        Discrete(name="units", values=(2, 300), conditions=(Condition("kind", ("b",)),)),
    ]
    parents = [({"kind": "a", "units": 2}, 0.0), ({"kind": "b", "units": 300}, 0.0)]
    strategy = started(decisions, parents, population=2, crossover_rate=1.0)
    for child in proposals(strategy, 100):
        assert child["units"] in ((1, 2, 3) if child["kind"] == "a" else (2, 300))


def test_a_parent_with_an_impossible_value_gives_that_decision_away():
    decisions = [Discrete(name="a", values=(0, 1)), Range(name="x", low=0.0, high=1.0)]
    strategy = started(decisions, [({"a": 9, "x": 5.0}, 0.0), ({"a": "no", "x": "no"}, 1.0)], population=2)
    assert all(p["a"] in (0, 1) and 0 <= p["x"] <= 1 for p in proposals(strategy, 30))


# -- mutation ----------------------------------------------------------------------------------


def mutations(decisions, rate, count):
    rng = np.random.default_rng(3)
    parents = [(random_choices(decisions, rng), 0.0) for _ in range(2)]
    strategy = started(decisions, parents, population=2, crossover=None, mutation_rate=rate)
    found = proposals(strategy, count)
    for proposal in found:
        parent = proposal.why["parent"]
        changed = {name: [parent[name], value] for name, value in proposal.items() if value != parent[name]}
        assert proposal.why["mutation"] == changed
    return np.array([len(proposal.why["mutation"]) for proposal in found])


def test_the_number_of_mutations_is_binomial():
    """Mean n r and variance n r (1 - r), within 5 standard errors over 600 children (of a variance: sqrt(2 / N) of it)."""
    counts = mutations(MANY, 0.1, 600)
    assert counts.mean() == pytest.approx(10, abs=5 * np.sqrt(9 / 600))
    assert counts.var() == pytest.approx(9, abs=5 * 9 * np.sqrt(2 / 600))


def test_by_default_one_decision_mutates_on_average_and_at_least_one_does():
    """Binomial(n, 1/n), with one in place of none, as the parent is known: mean 1 + (1 - 1/n)^n; 5 standard errors."""
    counts = mutations(MANY, None, 600)
    assert counts.min() == 1
    assert counts.mean() == pytest.approx(1 + 0.99**100, abs=5 * counts.std() / np.sqrt(600))


# -- what is known ------------------------------------------------------------------------------


def test_known_and_pending_configurations_are_avoided():
    decisions = MANY[:5]
    rng = np.random.default_rng(0)
    observations = [(random_choices(decisions, rng), float(i)) for i in range(20)]
    strategy = started(decisions, observations)
    pending = [dict(p) for p in proposals(strategy, 10)]
    taken = {identity(decisions, c) for c in [*pending, *(c for c, _ in observations)]}
    assert not taken & {identity(decisions, p) for p in proposals(strategy, 200, pending=pending)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"population": 1},
        {"selection": "roulette"},
        {"selection_share": 0},
        {"selection_share": 1.5},
        {"crossover": "two-point"},
        {"crossover_rate": -0.1},
        {"mutation_rate": 1.1},
    ],
)
def test_evolution_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Evolution(**wrong)
