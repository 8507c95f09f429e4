"""How many channels go, and which ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.compress.channels.ledger import Ledger
from kerasnas.compress.channels.selection import select


def bundles_of(sizes):
    ledger = Ledger()
    for number, size in enumerate(sizes):
        ledger.create(size, number)
    return ledger.settle()


def test_the_lowest_scores_go():
    bundles = bundles_of([4, 2])
    scores = np.array([3.0, 1.0, 4.0, 2.0, 9.0, 8.0])
    everything = np.ones(6, bool)
    layer = select(bundles, scores, 0.5, everything, scope="layer", divisor=1)
    np.testing.assert_array_equal(layer, [True, False, True, False, True, False])
    overall = select(bundles, scores, 0.5, everything, scope="global", divisor=1)
    np.testing.assert_array_equal(overall, [False, False, True, False, True, True])


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["layer", "global"]),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_more_is_a_subset_no_more_than_asked_and_nothing_vanishes(sizes, ratio, more, scope, divisor, seed):
    bundles = bundles_of(sizes)
    scores = np.random.default_rng(seed).random(bundles.count)
    everything = np.ones(bundles.count, bool)
    ratio, more = sorted((ratio, more))
    kept = select(bundles, scores, ratio, everything, scope=scope, divisor=divisor)
    fewer = select(bundles, scores, more, everything, scope=scope, divisor=divisor)
    assert (kept | ~fewer).all()
    assert np.count_nonzero(~kept) <= ratio * bundles.count + 1e-6
    # In two rounds one arrives where one does in one.
    np.testing.assert_array_equal(select(bundles, scores, more, kept, scope=scope, divisor=divisor), fewer)
    for group in bundles.groups:
        count = np.count_nonzero(fewer[group])
        assert count >= 1
        assert count == len(group) or count % divisor == 0
        if count < len(group):
            assert scores[group][fewer[group]].min() >= scores[group][~fewer[group]].max()
        if scope == "layer" and divisor == 1:
            assert count == max(1, len(group) - int(more * len(group) + 1e-9))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_ratio_zero_keeps_everything(scope):
    bundles = bundles_of([5, 7])
    assert select(bundles, np.zeros(12), 0.0, np.ones(12, bool), scope=scope, divisor=4).all()
