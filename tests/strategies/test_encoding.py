"""Rows of numbers against the walks over decisions that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.strategies import Condition, Discrete, Range
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.space import enumerate_choices, identity, random_choices


@st.composite
def spaces(draw):
    """Up to six decisions, some twice under one name with conditions that exclude each other."""
    decisions = []
    for i in range(draw(st.integers(0, 6))):
        listed = [d for d in decisions if d.size is not None]
        conditions, twin = (), ()
        if listed and draw(st.booleans()):
            parent = draw(st.sampled_from(listed))
            values = sorted({parent.from_unit((k + 0.5) / 9) for k in range(9)}, key=str)
            cut = draw(st.integers(0, len(values)))
            conditions = (*parent.conditions, Condition(parent.name, tuple(values[:cut])))
            twin = (*parent.conditions, Condition(parent.name, tuple(values[cut:])))
        decisions.append(draw(one_decision(f"d{i}", conditions)))
        if twin and draw(st.booleans()):
            decisions.append(draw(one_decision(f"d{i}", twin)))
    return decisions


def one_decision(name, conditions):
    rest = {"name": name, "conditions": conditions}
    return st.one_of(
        st.sampled_from([("x",), ("x", "y", "z"), (False, True), (1, 2, 4)]).map(lambda v: Discrete(values=v, **rest)),
        st.integers(1, 40).map(lambda n: Discrete(values=tuple(range(n)), ordered=True, **rest)),
        st.tuples(st.integers(1, 9), st.integers(0, 2000), st.sampled_from(["linear", "log", "reverse_log"])).map(
            lambda t: Range(low=t[0], high=t[0] + t[1], scale=t[2], integer=True, **rest)
        ),
        st.sampled_from(["linear", "log", "reverse_log"]).map(lambda s: Range(low=1e-4, high=1.0, scale=s, **rest)),
    )


def assert_alike(decisions, one, other):
    """Equal but for real numbers, which are rounded on their way through [0, 1]."""
    assert set(one) == set(other)
    for name, value in one.items():
        assert other[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
        assert type(other[name]) is type(value)
    assert len(active_decisions(decisions, one)) == len(one)


@given(spaces(), st.integers(0, 2**32))
def test_decoding_undoes_encoding(decisions, seed):
    encoding = Encoding(decisions)
    choices = [random_choices(decisions, np.random.default_rng([seed, i])) for i in range(5)]
    units = encoding.encode(choices)
    for made, row in zip(choices, units, strict=True):
        assert_alike(decisions, made, encoding.decode(row))
    np.testing.assert_allclose(encoding.complete(units), units, atol=1e-12)


@given(spaces(), st.integers(0, 2**32))
def test_samples_and_mutants_are_valid_configurations(decisions, seed):
    """A valid row is one that encodes what it decodes to, in which just the active decisions are made."""
    encoding, rng = Encoding(decisions), np.random.default_rng(seed)
    units = encoding.sample(6, rng)
    for rows in (units, encoding.mutate(units, rng), encoding.mutate(units, rng, moves=3, local=0.0)):
        choices = [encoding.decode(row) for row in rows]
        again = encoding.encode(choices)
        np.testing.assert_array_equal(np.isnan(again), np.isnan(rows))
        np.testing.assert_allclose(again, rows, atol=1e-9)
        for column in range(len(encoding)):
            np.testing.assert_array_equal(encoding.active(column, rows), ~np.isnan(rows[:, column]))


@given(spaces(), st.integers(0, 2**32))
def test_keys_tell_configurations_apart_as_identity_does(decisions, seed):
    decisions = [d for d in decisions if d.size is not None]
    names = {d.name for d in decisions}
    decisions = [d for d in decisions if all(c.name in names for c in d.conditions)]
    choices = [random_choices(decisions, np.random.default_rng([seed, i])) for i in range(20)]
    encoding = Encoding(decisions)
    keys = encoding.keys(encoding.encode(choices))
    assert len(set(keys)) == len({identity(decisions, made) for made in choices})


def test_every_configuration_has_its_own_key():
    decisions = [
        Discrete(name="a", values=("x", "y")),
        Discrete(name="b", values=(0, 1, 2), conditions=(Condition("a", ("x",)),)),
        Range(name="b", low=0, high=2, integer=True, conditions=(Condition("a", ("y",)),)),
        Range(name="n", low=1, high=50, integer=True, scale="log"),
    ]
    encoding = Encoding(decisions)
    assert len(set(encoding.keys(encoding.encode(list(enumerate_choices(decisions)))))) == 6 * 50


def test_what_is_missing_or_unknown_is_not_active():
    encoding = Encoding([Discrete(name="a", values=(0, 1)), Discrete(name="b", values=(0, 1))])
    np.testing.assert_array_equal(encoding.encode([{"b": 1, "other": "z"}, {}]), [[np.nan, 0.75], [np.nan, np.nan]])


def test_complete_fills_what_a_change_makes_active():
    decisions = [Discrete(name="a", values=(0, 1)), Discrete(name="b", values=(0, 1), conditions=(Condition("a", (1,)),))]
    rows = np.array([[0.75, np.nan], [0.25, 0.25]])
    np.testing.assert_array_equal(Encoding(decisions).complete(rows, np.full((2, 2), 0.9)), [[0.75, 0.75], [0.25, np.nan]])


def test_one_mutation_moves_one_decision_and_never_to_where_it_was():
    """Over lists; a real number may stay where it is when it is clipped at an end."""
    decisions = [
        Discrete(name="kind", values=("x", "y", "z")),
        Discrete(name="steps", values=(1, 2, 3, 4), ordered=True),
        Discrete(name="only", values=(0,)),
    ]
    encoding, rng = Encoding(decisions), np.random.default_rng(0)
    units = encoding.sample(500, rng)
    moved = encoding.mutate(units, rng) != units
    np.testing.assert_array_equal(moved.sum(axis=1), 1)
    assert not moved[:, 2].any()
    assert moved[:, 0].mean() == pytest.approx(0.5, abs=0.12)  # 500 throws of a coin: five standard deviations


def test_local_mutations_stay_nearby():
    """A normal step of 0.1: beyond 0.6 lies one in a billion."""
    encoding, rng = Encoding([Range(name="r", low=0, high=1)]), np.random.default_rng(0)
    units = encoding.sample(1000, rng)
    assert np.abs(encoding.mutate(units, rng, local=1.0) - units).max() < 0.6
    assert np.abs(encoding.mutate(units, rng, local=0.0) - units).max() > 0.8
