"""What is best, what keeps the bounds, and what need not be tried."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.compress.channels.scratch import paired_error
from kerasnas.compression_search import Candidate, Goal
from kerasnas.compression_search.compression import front_of, gain_caveat, loss_text, times
from kerasnas.compression_search.search import _reason, _too_few
from kerasnas.errors import InvalidArgument


def row(size, ms, loss, trial=1):
    return Candidate(trial, "U8S8", size, size, ms, 1.0, 0.9 - loss, loss, 0.001, size, size, 1000)


ORIGINAL = row(1000, 1.0, 0.0, trial=0)
numbers = st.builds(row, st.integers(1, 5000), st.floats(0.01, 10), st.floats(-0.1, 0.5))
goals = st.builds(
    Goal,
    st.sampled_from(["smallest", "fastest"]),
    st.floats(0, 0.2),
    st.none() | st.floats(10, 2000),
    st.none() | st.floats(0.05, 5),
    st.none() | st.floats(1, 20),
    st.none() | st.floats(1, 20),
) | st.builds(Goal, st.just("most accurate"), st.just(0.01), st.floats(10, 2000))


@given(goals, numbers)
def test_what_keeps_all_bounds_is_worth_more_than_what_breaks_one(goal, one):
    broken = (goal.best != "most accurate" and one.loss + one.loss_error > goal.max_loss) or (
        one.size_bytes > (goal.max_bytes or math.inf)
        or one.latency_ms > (goal.max_latency_ms or math.inf)
        or 1000 / one.size_bytes < (goal.smaller or 0)
        or 1 / one.latency_ms < (goal.faster or 0)
    )
    assert (goal.excess(one) > 0) == broken
    assert (goal.merit(one, ORIGINAL) < -1) == broken


@given(goals, st.lists(numbers, min_size=1, max_size=8))
def test_the_chosen_file_is_the_best_of_those_that_fit(goal, rows):
    fit = [one for one in rows if not goal.excess(one)]
    chosen = goal.choose(rows, ORIGINAL)
    if not fit:
        assert chosen is None
        return
    assert chosen in fit
    key = {"smallest": lambda r: r.size_bytes, "fastest": lambda r: -r.speedup, "most accurate": lambda r: -r.accuracy}[
        goal.best
    ]
    if goal.merit(chosen, ORIGINAL) > -1:  # what is e times worse than the original is all alike
        best = min(map(key, fit))
        if goal.best == "most accurate":
            assert key(chosen) == best
            return
        alike = [one for one in fit if abs(math.log(abs(key(one)) / abs(best))) <= 0.02]
        assert chosen in alike
        assert chosen.accuracy == max(one.accuracy for one in alike)


def test_merits_and_directions_in_numbers():
    small = Goal("smallest", 0.01, max_bytes=500)
    assert small.merit(row(250, 1, 0), ORIGINAL) == pytest.approx(math.log(4))
    assert small.merit(row(1000, 1, 0.059), ORIGINAL) == pytest.approx(-1 - 1 - math.log(2))  # with a standard error of 0.001
    assert Goal("fastest").merit(row(2000, 0.5, 0), ORIGINAL) == pytest.approx(math.log(2))
    accurate = Goal("most accurate", max_bytes=500)
    assert accurate.merit(row(400, 1, 0.3), ORIGINAL) == pytest.approx(0.6)
    assert small.wants_less([row(400, 1, 0.0), row(900, 1, 0.3)])
    assert not small.wants_less([row(400, 1, 0.02)])  # too much accuracy is lost
    assert small.wants_less([row(600, 1, 0.0)])
    assert accurate.wants_less([row(600, 1, 0.0)])
    assert not accurate.wants_less([row(400, 1, 0.0)])
    assert not small.wants_less([])  # a training that failed


def test_bounds_may_be_told_as_multiples_of_the_original():
    both = Goal("most accurate", smaller=10, faster=3)
    assert not both.excess(row(100, 1 / 3, 0.2))
    assert both.excess(row(200, 0.3, 0)) == pytest.approx(math.log(2))
    assert both.excess(row(200, 0.5, 0)) == pytest.approx(math.log(2) + math.log(1.5))
    assert both.wants_less([row(200, 0.3, 0), row(90, 0.4, 0)])  # one is too large, the other too slow
    assert not both.wants_less([row(90, 0.3, 0), row(400, 1, 0)])
    assert "0.1 are allowed" in both.hopeless(110, None, ORIGINAL)
    assert both.hopeless(100, None, ORIGINAL) is None
    assert both.merit_of_size(200, ORIGINAL) == pytest.approx(-1 - math.log(2))
    assert Goal("smallest", smaller=2, max_bytes=600).merit_of_size(1000, ORIGINAL) == pytest.approx(-1 - math.log(2))
    assert str(both) == "most accurate at least 10 times smaller and at least 3 times faster"


def test_a_negative_loss_is_a_gain_which_more_training_may_explain():
    assert loss_text(-0.0204, 0.0034) == "a gain of 2.04 ± 0.67 points (95 %)"
    assert loss_text(0.0076, 0.004) == "a loss of 0.76 ± 0.78 points (95 %)"
    assert "train the original longer first" in gain_caveat(row(1, 1, -0.02))
    assert not any(map(gain_caveat, (row(1, 1, -0.001), row(1, 1, 0.02), row(1, 1, -0.02, trial=0))))


def test_what_cannot_be_the_best_is_not_trained():
    goal = Goal("smallest", max_bytes=500)
    assert "500" not in (goal.hopeless(400, None, ORIGINAL) or "")
    assert goal.hopeless(400, None, ORIGINAL) is None
    assert "0.5 are allowed" in goal.hopeless(600, None, ORIGINAL)
    assert "as much as the best" in goal.hopeless(300, row(300, 1, 0), ORIGINAL)
    assert Goal("fastest").hopeless(300, row(300, 1, 0), ORIGINAL) is None
    assert goal.merit_of_size(250, ORIGINAL) == pytest.approx(math.log(4))
    assert goal.merit_of_size(1000, ORIGINAL) == pytest.approx(-1 - math.log(2))


def test_the_front_has_what_no_other_beats():
    rows = [ORIGINAL, row(500, 0.5, 0.0), row(500, 0.6, 0.0), row(100, 2.0, 0.1), row(400, 0.9, 0.005)]
    assert front_of(rows) == [rows[3], rows[4], rows[1]]
    assert front_of([]) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"best": "tiny"}, "'smallest', 'fastest', 'most accurate', got 'tiny'"),
        ({"max_loss": 2}, "0.01 is one point"),
        ({"max_bytes": 0}, "max_bytes > 0"),
        ({"max_latency_ms": -1.0}, "max_latency_ms > 0"),
        ({"best": "most accurate"}, "max_bytes or max_latency_ms or smaller or faster"),
        ({"max_bytes": True}, "max_bytes > 0"),
        ({"max_loss": True}, "max_loss in"),
        ({"smaller": 0}, "smaller >= 1"),
        ({"smaller": 0.1}, r"\(times, e\.g\. 10\), or None for no bound, got 0\.1"),
        ({"smaller": True}, "smaller >= 1"),
        ({"faster": math.inf}, "faster >= 1"),
        ({"faster": 0.33}, "faster >= 1"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(InvalidArgument, match=message):
        Goal(**settings)


def test_less_than_once_as_fast_is_slower():
    assert times(0.8, "faster", "slower") == "1.25 times slower"
    assert times(3.14, "faster", "slower") == "3.1 times faster"


def test_samples_that_are_too_few_for_the_bound_are_told():
    goal, enough = Goal("smallest", 0.01), 140
    assert paired_error(np.ones(enough, bool), np.ones(enough, bool)) <= 0.01
    assert paired_error(np.ones(enough - 1, bool), np.ones(enough - 1, bool)) > 0.01
    assert _too_few(goal, enough) == ""
    assert "139 samples are too few" in _too_few(goal, enough - 1)
    assert "keep at least 140 apart, or allow a larger max_loss" in _too_few(goal, enough - 1)
    assert "To have more than the original, allow a larger" in _too_few(Goal("smallest", 0.0), 9)
    assert _too_few(Goal("most accurate", 0.01, max_bytes=9.0), 9) == ""
    rows = [Candidate(0, "float32", 40, 40, 1.0, 1.0, 0.5, 0.0, 0.0, 10, 10, 40)]
    gains = replace(rows[0], trial=1, loss=-0.06, loss_error=0.04)
    assert "too few" not in _reason(goal, gains, [*rows, gains], 50)
    assert "50 samples are too few" in _reason(goal, rows[0], [*rows, gains], 50)
