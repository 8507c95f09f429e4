import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.cost import Cost
from kerasnas.errors import InvalidArgument
from kerasnas.search.limits import CostReport, Limits

COST = Cost(parameters=23, macs=18, activation_bytes=28)


def test_a_limit_is_the_most_that_is_allowed():
    for name, exact in (("parameters", 23), ("macs", 18), ("activation_bytes", 28)):
        assert Limits.of({name: exact}).check(COST).violations == ()
        (sentence,) = Limits.of({name: exact - 0.5}).check(COST).violations
        assert sentence.startswith(f"{exact} ")
    assert len(Limits(1, 1, 1).check(COST).violations) == 3
    assert Limits.of(None).check(COST) == CostReport((), 0.0)


def test_a_sentence_reads_well():
    cost = Cost(parameters=1_204_010, macs=10_000_000, activation_bytes=5)
    assert Limits(parameters=1e5, macs=12345.5).check(cost).violations == (
        "1,204,010 parameters; at most 100,000 are allowed",
        "10,000,000 multiply-accumulates; at most 12,345.5 are allowed",
    )
    slow = Limits(latency_ms=1.25)
    assert slow.check(COST, latency_ms=1.5).violations == ("1.5 ms of latency; at most 1.25 ms are allowed",)
    assert slow.check(COST, expected_ms=1.55).violations == ("about 1.6 ms of latency expected; at most 1.25 ms are allowed",)
    assert slow.check(COST, expected_ms=9.0, latency_ms=1.25).violations == ()  # what is measured counts
    assert slow.check(COST).violations == Limits().check(COST, latency_ms=99.0).violations == ()


def test_the_excess_is_that_of_the_limit_that_is_exceeded_most():
    assert Limits(parameters=46, macs=9, activation_bytes=14).check(COST).excess == 2.0
    assert Limits(parameters=46).check(COST).excess == 0.5
    assert Limits(parameters=46, latency_ms=2.0).check(COST, latency_ms=3.0).excess == 1.5
    assert Limits(parameters=46, latency_ms=2.0).check(COST, expected_ms=5.0).excess == 2.5
    assert Limits(parameters=46, latency_ms=2.0).check(COST).excess == 0.5


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
