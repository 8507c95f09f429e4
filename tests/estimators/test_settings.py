"""What the estimator is told reaches the parts that do it."""

import numpy as np
import pytest

from kerasnas import ImageClassifier, NASTuner, estimators


class Enough(Exception):
    pass


@pytest.fixture
def told(monkeypatch):
    """What the tuner, its search and the final training are told; none of them runs."""
    told = {}

    class Spy(NASTuner):
        def __init__(self, *args, **kwargs):
            told["tuner"] = kwargs
            super().__init__(*args, **kwargs)

        def search(self, *args, **kwargs):
            told["search"] = kwargs

    def final_fit(tuner, train, valid, **kwargs):
        told["final"] = kwargs
        raise Enough

    monkeypatch.setattr(estimators, "NASTuner", Spy)
    monkeypatch.setattr(estimators, "final_fit", final_fit)
    return told


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"stopping": "learning-curve", "limits": None, "inherit": False, "max_time": None, "keep_checkpoints": 3}),
        ({"stopping": "asha"}, {"stopping": "asha"}),
        ({"stopping": None}, {"stopping": None}),
        ({"limits": {"parameters": 9}}, {"limits": {"parameters": 9}}),
        ({"inherit": True}, {"inherit": True}),
        ({"max_time": 77.0}, {"max_time": 77.0}),
        ({"finalists": 4}, {"keep_checkpoints": 4}),
        ({"ensemble": 5}, {"keep_checkpoints": 5}),
    ],
)
def test_settings_are_passed_on(given, expected, told, tmp_path):
    x, y = np.zeros((40, 8, 8), "uint8"), np.arange(40) % 2
    with pytest.raises(Enough):
        ImageClassifier(space="tiny", directory=tmp_path, seed=0, **given).fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert {name: told["tuner"][name] for name in expected} == expected
    how = {"epochs": 3, "batch_size": 16, "verbose": 0}
    assert {name: told["search"][name] for name in how} == how
    assert told["final"] == {"finalists": 1, "ensemble": 1, **how} | {
        name: value for name, value in given.items() if name in ("finalists", "ensemble")
    }
