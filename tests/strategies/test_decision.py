import math

import keras_tuner as kt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.strategies import Condition, Discrete, Range

units = st.floats(0, 1)


@given(
    st.integers(-50, 50),
    st.integers(0, 2000),
    units,
)
def test_integer_range_maps_to_itself_and_stays_inside(low, width, unit):
    decision = Range(name="n", low=low, high=low + width, integer=True)
    value = decision.from_unit(unit)
    assert isinstance(value, int)
    assert low <= value <= low + width
    assert decision.from_unit(decision.to_unit(value)) == value


@given(st.sampled_from(["linear", "log", "reverse_log"]), st.floats(1e-6, 10), st.floats(1.001, 1e5), units)
def test_real_range_is_monotone_inside_and_invertible(scale, low, factor, unit):
    decision = Range(name="x", low=low, high=low * factor, scale=scale)
    value = decision.from_unit(unit)
    assert decision.low <= value <= decision.high
    assert decision.to_unit(value) == pytest.approx(unit, abs=1e-5)
    assert decision.from_unit(1.0) == pytest.approx(decision.high)
    assert decision.from_unit(0.0) == pytest.approx(decision.low)


def test_log_range_has_its_geometric_mean_in_the_middle():
    assert Range(name="x", low=1e-4, high=1e-2, scale="log").from_unit(0.5) == pytest.approx(1e-3)


@given(st.lists(st.integers(), min_size=1, max_size=30, unique=True), units)
def test_discrete_gives_each_value_an_equal_share(values, unit):
    decision = Discrete(name="c", values=tuple(values))
    assert decision.from_unit(decision.to_unit(decision.from_unit(unit))) == decision.from_unit(unit)
    n = len(values)
    assert [decision.from_unit((i + 0.5) / n) for i in range(n)] == values


def test_off_list_values():
    assert Discrete(name="c", values=(2, 4, 8), ordered=True).index(5) == 1
    with pytest.raises(ValueError, match="expected one of"):
        Discrete(name="c", values=("a", "b")).index("z")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Discrete(name="c", values=()),
        lambda: Range(name="x", low=2, high=1),
        lambda: Range(name="x", low=0, high=1, scale="log"),
    ],
)
def test_decisions_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match="needs"):
        wrong()


def test_every_kind_of_hyperparameter_becomes_a_decision():
    hp = kt.HyperParameters()
    hp.Choice("kind", ["conv", "dense"])
    hp.Choice("width", [8, 16, 32])
    hp.Boolean("skip")
    hp.Fixed("classes", 10)
    hp.Int("units", 2, 10, step=4)
    hp.Int("batch", 2, 32, step=2, sampling="log")
    hp.Int("grid", 8, 16384, step=8)
    hp.Int("big", 1, 100_000, sampling="log")
    hp.Float("rate", 0.0, 1.0, step=0.1)
    hp.Float("lr", 1e-4, 1e-1, sampling="log")
    hp.Float("reverse", 1.0, 8.0, step=2, sampling="reverse_log")
    with hp.conditional_scope("kind", ["conv"]):
        hp.Choice("kernel", [3, 5])
    d = {decision.name: decision for decision in decisions_of(entries_of(hp))}
    assert d["kind"] == Discrete(name="kind", values=("conv", "dense"), ordered=False)
    assert d["width"].ordered
    assert d["skip"].values == (False, True)
    assert d["classes"].values == (10,)
    assert d["units"].values == (2, 6, 10)
    assert d["batch"].values == (2, 4, 8, 16, 32)
    assert d["big"] == Range(name="big", low=1, high=100_000, scale="log", integer=True)
    assert d["rate"].values == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert d["lr"] == Range(name="lr", low=1e-4, high=1e-1, scale="log")
    assert d["grid"].values[:3] == (8, 16, 24)
    assert d["grid"].size == 2048
    assert d["reverse"].values == (1.0, 5.0, 7.0, 8.0)
    assert d["kernel"].conditions == (Condition("kind", ("conv",)),)
    assert all(math.isfinite(x.to_unit(x.from_unit(0.3))) for x in d.values())


def test_rounding_takes_no_integer_below_its_range():
    ranges = [Range(name="n", low=low, high=low + 40, scale="reverse_log", integer=True) for low in range(1, 60)]
    assert all(decision.from_unit(0.0) == decision.low for decision in ranges)
