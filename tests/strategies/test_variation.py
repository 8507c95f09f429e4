import numpy as np
import pytest

from kerasnas.strategies import Discrete, Range
from kerasnas.strategies.variation import other_value


def moved(decision, value, count):
    rng = np.random.default_rng(17)
    return [other_value(decision, value, rng) for _ in range(count)]


@pytest.mark.parametrize(
    "decision",
    [
        Discrete(name="x", values=("a", "b")),
        Discrete(name="x", values=(1, 2), ordered=True),
        Discrete(name="x", values=(1, 2, 4, 8), ordered=True),
        Range(name="x", low=1, high=2, integer=True),
        Range(name="x", low=1, high=7, scale="log", integer=True),
        Range(name="x", low=0.0, high=1.0),
    ],
)
@pytest.mark.parametrize("unit", [0.0, 0.5, 1.0])
def test_the_value_is_another_one(decision, unit):
    value = decision.from_unit(unit)
    assert value not in moved(decision, value, 300)


def test_the_only_value_stays():
    assert moved(Discrete(name="x", values=("a",)), "a", 3) == ["a"] * 3


@pytest.mark.parametrize(
    "decision",
    [
        Range(name="x", low=0.0, high=1.0),
        Range(name="x", low=1, high=1000, scale="log", integer=True),
        Discrete(name="x", values=tuple(range(100)), ordered=True),
    ],
)
def test_ordered_values_move_nearby_every_other_time_and_anywhere_else(decision):
    """Nearby is normal, sd 0.1: 0.3 % beyond 0.3, of the uniform half 40 %: together 0.2015.

    Tolerance: 5 standard errors in 4000 draws, 0.032, and 0.01 for values that are not exactly in the middle of their share.
    """
    middle = decision.from_unit(0.5)
    units = np.array([decision.to_unit(value) for value in moved(decision, middle, 4000)])
    assert np.mean(np.abs(units - decision.to_unit(middle)) > 0.3) == pytest.approx(0.2015, abs=0.042)


def test_a_step_over_the_end_comes_back():
    """From 0.02 two in five steps of sd 0.1 go below 0; were they clipped, a fifth of the values would be 0."""
    values = moved(Range(name="x", low=0.0, high=1.0), 0.02, 1000)
    assert min(values) > 0
    assert max(values) < 1


def test_categories_move_to_any_other_value_alike():
    """5 standard errors of a share of 1/3 in 3000 draws are 0.043."""
    values, counts = np.unique(moved(Discrete(name="x", values=("w", "x", "y", "z")), "x", 3000), return_counts=True)
    assert values.tolist() == ["w", "y", "z"]
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.043)


def test_steps_move_to_a_neighbour_more_often_than_categories_do():
    """Nearby, a step is 1/10 of the range at least, and 1.5/10 or less with probability 0.87: then it is a neighbour."""
    values = np.array(moved(Discrete(name="x", values=tuple(range(10)), ordered=True), 5, 3000))
    expected = 0.5 * 0.866 + 0.5 * 2 / 9
    assert np.mean(np.abs(values - 5) == 1) == pytest.approx(expected, abs=5 * np.sqrt(0.25 / 3000))
