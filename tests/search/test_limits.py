import math

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument
from kerasnas.search import latency
from kerasnas.search.limits import CostReport, Limits


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])  # 23, 18, 28


@pytest.fixture
def clock(monkeypatch):
    """Measure 1.5 ms without measuring, and count how often."""
    calls = []
    monkeypatch.setattr(latency, "measure_latency", lambda model: calls.append(model) or 1.5)
    return calls


def test_a_limit_is_the_most_that_is_allowed(model):
    names = ("parameters", "macs", "activation_bytes")
    for name, exact in zip(names, (23, 18, 28), strict=True):
        assert Limits.of({name: exact}).check(model).violations == ()
        (sentence,) = Limits.of({name: exact - 0.5}).check(model).violations
        assert sentence.startswith(f"{exact} ")
    assert len(Limits(1, 1, 1).check(model).violations) == 3
    assert Limits.of(None).check(model) == CostReport(cost_of(model), excess=0.0)


def test_a_sentence_reads_well():
    cost = Cost(parameters=1_204_010, macs=10_000_000, activation_bytes=5)
    report = Limits(parameters=1e5, macs=12345.5).check(None, cost=cost)
    assert report.violations == (
        "1,204,010 parameters; at most 100,000 are allowed",
        "10,000,000 multiply-accumulates; at most 12,345.5 are allowed",
    )


def test_latency_is_measured_once_and_only_where_it_is_limited(model, clock):
    assert Limits(parameters=23).check(model).metrics == {"parameters": 23.0, "macs": 18.0, "activation_bytes": 28.0}
    assert clock == []
    report = Limits(parameters=23, latency_ms=1.25).check(model)
    assert report.violations == ("1.5 ms of latency; at most 1.25 ms are allowed",)
    assert report.metrics == {"parameters": 23.0, "macs": 18.0, "activation_bytes": 28.0, "latency_ms": 1.5}
    assert clock == [model]
    assert Limits(latency_ms=1.5).check(model).violations == ()


@pytest.mark.parametrize(
    ("parameters", "expected_ms", "measured", "violations", "excess"),
    [
        (22, None, True, 2, 1.5),  # nothing is expected yet: measured, to be able to expect something
        (22, 0.5, False, 1, 23 / 22),
        (22, 1.6, False, 1, 1.6),  # perhaps within the limit of latency: no violation, but the way leads there
        (22, 1.8, False, 2, 1.8),
        (23, 1.6, True, 1, 1.5),  # too near to the limit for a guess
        (23, 1.8, False, 1, 1.8),
        (230, 0.1, True, 1, 1.5),
    ],
)
def test_latency_is_measured_where_the_expected_one_does_not_decide(
    parameters, expected_ms, measured, violations, excess, model, clock
):
    report = Limits(parameters=parameters, latency_ms=1.0).check(model, expected_ms=expected_ms)
    assert report.latency_ms == (1.5 if measured else None)
    assert len(clock) == measured
    assert len(report.violations) == violations
    assert report.excess == pytest.approx(excess)


@pytest.mark.parametrize("expected_ms", [None, 0.1, 9.0])
def test_a_latency_that_is_known_is_neither_measured_nor_guessed(expected_ms, model, clock):
    report = Limits(parameters=22, latency_ms=1.0).check(model, expected_ms=expected_ms, known_ms=1.25)
    assert (report.latency_ms, report.excess, len(report.violations)) == (1.25, 1.25, 2)
    assert clock == []


def test_the_excess_is_that_of_the_limit_that_is_exceeded_most(model):
    assert Limits.of(None).check(model).excess == 0.0
    assert Limits(parameters=46, macs=9, activation_bytes=14).check(model).excess == 2.0
    assert Limits(parameters=46).check(model).excess == 0.5


def test_a_known_cost_is_not_computed_again():
    cost = Cost(parameters=1, macs=2, activation_bytes=3)
    assert Limits(macs=1).check(None, cost=cost).cost is cost


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.booleans() | st.text())
def test_limits_are_finite_numbers_above_zero(value):
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if fine:
        assert Limits.of({"macs": value}).macs == value
    else:
        with pytest.raises(InvalidArgument, match="macs"):
            Limits.of({"macs": value})


def test_what_is_no_limit_is_refused():
    with pytest.raises(InvalidArgument, match="Did you mean 'parameters'"):
        Limits.of({"params": 5})
    with pytest.raises(InvalidArgument, match="Did you mean 'latency_ms'"):
        Limits.of({"latency": 5})
    with pytest.raises(InvalidArgument, match="by name"):
        Limits.of(100)
    limits = Limits(macs=5)
    assert Limits.of(limits) is limits
    assert Limits.of({}) == Limits.of({"macs": None}) == Limits()
