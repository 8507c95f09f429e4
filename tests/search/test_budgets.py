"""Clocks, the lock of a project folder, the disk, and processes of trials."""

import errno
import os
import pickle
import subprocess
import sys
import time

import cloudpickle
import keras
import numpy as np
import pytest

from kerasnas.errors import DiskFull, InfeasibleArchitecture, InvalidArgument
from kerasnas.search.isolation import TrialProcess
from kerasnas.search.project_lock import project_lock
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.trial_history import TrialHistory


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf"), "5", True])
def test_a_limit_is_a_positive_number(limit):
    with pytest.raises(InvalidArgument, match=r"max_time.*seconds > 0"):
        TimeBudget(limit, None)
    with pytest.raises(InvalidArgument, match="max_trial_time"):
        TimeBudget(None, limit)


def test_the_clocks_go_on_from_what_was_spent(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    budget = TimeBudget(10.0, 5.0)
    budget.begin_search(7.0)
    budget.begin_trial(1.0)
    now = 102.5
    assert budget.overrun() is None
    assert (budget.search_seconds, budget.trial_seconds) == (9.5, 3.5)
    other = pickle.loads(pickle.dumps(budget))  # in another process, which goes on with it
    now = 103.0
    assert (other.search_seconds, other.trial_seconds) == (10.0, 4.0)
    budget.begin_trial(5.0)
    budget.begin_search(7.0)
    assert "trial" in budget.overrun()
    budget.begin_search(10.0)
    assert budget.search_is_over
    assert "search" in budget.overrun()
    assert TimeBudget(None, None).overrun() is None


class Ticks(keras.callbacks.Callback):
    """An epoch takes a second, and nothing else takes any time; notes what a clock shows when epochs begin."""

    def __init__(self, now, clock=float, seen=None):
        super().__init__()
        self.now, self.clock, self.seen = now, clock, [] if seen is None else seen

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(self.clock())

    def on_epoch_end(self, epoch, logs=None):
        self.now[0] += 1.0


@pytest.fixture
def now(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_the_time_of_a_search_is_kept_to_an_epoch_and_counts_what_was_spent(make, small, points, now, capsys):
    begins = []
    tuner = make(small(), objective="val_loss", max_trials=100, max_time=7.5)
    settings = {"validation_data": points, "epochs": 3, "batch_size": 48}
    tuner.search(*points, **settings, callbacks=[Ticks(now, lambda: tuner._budget.search_seconds, begins)])
    trials = tuner.record().trials
    assert [t.status for t in trials] == ["COMPLETED"] * 3
    assert [t.epochs for t in trials] == [3, 3, 2]
    assert trials[-1].stopped["rule"] == "time"
    assert begins == list(range(8))  # none was begun later than at 7.5
    assert TrialHistory.search_seconds(tuner.record().path) == 8.0
    assert "seconds of the search are over" in capsys.readouterr().out
    # The same call has no time left; one with more time goes on.
    again = make(small(), objective="val_loss", max_trials=100, max_time=7.5)
    again.search(*points, **settings, verbose=0)
    assert len(again.record().trials) == len(trials)
    longer = make(small(), objective="val_loss", max_trials=len(trials) + 1, max_time=600.0)
    longer.search(*points, validation_data=points, epochs=1, verbose=0)
    assert len(longer.record().trials) == len(trials) + 1


def test_the_time_of_a_trial(make, small, points, now):
    tuner = make(small(), objective="val_loss", max_trials=2, max_trial_time=2.5)
    tuner.search(*points, validation_data=points, epochs=9, batch_size=48, callbacks=[Ticks(now)], verbose=0)
    for trial in tuner.record().trials:
        assert trial.status == "COMPLETED"
        assert len(trial.curves[0]["loss"]) == 3
        assert trial.expected_score == trial.score  # no trial may come further


# -- one search at a time --


def test_a_second_search_in_the_folder_is_refused(make, fake, tmp_path):
    def search_again():
        make().search(verbose=0)

    def overwrite():
        make(overwrite=True)

    for action in (search_again, overwrite):
        tuner = make(fake({0: lambda action=action: (action(), {"score": 1.0})[1]}), max_trials=1, project_name="p")
        with pytest.raises(InvalidArgument, match="Another search is running"):
            tuner.search(verbose=0)


def test_a_process_that_was_killed_leaves_the_folder_free(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from kerasnas.search.project_lock import project_lock\n"
        "with project_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InvalidArgument, match="Another search"), project_lock(tmp_path):
            pass
        process.kill()
    with project_lock(tmp_path):
        pass


# -- the disk --


@pytest.mark.parametrize("write", range(1, 12, 2))
def test_a_full_disk_stops_the_search_and_loses_nothing(write, make, small, points, monkeypatch):
    settings = {"validation_data": points, "epochs": 2, "verbose": 0}
    whole = make(small(), objective="val_loss", max_trials=2, project_name="whole")
    whole.search(*points, **settings)

    real, writes = os.fsync, []

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor)

    tuner = make(small(), objective="val_loss", max_trials=2)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="make room"):
        tuner.search(*points, **settings)
    monkeypatch.setattr(os, "fsync", real)
    resumed = make(small(), objective="val_loss", max_trials=2)
    resumed.search(*points, **settings)
    assert [(t.score, dict(t.values)) for t in resumed.record().trials] == [
        (t.score, dict(t.values)) for t in whole.record().trials
    ]


# -- a process for the trials --

# pytest imports this module in a way that another process cannot.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def double(array, scale):
    return {"sum": float(array.sum()) * scale, "process": os.getpid(), "kind": type(array).__name__}


def die():
    os.kill(os.getpid(), 9)


@pytest.fixture
def process(tmp_path):
    process = TrialProcess(tmp_path)
    yield process
    process.close()
    assert not list(tmp_path.iterdir())


def settings():
    config = keras.config
    return config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name


def change(values):
    for name, value in zip(("floatx", "epsilon", "image_data_format", "dtype_policy"), values, strict=True):
        getattr(keras.config, f"set_{name}")(value)


@pytest.mark.slow
def test_a_process_has_the_settings_of_keras_that_hold_now(process):
    before = settings()
    assert process.run(settings) == before
    changed = ("float16", 1e-5, "channels_first", "mixed_float16")
    try:
        change(changed)
        assert process.run(settings) == changed
    finally:
        change(before)
    assert process.run(settings) == before


def late():
    raise TimeoutError("the trial's own")


@pytest.mark.slow
def test_a_time_out_of_the_trial_itself_ends_it(process):
    with pytest.raises(TimeoutError, match="the trial's own"):
        process.run(late)


@pytest.mark.slow
def test_a_process_is_reused_until_it_dies(process):
    array = np.arange(1000.0)
    first = process.run(double, array, 2)
    assert first["sum"] == 2 * array.sum()
    assert first["kind"] == "memmap"
    assert first["process"] != os.getpid()
    assert process.run(double, array, 3)["process"] == first["process"]
    with pytest.raises(InfeasibleArchitecture, match=r"SIGKILL.*out of memory"):
        process.run(die)
    third = process.run(double, array, 2)
    assert third["sum"] == first["sum"]
    assert third["process"] != first["process"]
    with pytest.raises(InvalidArgument, match="objects"):
        process.run(double, np.asarray([None, 1]), 1)


def keep(mib):
    sys.modules.setdefault("kept", []).append(bytearray(os.urandom(2**20) * mib))
    time.sleep(1.1)  # loky looks at most once a second
    return os.getpid()


@pytest.mark.slow
def test_a_process_that_has_grown_is_renewed_without_a_word(process, recwarn):
    first = process.run(keep, 1)  # what it holds after this is what it is compared with
    assert process.run(keep, 20) == first
    assert process.run(keep, 400) == first
    second = process.run(keep, 1)
    assert second != first
    assert process.run(keep, 1) == second
    assert not [warning for warning in recwarn if "worker" in str(warning.message)]


@pytest.mark.slow
def test_a_search_in_a_process_of_its_own_is_the_same_and_survives(make, small, points):
    cloudpickle.register_pickle_by_value(sys.modules[small.__module__])

    class Dies(small):
        def fit(self, hp, model, *args, **kwargs):
            if kwargs.pop("die") and hp.get("units") < 20:
                die()
            return model.fit(*args, **kwargs)

    settings = {"validation_data": points, "epochs": 2, "verbose": 0}
    expected = make(Dies(), objective="val_loss", max_trials=3, project_name="plain")
    expected.search(*points, die=False, **settings)
    tuner = make(Dies(), objective="val_loss", max_trials=3, isolate=True)
    tuner.search(*points, die=True, **settings)
    statuses = set()
    for trial, plain in zip(tuner.record().trials, expected.record().trials, strict=True):
        assert dict(trial.values) == dict(plain.values)
        statuses.add(trial.status)
        if trial.status == "COMPLETED":
            assert (trial.score, trial.curves) == (plain.score, plain.curves)
        else:
            assert trial.values["units"] < 20
            assert "process of the trial died" in trial.message
    assert statuses == {"COMPLETED", "FAILED"}


def test_weights_that_do_not_fit_on_the_disk_are_not_begun(make, small, points, monkeypatch):
    def full(descriptor, offset, size):
        assert size > 2**20
        raise OSError(28, "No space left on device")

    tuner = make(small(), objective="val_loss", max_trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)  # HDF5 would end the process
        with pytest.raises(DiskFull, match="make room, then run the same search again"):
            tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    again = make(small(), objective="val_loss", max_trials=2)
    again.search(*points, validation_data=points, epochs=2, verbose=0)
    assert [trial.epochs for trial in again.record().completed] == [2, 2]
