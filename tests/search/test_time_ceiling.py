"""Networks that take a large part of the time wait for the end of a search."""

import json
import time
from types import SimpleNamespace

import pytest

from kerasnas.oracles.rejections import Rejected
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.time_ceiling import TimeCeiling


def costs(macs, activation_bytes=50_000):
    return {"macs": float(macs), "activation_bytes": float(activation_bytes), "parameters": 9.0}


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


class Known:
    """Stands in for an oracle: what it knows of trials and of rejections."""

    max_trials = None

    def __init__(self, *best):
        self.best = best
        self.trials = {}
        self.rejected = []

    def get_best_trials(self, number):
        return [SimpleNamespace(trial_id=trial_id) for trial_id in self.best[:number]]

    def forgive(self, forgiven):
        kept = [one for one in self.rejected if not forgiven(one)]
        self.rejected, before = kept, len(self.rejected)
        return before - len(kept)


def planted(folder, oracle, trial_id, seconds, status="COMPLETED", epochs=4):
    """A trial that has been trained, so many seconds an epoch."""
    oracle.trials[trial_id] = SimpleNamespace(status=status)
    trial = folder / f"trial_{trial_id}"
    trial.mkdir()
    history = {"fit_seconds": seconds * epochs, "costs": costs(10**6), "executions": [{"loss": [1.0] * epochs}]}
    (trial / "history.json").write_text(json.dumps(history))


def begun(limit, folder, *best):
    budget = TimeBudget(limit, None)
    budget.begin_search(0.0)
    budget.begin_trial(0.0)
    oracle = Known(*best)
    return TimeCeiling(budget, folder, 10, oracle), oracle


def test_the_ceiling_rises_as_time_goes_by(clock, tmp_path):
    ceiling, oracle = begun(100.0, tmp_path)
    assert ceiling.seconds is None  # nothing is known of this machine
    planted(tmp_path, oracle, "0", seconds=0.1, status="RUNNING")  # its first execution has ended
    assert ceiling.seconds is None
    oracle.trials["0"].status = "COMPLETED"
    shares = []
    for second in (0, 29, 30, 99, 200):
        clock[0] = 1000.0 + second
        shares.append(ceiling.seconds)
    assert shares == pytest.approx([10, 10, 20, 20, 20])
    assert begun(None, tmp_path)[0].seconds is None


def test_about_as_long_as_the_best_is_never_too_long(clock, tmp_path):
    for best, seconds in (("0", 10.0), ("1", 1.25 * 40)):
        folder = tmp_path / best
        folder.mkdir()
        ceiling, oracle = begun(100.0, folder, best)
        planted(folder, oracle, "0", seconds=0.1)
        planted(folder, oracle, "1", seconds=4.0)
        assert ceiling.seconds == pytest.approx(seconds)


def test_what_is_too_long_waits(clock, tmp_path):
    ceiling, oracle = begun(100.0, tmp_path)
    assert ceiling.check(costs(10**9)) is None
    planted(tmp_path, oracle, "0", seconds=1.2)
    rejection = ceiling.check(costs(10**6))
    assert rejection.seconds == pytest.approx(12.0)
    assert rejection.twin is None
    assert rejection.reason == "Its training would take about 12 s; 10 s are allowed so early."
    assert ceiling.check(costs(10**5)) is None
    breaks = Rejected({}, "breaks a limit", None, 1, 1)
    oracle.rejected = [Rejected({}, after=1, number=1, **vars(rejection)), breaks]
    ceiling.forgive()
    assert len(oracle.rejected) == 2
    clock[0] += 30
    ceiling.forgive()
    assert oracle.rejected == [breaks]
    assert ceiling.check(costs(10**6)) is None


def test_where_nothing_else_is_left_everything_is_trained(clock, tmp_path):
    ceiling, oracle = begun(100.0, tmp_path)
    planted(tmp_path, oracle, "0", seconds=1.2)
    rejected = Rejected({}, after=1, number=1, **vars(ceiling.check(costs(10**6))))
    oracle.rejected, oracle.max_trials = [rejected], 1
    assert not ceiling.lift()  # the search is over because all trials are done
    oracle.max_trials = 9
    assert ceiling.lift()
    assert not oracle.rejected
    assert ceiling.check(costs(10**9)) is None
    assert not ceiling.lift()


