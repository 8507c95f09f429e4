"""The ticks of the chart: round sizes that lie between the smallest file and the largest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.compression_search.chart import _ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(12.2, 43.9, [15, 20, 30, 40]), (50, 1000, [50, 100, 200, 500, 1000]), (4.05, 4.06, [4.05, 4.06]), (7, 7, [7])],
)
def test_a_narrow_range_has_finer_ticks(low, high, ticks):
    assert _ticks(low, high) == pytest.approx(ticks)


@given(low=st.floats(0.5, 1e4), ratio=st.floats(1.3, 1e4))
def test_there_are_three_to_eight_of_them_in_order(low, ratio):
    ticks = _ticks(low, min(low * ratio, 9e6))
    assert 3 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * ratio for tick in ticks)
