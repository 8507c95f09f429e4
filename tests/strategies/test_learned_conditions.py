"""What networks ask for, and under which conditions, is learned from which values they left unused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, Range
from kerasnas.strategies.decision import active_choices
from kerasnas.strategies.learned_conditions import Use, with_learned_conditions
from kerasnas.strategies.space import random_choices


def use(choices, asked):
    return Use(choices, tuple(name for name in choices if name not in asked))


def nested(values):
    """Return what a network of blocks of layers asks for, with a rate where it has dropout."""
    asked = ["blocks", "dropout", "lr", *(["rate"] if values["dropout"] else [])]
    for block in range(values["blocks"]):
        asked.append(f"layers_{block}")
        for layer in range(values[f"layers_{block}"]):
            asked += [f"units_{block}_{layer}", f"kind_{block}_{layer}"]
    return asked


NESTED = [
    Range(name="lr", low=1e-4, high=1e-1, scale="log"),
    Range(name="blocks", low=1, high=3, integer=True),
    Discrete(name="dropout", values=(False, True)),
    Range(name="rate", low=0.0, high=0.5),
    *itertools.chain.from_iterable(
        [
            Discrete(name=f"layers_{block}", values=(1, 2, 3), ordered=True),
            *itertools.chain.from_iterable(
                [
                    Range(name=f"units_{block}_{layer}", low=1, high=512, integer=True, scale="log"),
                    Discrete(name=f"kind_{block}_{layer}", values=("conv", "pool", "skip")),
                ]
                for layer in range(3)
            ),
        ]
        for block in range(3)
    ),
]


def trials(decisions, asked_of, count, seed):
    rng = np.random.default_rng(seed)
    drawn = [random_choices(decisions, rng) for _ in range(count)]
    return [use(choices, asked_of(choices)) for choices in drawn]


@pytest.mark.parametrize("seed", range(5))
def test_loops_within_loops_are_found_out(seed):
    learned = with_learned_conditions(NESTED, trials(NESTED, nested, 80, seed))
    rng = np.random.default_rng(100 + seed)
    for _ in range(200):
        choices = random_choices(NESTED, rng)
        assert set(active_choices(learned, choices)) == set(nested(choices))


def test_the_rule_of_a_loop_in_so_many_words():
    decisions = [
        Discrete(name="layers", values=(1, 2, 3, 4), ordered=True),
        Discrete(name="units", values=(8, 16), ordered=True),
        Discrete(name="more", values=(8, 16), ordered=True),
    ]
    told = [
        use({"layers": n, "units": 8, "more": m}, ["layers", "units", *(["more"] if n > 2 else [])])
        for n, m in [(1, 8), (2, 16), (3, 8), (4, 16)]
    ]
    layers, units, more = with_learned_conditions(decisions, told)
    assert (layers, units) == tuple(decisions[:2])
    assert more.conditions == (Condition("layers", (3, 4)),)
    # Before a network of three layers was tried, they might be used there.
    told[2:3] = [use({"layers": 4, "units": 8, "more": 8}, ["layers", "units", "more"])]
    *_, more = with_learned_conditions(decisions, told)
    assert more.conditions == (Condition("layers", (3, 4)),)
    del told[1]
    assert with_learned_conditions(decisions, told) == decisions  # one network that leaves it unused is not enough


def test_a_condition_that_was_stated_is_kept():
    decisions = [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="layers", values=(1, 2), ordered=True),
        Discrete(name="units", values=(8, 16), conditions=(Condition("kind", ("a",)),)),
    ]
    told = []
    for kind, layers in itertools.product("ab", (1, 2)):
        choices = {"kind": kind, "layers": layers} | ({"units": 8} if kind == "a" else {})
        told += [use(choices, ["kind", "layers", *(["units"] if layers == 2 else [])])] * 2
    *_, units = with_learned_conditions(decisions, told)
    assert units.conditions == (Condition("kind", ("a",)), Condition("layers", (2,)))


def test_a_trial_that_contradicts_a_rule_ends_it():
    decisions = [Discrete(name="flag", values=(False, True)), Discrete(name="units", values=(8, 16))]
    told = [use({"flag": flag, "units": 8}, ["flag", *(["units"] if flag else [])]) for flag in (False, True) * 3]
    *_, units = with_learned_conditions(decisions, told)
    assert units.conditions == (Condition("flag", (True,)),)
    told.append(use({"flag": False, "units": 16}, ["flag", "units"]))
    assert with_learned_conditions(decisions, told) == decisions


def test_what_no_rule_explains_stays_as_it_was():
    decisions = [Discrete(name="a", values=(1, 2)), Discrete(name="b", values=(1, 2)), Discrete(name="c", values=(1, 2))]
    told = [
        use({"a": a, "b": b, "c": 1}, ["a", "b", *(["c"] if a != b else [])]) for a, b in itertools.product((1, 2), repeat=2)
    ]
    assert with_learned_conditions(decisions, told * 2) == decisions
    nothing_asked = [use({"a": 1, "b": 2, "c": 1}, [])] * 9
    assert with_learned_conditions(decisions, nothing_asked) == decisions
    assert with_learned_conditions(decisions, []) == decisions


def test_a_decision_that_is_read_without_asking_can_be_a_condition():
    decisions = [Range(name="layers", low=1, high=3, integer=True), Discrete(name="units", values=(8, 16))]
    told = [use({"layers": n, "units": 8}, ["units"] if n > 1 else ["other"]) for n in (1, 2, 3, 1)]
    layers, units = with_learned_conditions(decisions, told)
    assert not layers.conditions
    assert units.conditions == (Condition("layers", (2, 3)),)


def test_a_decision_before_its_condition_does_not_hide_it_from_others():
    decisions = [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="layers", values=(1, 2), ordered=True),
        Discrete(name="units", values=(8, 16)),
    ]
    told = [use({"kind": "a", "layers": n, "units": 8}, ["layers", *(["kind", "units"] if n > 1 else [])]) for n in (1, 2) * 2]
    kind, _, units = with_learned_conditions(decisions, told)
    assert not kind.conditions
    assert units.conditions == (Condition("layers", (2,)),)


COLUMNS = [
    Discrete(name="number", values=(1, 2, 3), ordered=True),
    Discrete(name="kind", values=("a", "b", "c")),
    Range(name="real", low=0.0, high=1.0),
    Range(name="whole", low=1, high=4, integer=True),
    Discrete(name="flag", values=(False, True)),
]


@given(st.integers(0, 2**32 - 1), st.lists(st.sets(st.sampled_from([d.name for d in COLUMNS])), max_size=12))
def test_whatever_was_used_a_rule_explains_every_trial(seed, unused):
    rng = np.random.default_rng(seed)
    told = [Use(random_choices(COLUMNS, rng), names) for names in unused]
    learned = with_learned_conditions(COLUMNS, told)
    assert [d.name for d in learned] == [d.name for d in COLUMNS]
    for one in told:
        active = active_choices(learned, one.choices)
        for stated, decision in zip(COLUMNS, learned, strict=True):
            if decision != stated:
                assert (decision.name in active) == (decision.name not in one.unused)  # never so if none used it
            elif not decision.conditions:
                assert decision.name in active
