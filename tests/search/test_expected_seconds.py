"""What a training takes is told by what others took."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.search.expected_seconds import expected_seconds

SIZES = st.integers(1_000, 10**9)


def costs(macs, activation_bytes=50_000):
    return {"macs": float(macs), "activation_bytes": float(activation_bytes), "parameters": 9.0}


@given(macs=SIZES, memory=SIZES, seconds=st.floats(1e-3, 1e4))
def test_a_network_takes_as_long_as_its_like(macs, memory, seconds):
    assert expected_seconds(costs(macs, memory), [(costs(macs, memory), seconds)]) == pytest.approx(seconds)


@given(st.lists(st.tuples(SIZES, SIZES, st.floats(0.01, 100)), min_size=1, max_size=6), st.floats(0.1, 10), st.randoms())
def test_a_slower_machine_is_slower_for_all(trained, factor, random):
    known = [(costs(m, b), s) for m, b, s in trained]
    slower = [(cost, factor * s) for cost, s in known]
    random.shuffle(slower)
    usual = expected_seconds(costs(10**6), known)
    assert expected_seconds(costs(10**6), slower) == pytest.approx(factor * usual, rel=1e-6)


def test_a_law_of_powers_is_found():
    sizes = [(10**a, 10**b) for a, b in itertools.product([5, 6, 7, 8], [4, 5, 6])]
    law = {size: 1e-8 * size[0] ** 0.9 * size[1] ** 0.1 for size in sizes}
    known = [(costs(*size), seconds) for size, seconds in law.items()]
    for size in [(3 * 10**5, 10**5), (5 * 10**7, 2 * 10**4)]:
        true = 1e-8 * size[0] ** 0.9 * size[1] ** 0.1
        assert expected_seconds(costs(*size), known) == pytest.approx(true, rel=0.1)
    # The prior alone would be wrong by a factor of two and more.
    assert expected_seconds(costs(10**8), known[:1]) < 0.5 * law[10**8, 10**4]


def test_nothing_is_expected_of_what_is_not_known():
    assert expected_seconds(costs(5), []) is None
    assert expected_seconds({"parameters": 5.0}, [(costs(5), 1.0)]) is None
    assert expected_seconds(costs(5), [({"parameters": 5.0}, 1.0)]) is None
