"""Values and bins of a decision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.strategies import Discrete, Range
from kerasnas.strategies.arms import Arms


@st.composite
def decisions(draw):
    if draw(st.booleans()):
        return Discrete(name="d", values=tuple(range(draw(st.integers(1, 100)))), ordered=draw(st.booleans()))
    low, width = draw(st.integers(1, 50)), draw(st.integers(0, 2000))
    scale = draw(st.sampled_from(["linear", "log", "reverse_log"]))
    return Range(name="d", low=low, high=low + width, scale=scale, integer=draw(st.booleans()))


@given(decisions())
def test_arms_cover_the_unit_interval_and_cut_no_value(decision):
    """The share of each value lies in one arm; the borders are compared 1e-9 away, as they are rounded."""
    arms = Arms(decision)
    assert arms.edges[0] == 0
    assert arms.edges[-1] == 1
    assert arms.shares.min() > 0
    assert arms.shares.sum() == pytest.approx(1)
    assert len(arms.labels()) == len(arms) == len(arms.shares)
    if decision.size is not None:
        below = [decision.from_unit(edge - 1e-9) for edge in arms.edges[1:-1]]
        above = [decision.from_unit(edge + 1e-9) for edge in arms.edges[1:-1]]
        assert all(low < high for low, high in zip(below, above, strict=True))
        if arms.are_values:
            assert len(arms) == decision.size == len(set(arms.labels()))
        else:
            assert 8 < len(arms) <= 16


@given(decisions(), st.lists(st.floats(0, 0.999), min_size=1))
def test_what_is_drawn_from_an_arm_lies_in_it(decision, uniforms):
    arms = Arms(decision)
    chosen = np.arange(len(uniforms)) % len(arms)
    np.testing.assert_array_equal(arms.of(arms.draw(chosen, np.array(uniforms))), chosen)


def test_labels_are_values_or_ends():
    assert Arms(Discrete(name="a", values=("x", "y"))).labels() == ["x", "y"]
    assert Arms(Range(name="n", low=1, high=8, scale="log", integer=True)).labels() == [str(n) for n in range(1, 9)]
    labels = Arms(Range(name="r", low=0, high=16)).labels()
    assert labels[0] == "0 to 1"
    assert labels[-1] == "15 to 16"
