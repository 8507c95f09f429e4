import numpy as np
import pytest

from kerasnas.strategies import Condition, Discrete, RandomSearch, Range
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity, neighbour


class Settled(RandomSearch):
    """A strategy that has made up its mind."""

    def __init__(self, choices):
        self.choices = choices

    def propose(self, rng, pending=()):
        return dict(self.choices)


def exhaust(strategy, decisions, limit=50):
    strategy.start(decisions)
    tried = set()
    for trial in range(limit):
        choices = propose_untried(strategy, decisions, tried, np.random.default_rng(trial))
        if choices is None:
            return tried
        assert identity(decisions, choices) not in tried
        tried.add(identity(decisions, choices))
    return tried


def test_the_answer_of_the_strategy_comes_first():
    decisions = [Discrete(name="a", values=(0, 1, 2))]
    strategy = Settled({"a": 1})
    strategy.start(decisions)
    assert propose_untried(strategy, decisions, set(), np.random.default_rng(0)) == {"a": 1}


def test_a_settled_strategy_still_comes_through_the_whole_space():
    decisions = [Discrete(name="a", values=(0, 1, 2)), Discrete(name="b", values=(False, True))]
    assert len(exhaust(Settled({"a": 1, "b": True}), decisions)) == 6


def test_a_real_number_behind_a_condition_does_not_excuse_repeats():
    decisions = [
        Discrete(name="a", values=(0, 1)),
        Discrete(name="b", values=(0, 1)),
        Range(name="x", low=0.0, high=1.0, conditions=(Condition("a", (1,)), Condition("b", (1,)))),
    ]
    assert len(exhaust(Settled({"a": 0, "b": 0}), decisions, limit=30)) == 30


def test_a_real_number_that_can_never_be_asked_does_not_keep_the_search_going():
    decisions = [Discrete(name="a", values=(0, 1)), Range(name="x", low=0.0, high=1.0, conditions=(Condition("a", (7,)),))]
    assert len(exhaust(RandomSearch(), decisions)) == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_neighbour_keeps_no_value_of_another_decision_with_the_same_name(seed):
    decisions = [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="units", values=(1, 2), conditions=(Condition("kind", ("a",)),)),
        Discrete(name="units", values=(100, 200), conditions=(Condition("kind", ("b",)),)),
    ]
    moved = neighbour(decisions, {"kind": "a", "units": 1}, np.random.default_rng(seed))
    assert moved["units"] in ((1, 2) if moved["kind"] == "a" else (100, 200))