def test_where_everything_is_too_long_the_fastest_are_taken(clock, tmp_path):
    ceiling, oracle = begun(1.0, tmp_path)
    planted(tmp_path, oracle, "0", seconds=9.0)
    macs = [10**6 * size for size in range(20, 5, -1)]  # each faster than the one before
    assert all(ceiling.check(costs(each)) is not None for each in macs)
    assert ceiling.check(costs(10 * 10**6)) is not None  # among the fastest half, but not a fifth
    assert ceiling.check(costs(7 * 10**6)) is None
    # A new row begins; where even the fastest are gone, it ends all the same.
    assert [ceiling.check(costs(each)) is None for each in range(10**7, 10**7 + 31)] == [False] * 30 + [True]


def test_a_training_that_takes_far_longer_than_it_may_is_ended(clock, tmp_path):
    ceiling, oracle = begun(100.0, tmp_path)

    def after(epochs, seconds):
        clock[0] = 1000.0 + seconds
        return ceiling.overrun(epochs)

    assert [after(1, 15), after(2, 30)] == [None, None]  # the first training may take as long as it does
    planted(tmp_path, oracle, "0", seconds=0.1)
    assert after(1, 15) is None  # the first epoch holds more than a training
    assert after(2, 16) == "it would take 24 s; 10 s are allowed so early"
    assert [after(1, 15), after(2, 15.5)] == [None, None]  # 19.5 s in all
    assert after(4, 20) is None  # the epoch before was not seen
    assert after(5, 22) == "it would take 32 s; 10 s are allowed so early"
    assert after(1, 21) == "it would take more than 21 s; 10 s are allowed so early"
    assert after(4, 25) == "it would take more than 25 s; 10 s are allowed so early"
    assert after(5, 29) == "it would take 49 s; 10 s are allowed so early"
    assert after(10, 99) is None  # it is over
    # Another trial goes on after as many epochs as this one was last seen at.
    assert after(3, 0.5) is None
    ceiling.begin_trial()
    assert after(4, 12) is None


def test_what_was_let_in_may_take_what_it_was_let_in_for(clock, tmp_path):
    ceiling, oracle = begun(1.0, tmp_path)
    planted(tmp_path, oracle, "0", seconds=9.0)
    while ceiling.check(costs(10**6)) is not None:
        pass
    clock[0] += 10
    ceiling.overrun(1)
    clock[0] += 9
    assert ceiling.overrun(2) is None  # 91 s; about 90 were expected
    clock[0] += 30
    assert ceiling.overrun(3) == "it would take 259 s; 90 s are allowed so early"


def test_a_search_lets_long_trainings_wait(make, small, points, monkeypatch):
    settings = {"validation_data": points, "epochs": 2, "batch_size": 48, "verbose": 0}
    monkeypatch.setattr("kerasnas.search.time_ceiling.expected_seconds", lambda costs, trained: 1.0 if trained else None)
    monkeypatch.setattr(TimeCeiling, "seconds", 0.15)
    tuner = make(small(), objective="val_loss", max_trials=3)
    tuner.search(*points, **settings)
    record = tuner.record()
    assert len(record.completed) == 3
    assert len(record.rejected) == 30  # fifteen before the second and the third
    assert all("0.15 s are allowed so early" in rejected.reason for rejected in record.rejected)
    tried = [dict(trial.values) for trial in record.trials]
    assert all(dict(rejected.values) not in tried for rejected in record.rejected)
    # Once there is time, nothing is held against them.
    monkeypatch.setattr(TimeCeiling, "seconds", 60.0)
    later = make(small(), objective="val_loss", max_trials=4)
    later.search(*points, **settings)
    assert not later.record().rejected
    assert len(later.record().completed) == 4


def test_what_was_let_in_is_so_for_the_process_that_goes_on(clock, tmp_path):
    ceiling, oracle = begun(1.0, tmp_path)
    planted(tmp_path, oracle, "0", seconds=9.0)
    while ceiling.check(costs(10**6)) is not None:
        pass
    granted = ceiling.begin_trial()
    assert granted == pytest.approx(90)
    resumed, oracle = begun(1.0, tmp_path)
    oracle.trials["0"] = SimpleNamespace(status="COMPLETED")
    assert resumed.begin_trial(granted) == granted
    clock[0] += 10
    resumed.overrun(1)
    clock[0] += 9
    assert resumed.overrun(2) is None
    lifted, _ = begun(1.0, tmp_path)
    lifted._is_lifted = True
    assert begun(1.0, tmp_path)[0].begin_trial() is None
    assert json.loads(json.dumps(lifted.begin_trial())) > 1e300  # any time, as JSON can hold it
