import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, Range
from kerasnas.strategies.space import enumerate_choices, identity, neighbour, random_choices

TREE = [
    Discrete(name="kind", values=("conv", "dense", "none")),
    Discrete(name="kernel", values=(3, 5, 7), ordered=True, conditions=(Condition("kind", ("conv",)),)),
    Discrete(name="units", values=(8, 16), ordered=True, conditions=(Condition("kind", ("dense",)),)),
    Discrete(name="big", values=(False, True), conditions=(Condition("kernel", (5, 7)),)),
]


def test_enumeration_lists_every_configuration_once():
    listed = list(enumerate_choices(TREE))
    # conv: kernel 3 | kernel 5, 7 with big or not = 5; dense: 2; none: 1
    assert len(listed) == 8
    assert len({identity(TREE, c) for c in listed}) == 8
    assert {"kind": "conv", "kernel": 3} in listed
    assert {"kind": "none"} in listed


def test_enumeration_refuses_real_numbers():
    with pytest.raises(ValueError, match="too many"):
        list(enumerate_choices([Range(name="x", low=0, high=1)]))


@given(st.integers(0, 10_000))
def test_random_choices_hold_exactly_the_active_decisions(seed):
    assert random_choices(TREE, np.random.default_rng(seed)) in list(enumerate_choices(TREE))


@given(st.integers(0, 10_000))
def test_neighbour_is_valid_and_keeps_what_it_did_not_move(seed):
    rng = np.random.default_rng(seed)
    start = {"kind": "conv", "kernel": 5, "big": True}
    moved = neighbour(TREE, start, rng)
    assert moved in list(enumerate_choices(TREE))
    if moved["kind"] == "conv" and moved.get("kernel") != 5:
        assert moved.get("big", True) is True


def test_same_name_under_excluding_conditions():
    decisions = [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="units", values=(1, 2), conditions=(Condition("kind", ("a",)),)),
        Discrete(name="units", values=(10, 20, 30), conditions=(Condition("kind", ("b",)),)),
    ]
    assert len(list(enumerate_choices(decisions))) == 5


def test_identity_ignores_values_of_inactive_decisions():
    assert identity(TREE, {"kind": "none", "kernel": 3}) == identity(TREE, {"kind": "none"})
