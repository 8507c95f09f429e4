"""Which finished trial a new one inherits from."""

from types import SimpleNamespace

import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.search.inheritance import most_similar
from kerasnas.strategies import Discrete, Range


def trial(number, score, status="COMPLETED", **values):
    return SimpleNamespace(trial_id=str(number), status=status, score=score, values=values)


def test_the_donor_with_most_equal_values():
    near, far = trial(0, 0.1, kind="conv", depth=2, units=8), trial(1, 0.9, kind="dense", depth=2, units=9)
    assert most_similar({"kind": "conv", "depth": 2, "units": 16}, [far, near]) is near
    assert most_similar({"kind": "dense", "depth": 2}, [far, near]) is far
    assert most_similar({"kind": "conv"}, []) is None
    assert most_similar({"kind": "conv"}, [trial(0, None, "FAILED"), trial(1, None, "RUNNING")]) is None


def test_ties_go_to_the_better_score_then_the_earlier_trial():
    trials = [trial(10, 0.5, a=1, learning_rate=1.0), trial(9, 0.5, a=1), trial(3, 0.4, a=1), trial(2, 0.9, a=2)]
    assert most_similar({"a": 1, "learning_rate": 1.0}, trials).trial_id == "9"
    assert most_similar({"a": 1}, trials, direction="min").trial_id == "3"
    with pytest.raises(InvalidArgument, match="'max' or 'min'"):
        most_similar({}, trials, direction="up")


def test_numbers_are_near_in_the_space():
    decisions = [
        Range(name="units", low=8, high=128, scale="log", integer=True),
        Discrete(name="kind", values=("a", "b", "c")),
        Discrete(name="kernel", values=(3, 5, 7), ordered=True),
    ]
    same = {"kind": "a", "kernel": 3}
    low, high = trial(0, 0.5, units=16, **same), trial(1, 0.9, units=128, **same)
    assert most_similar({"units": 32, **same}, [low, high], decisions) is low
    # 1/3 for another kernel is less than 1 for another kind.
    kernel, kind = trial(0, 0.5, units=16, kind="a", kernel=5), trial(1, 0.9, units=16, kind="b", kernel=3)
    assert most_similar({"units": 16, **same}, [kind, kernel], decisions) is kernel
