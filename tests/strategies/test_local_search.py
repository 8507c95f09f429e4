import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, LocalSearch, Range
from kerasnas.strategies.space import identity, random_choices

GRID = [Discrete(name=f"d{i}", values=(0, 1, 2)) for i in range(4)]
OPTIMUM = {d.name: 1 for d in GRID}


def started(decisions, observations=(), starts=1):
    strategy = LocalSearch(starts=starts)
    strategy.start(decisions)
    for choices, score in observations:
        strategy.observe(choices, score)
    return strategy


def climb(strategy, score_of, trials):
    """Return the proposals of a search."""
    found = []
    for t in range(trials):
        found.append(strategy.propose(np.random.default_rng([11, t])))
        strategy.observe(dict(found[-1]), score_of(found[-1]))
    return found


@pytest.mark.parametrize("score", [0.0, np.nan, -np.inf])
def test_the_whole_neighbourhood_of_an_optimum_is_visited_before_a_restart(score):
    strategy = started(GRID, [(OPTIMUM, 1.0)])
    *neighbours, restart = climb(strategy, lambda _: score, 9)
    expected = {identity(GRID, {**OPTIMUM, d.name: v}) for d in GRID for v in (0, 2)}
    assert {identity(GRID, n) for n in neighbours} == expected  # eight of them, and eight proposals: none came twice
    assert [n.why["phase"] for n in neighbours] == ["neighbour"] * 8
    assert restart.why == {"phase": "restart"}


def test_after_a_restart_a_worse_configuration_is_climbed_from():
    strategy = started(GRID, [(OPTIMUM, 1.0)])
    climb(strategy, lambda _: 0.0, 8)
    restart = {d.name: 2 for d in GRID}
    strategy.observe(restart, 0.5)
    assert strategy.propose(np.random.default_rng(0)).why["parent"] == restart


def test_the_first_better_neighbour_is_moved_to():
    strategy = started(GRID, [(OPTIMUM, 0.0), ({**OPTIMUM, "d0": 2}, 0.5)])
    assert strategy.propose(np.random.default_rng(0)).why["parent"] == {**OPTIMUM, "d0": 2}
    strategy.observe({**OPTIMUM, "d0": 0}, 0.5)  # as good is not better
    assert strategy.propose(np.random.default_rng(0)).why["parent"] == {**OPTIMUM, "d0": 2}


def test_it_starts_from_the_best_of_the_random_configurations():
    rng = np.random.default_rng(0)
    observations = [(random_choices(GRID, rng), score) for score in (0.1, np.nan, 0.9, 0.5)]
    early = started(GRID, observations[:3], starts=4)
    assert early.propose(rng).why == {"phase": "initial"}
    assert started(GRID, observations, starts=4).propose(rng).why["parent"] == observations[2][0]


def test_nothing_but_failures_is_no_place_to_climb_from():
    strategy = started(GRID, [(OPTIMUM, np.nan), ({**OPTIMUM, "d0": 2}, np.inf)])
    assert strategy.propose(np.random.default_rng(0)).why == {"phase": "initial"}


def test_an_infinite_score_is_a_failure_and_no_top():
    better = {**OPTIMUM, "d0": 2}
    strategy = started(GRID, [(OPTIMUM, 0.0), ({**OPTIMUM, "d1": 0}, np.inf), (better, 0.5)])
    assert strategy.propose(np.random.default_rng(0)).why["parent"] == better


def test_a_sum_is_climbed_to_its_top():
    """From any point 8 steps up, each found among at most 8 neighbours: 64 trials are enough at the worst."""
    found = climb(started(GRID), lambda c: float(sum(c.values())), 65)
    assert {d.name: 2 for d in GRID} in found


def test_pending_neighbours_are_not_proposed():
    strategy = started(GRID, [(OPTIMUM, 1.0)])
    neighbours = [{**OPTIMUM, d.name: v} for d in GRID for v in (0, 2)]
    for left in range(8):
        pending = neighbours[:left] + neighbours[left + 1 :]
        assert strategy.propose(np.random.default_rng(left), pending) == neighbours[left]
    assert strategy.propose(np.random.default_rng(0), neighbours).why["phase"] == "restart"
    assert strategy.propose(np.random.default_rng(0)).why["phase"] == "neighbour"  # that was not remembered


def test_what_was_known_before_a_move_is_not_visited_again():
    better = {**OPTIMUM, "d0": 2}
    strategy = started(GRID, [(OPTIMUM, 0.5), ({**OPTIMUM, "d0": 0}, 0.0), (better, 1.0)])
    proposals = climb(strategy, lambda _: 0.0, 6)
    assert {p["d0"] for p in proposals} == {2}  # the other two values of d0 are known: 6 neighbours are left of 8
    assert strategy.propose(np.random.default_rng(0)).why["phase"] == "restart"


def test_a_move_that_switches_decisions_on_draws_them_and_counts_once():
    decisions = [
        Discrete(name="a", values=(0, 1)),
        Range(name="x", low=0.0, high=1.0, conditions=(Condition("a", (1,)),)),
    ]
    strategy = started(decisions, [({"a": 0}, 1.0)])
    moved = strategy.propose(np.random.default_rng(0))
    assert moved["a"] == 1
    assert 0 <= moved["x"] <= 1
    assert moved.why["mutation"] == {"a": [0, 1], "x": [None, moved["x"]]}
    strategy.observe(dict(moved), 0.0)
    assert strategy.propose(np.random.default_rng(0)).why["phase"] == "restart"


def test_of_a_real_number_sixteen_neighbours_are_drawn():
    strategy = started([Range(name="x", low=0.0, high=1.0)], [({"x": 0.5}, 1.0)])
    found = climb(strategy, lambda _: 0.0, 17)
    assert [p.why["phase"] for p in found] == ["neighbour"] * 16 + ["restart"]
    assert len({p["x"] for p in found}) == 17


def test_of_a_log_integer_every_value_is_visited():
    strategy = started([Range(name="x", low=1, high=9, scale="log", integer=True)], [({"x": 4}, 1.0)])
    assert {p["x"] for p in climb(strategy, lambda _: 0.0, 8)} == {1, 2, 3, 5, 6, 7, 8, 9}


@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_a_neighbour_differs_in_one_of_the_decisions_that_both_made(spaces, data, seed):
    decisions = data.draw(spaces)
    rng = np.random.default_rng(seed)
    strategy = started(decisions, [(random_choices(decisions, rng), rng.normal()) for _ in range(3)], starts=2)
    for _ in range(5):
        moved = strategy.propose(rng)
        assert len(identity(decisions, moved)) == len(moved)  # active decisions only
        if moved.why["phase"] == "neighbour":
            parent, mutation = moved.why["parent"], moved.why["mutation"]
            assert len([n for n in moved if n in parent and moved[n] != parent[n]]) == 1
            made = {**parent, **{name: new for name, (_, new) in mutation.items()}}
            assert {name: value for name, value in made.items() if value is not None} == dict(moved)
        strategy.observe(dict(moved), rng.normal())


def test_local_search_refuses_nonsense():
    with pytest.raises(ValueError, match="starts must be an integer >= 1, got 0"):
        LocalSearch(starts=0)
