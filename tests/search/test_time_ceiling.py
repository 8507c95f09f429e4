"""Networks that take a large part of the time wait for the end of a search."""

import itertools
import json
import time
from types import SimpleNamespace

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.oracles.rejections import Rejected
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.time_ceiling import TimeCeiling, expected_seconds

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


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


class Ranking:
    """Stands in for an oracle, which tells the best trial."""

    def __init__(self, *best):
        self.best = best

    def get_best_trials(self, number):
        return [SimpleNamespace(trial_id=trial_id) for trial_id in self.best[:number]]


def planted(folder, trial_id, seconds, macs=10**6, epochs=4):
    """A trial that has been trained, so many seconds an epoch."""
    trial = folder / f"trial_{trial_id}"
    trial.mkdir()
    history = {"fit_seconds": seconds * epochs, "costs": costs(macs), "executions": [{"loss": [1.0] * epochs}]}
    (trial / "history.json").write_text(json.dumps(history))


def begun(limit, folder, *best):
    budget = TimeBudget(limit, None)
    budget.begin_search(0.0)
    budget.begin_trial(0.0)
    return TimeCeiling(budget, folder, 10, Ranking(*best))


def test_the_ceiling_rises_as_time_goes_by(clock, tmp_path):
    ceiling = begun(100.0, tmp_path)
    assert ceiling.seconds is None  # nothing is known of this machine
    planted(tmp_path, "0", seconds=0.1)
    shares = []
    for second in (0, 29, 30, 99, 200):
        clock[0] = 1000.0 + second
        shares.append(ceiling.seconds)
    assert shares == pytest.approx([10, 10, 20, 20, 20])
    assert begun(None, tmp_path).seconds is None


def test_about_as_long_as_the_best_is_never_too_long(clock, tmp_path):
    planted(tmp_path, "0", seconds=0.1)
    planted(tmp_path, "1", seconds=4.0)
    assert begun(100.0, tmp_path, "0").seconds == pytest.approx(10.0)
    assert begun(100.0, tmp_path, "1").seconds == pytest.approx(1.25 * 40)


def test_what_is_too_long_waits(clock, tmp_path):
    ceiling = begun(100.0, tmp_path)
    assert ceiling.check(costs(10**9)) is None
    planted(tmp_path, "0", seconds=1.2)
    rejection = ceiling.check(costs(10**6))
    assert rejection.seconds == pytest.approx(12.0)
    assert rejection.twin is None
    assert rejection.reason == "Its training would take about 12 s; 10 s are allowed so early."
    assert ceiling.check(costs(10**5)) is None
    rejected = Rejected.of(rejection, {}, 1, 1, None)
    assert not ceiling.allows(rejected)
    clock[0] += 30
    assert ceiling.allows(rejected)
    assert ceiling.check(costs(10**6)) is None
    assert not ceiling.allows(Rejected({}, "breaks a limit", None, 1, 1))


def test_where_everything_is_too_long_the_fastest_are_taken(clock, tmp_path):
    ceiling = begun(1.0, tmp_path)
    planted(tmp_path, "0", seconds=9.0)
    macs = [10**6 * size for size in range(20, 5, -1)]  # each faster than the one before
    assert all(ceiling.check(costs(each)) is not None for each in macs)
    assert ceiling.check(costs(10 * 10**6)) is not None  # among the fastest half, but not a fifth
    assert ceiling.check(costs(7 * 10**6)) is None
    assert ceiling.check(costs(7 * 10**6)) is not None  # a new row begins


def test_a_training_that_takes_far_longer_than_it_may_is_ended(clock, tmp_path):
    ceiling = begun(100.0, tmp_path)
    clock[0] += 15
    assert ceiling.overrun(1) is None  # the first training may take as long as it does
    planted(tmp_path, "0", seconds=0.1)
    assert ceiling.overrun(1) == "it would take 150 s; 10 s are allowed so early"
    assert ceiling.overrun(8) is None


class Slow(keras.callbacks.Callback):
    """Epochs of a known length, for networks of any size."""

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.1)


def test_a_search_lets_long_trainings_wait(make, small, points, monkeypatch):
    settings = {"validation_data": points, "epochs": 2, "batch_size": 48, "verbose": 0, "callbacks": [Slow()]}
    monkeypatch.setattr(TimeCeiling, "seconds", 0.15)  # a training takes 0.2 s at least
    tuner = make(small(), objective="val_loss", max_trials=3)
    tuner.search(*points, **settings)
    record = tuner.record()
    assert len(record.completed) == 3
    assert len(record.rejected) >= 30  # fifteen or more before the second and the third
    assert all("0.15 s are allowed so early" in rejected.reason for rejected in record.rejected)
    tried = [dict(trial.values) for trial in record.trials]
    assert all(dict(rejected.values) not in tried for rejected in record.rejected)
    # Once there is time, nothing is held against them.
    monkeypatch.setattr(TimeCeiling, "seconds", 60.0)
    later = make(small(), objective="val_loss", max_trials=4)
    later.search(*points, **settings)
    assert not later.record().rejected
    assert len(later.record().completed) == 4
