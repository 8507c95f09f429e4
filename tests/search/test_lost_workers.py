import math
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.errors import InfeasibleArchitecture, SearchFailed
from kerasnas.search import lost_workers
from kerasnas.search.beginnings import check_beginnings, forget_beginnings
from kerasnas.search.lost_workers import LostWorkers


class Chief:
    """A chief whose oracle has handed out two trials, its clock and what it says."""

    def __init__(self, tuner):
        self.tuner, self.oracle, self.said, self.now = tuner, tuner.oracle, [], 0.0
        tuner._progress = SimpleNamespace(say=self.said.append)
        self.trials = [self.oracle.create_trial(name) for name in ("tuner0", "tuner1")]
        self._lost = LostWorkers(tuner, 60.0, lambda: self.now)

    def look(self, now, **signs):
        """Look after the workers at a time, at which each one's sign is this."""
        for name, sign in signs.items():
            file = Path(self.tuner.project_dir) / ".workers" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(sign)
        self.now = now
        self._lost.look()


@pytest.fixture
def chief(make):
    return Chief(make())


def test_only_a_worker_that_falls_silent_is_lost(chief):
    first, second = chief.trials
    for now in (0.0, 50.0, 100.0, 150.0):
        chief.look(now, tuner0=f"sign {now}", tuner1="the last sign")
    assert (first.status, second.status) == ("RUNNING", "FAILED")
    assert chief.oracle.tuner_ids == set(chief.oracle.ongoing_trials) == {"tuner0"}
    assert chief.said == [f"Nothing was heard of worker tuner1 for 60 s. Its trial {second.trial_id} has failed."]


def test_a_worker_that_gives_no_sign_at_all_is_not_judged(chief):
    for now in (0.0, 1000.0, 2000.0):
        chief.look(now)
    assert chief.said == []
    assert [trial.status for trial in chief.trials] == ["RUNNING"] * 2


def test_what_a_lost_worker_says_later_is_taken_in_once(chief):
    late = deepcopy(chief.trials[1])
    for now in (0.0, 61.0):
        chief.look(now, tuner0="the last sign", tuner1="the last sign")
    assert chief.said[-1].endswith("No worker is left; the search goes on when one comes.")
    for score in (math.nan, 1.0):
        chief.oracle.update_trial(late.trial_id, {"score": score})
        late.status = "COMPLETED"
        chief.oracle.end_trial(late)
        known = chief.oracle.trials[late.trial_id]
        assert (known.status, known.score) == (("COMPLETED", score) if score == 1.0 else ("FAILED", None))
    assert sorted(chief.oracle.end_order) == [trial.trial_id for trial in chief.trials]
    assert chief.oracle.create_trial("tuner1").trial_id not in chief.oracle.end_order  # it goes on with another one


def test_with_retries_another_worker_takes_the_trial_up(make):
    chief = Chief(make(oracle_kwargs={"max_retries_per_trial": 1}))
    for now in (0.0, 61.0):
        chief.look(now, tuner0=f"sign {now}", tuner1="the last sign")
    assert chief.said[0].endswith("is to be tried again.")
    assert chief.oracle.create_trial("tuner2").trial_id == chief.trials[1].trial_id


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "INVALID"])
def test_late_word_of_a_trial_that_waits_for_a_retry(make, status):
    chief = Chief(make(oracle_kwargs={"max_retries_per_trial": 1}))
    oracle, late = chief.oracle, deepcopy(chief.trials[1])
    for now in (0.0, 61.0):
        chief.look(now, tuner0=f"sign {now}", tuner1="the last sign")
    if status == "COMPLETED":
        oracle.update_trial(late.trial_id, {"score": 1.0})
    late.status = status
    late.hyperparameters.Int("found late", 0, 1)
    oracle.end_trial(late)
    handed_out = oracle.create_trial("tuner2")
    if status == "INVALID":  # of the run that was lost, which is repeated once all the same
        assert handed_out.trial_id == late.trial_id not in oracle.end_order
        return
    assert oracle.trials[late.trial_id].status == status
    assert oracle.end_order == [late.trial_id]
    assert handed_out.trial_id != late.trial_id
    assert "found late" in oracle.get_space().values


def test_late_word_of_a_trial_that_had_failed_brings_its_hyperparameters(chief):
    late = deepcopy(chief.trials[1])
    for now in (0.0, 61.0):
        chief.look(now, tuner0=f"sign {now}", tuner1="the last sign")
    chief.oracle.update_trial(late.trial_id, {"score": 1.0})
    late.status = "COMPLETED"
    late.hyperparameters.Int("found late", 0, 1)
    chief.oracle.end_trial(late)
    assert chief.oracle.trials[late.trial_id].hyperparameters.get("found late") == 0
    assert "found late" in chief.oracle.get_space().values


def test_the_search_ends_with_the_last_worker_once_one_was_told_to_stop(make):
    chief = Chief(make(max_trials=2))
    first = chief.trials[0]
    chief.look(0.0, tuner0="sign", tuner1="the last sign")
    chief.oracle.update_trial(first.trial_id, {"score": 1.0})
    first.status = "COMPLETED"
    chief.oracle.end_trial(first)
    assert chief.oracle.create_trial("tuner0").status == "STOPPED"
    chief.look(61.0)
    assert chief.said[-1].endswith("has failed. No worker is left; the search ends.")


def test_what_no_worker_is_left_for_can_be_tried_again(make):
    chief = Chief(make(max_trials=2, oracle_kwargs={"max_retries_per_trial": 1}))
    first, second = chief.trials
    chief.look(0.0, tuner0="sign", tuner1="the last sign")
    chief.oracle.update_trial(first.trial_id, {"score": 1.0})
    first.status = "COMPLETED"
    chief.oracle.end_trial(first)
    chief.oracle.tuner_ids.discard("tuner0")  # it was told to stop
    chief.oracle.ongoing_trials.pop("tuner0", None)
    chief.look(61.0)
    told = chief.said[-1]
    assert f"Its trial {second.trial_id} is to be tried again. No worker is left; the search ends." in told
    assert told.endswith("Start the chief and a worker again for what is to be tried again.")


def test_too_many_failures_leave_the_lock_of_an_oracle_of_keras_tuner_free(make):
    chief = Chief(make(oracle=kt.oracles.RandomSearchOracle, oracle_kwargs={"max_consecutive_failed_trials": 1}))
    chief.look(0.0, tuner1="the last sign")
    with pytest.raises(RuntimeError, match="consecutive failures exceeded the limit of 1"):
        chief.look(61.0)
    assert (chief.oracle.max_consecutive_failed_trials, chief.trials[1].status) == (1, "FAILED")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(chief.oracle.get_trial, "0").result(20).trial_id == "0"


def test_a_chief_whose_watch_fails_ends_with_what_went_wrong(make, monkeypatch):
    looks = []

    def look(workers):
        looks.append(workers)
        if len(looks) == 3:  # while it serves
            raise ValueError("out of luck")

    monkeypatch.setattr(LostWorkers, "look", look)
    monkeypatch.setattr(lost_workers, "_BEAT_S", 0.3)
    chief = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "0", "KERASTUNER_TUNER_ID": "chief"}
    for name, value in chief.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="out of luck"):
        make().search(verbose=0)


def test_a_trial_that_kills_each_of_its_processes_is_given_up(tmp_path):
    check_beginnings(tmp_path, 0)
    check_beginnings(tmp_path, 0)
    with pytest.raises(InfeasibleArchitecture, match="died 2 times after epoch 0"):
        check_beginnings(tmp_path, 0)
    check_beginnings(tmp_path, 1)  # one came further
    check_beginnings(tmp_path, 1)
    forget_beginnings(tmp_path)
    check_beginnings(tmp_path, 1)


def test_a_worker_writes_nothing_before_the_chief_has_answered(make, small, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    tuner = make(small(), objective="val_loss", overwrite=True)

    class NoAnswer(Exception):
        pass

    def wait(*_):
        raise NoAnswer

    monkeypatch.setattr(tuner.oracle, "get_best_trials", wait, raising=False)
    x = np.zeros((4, 2), "float32")
    with pytest.raises(NoAnswer):
        tuner.search(x, x[:, 0], validation_data=(x, x[:, 0]))
    assert not list(Path(tuner.project_dir).iterdir())


@pytest.fixture
def as_chief(monkeypatch):
    monkeypatch.setattr(lost_workers, "_BEAT_S", 0.3)
    monkeypatch.setattr(lost_workers, "_PATIENCE_S", 1.0)
    chief = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "0", "KERASTUNER_TUNER_ID": "chief"}
    for name, value in chief.items():
        monkeypatch.setenv(name, value)


def test_a_worker_that_says_it_has_ended_is_no_longer_waited_for(chief):
    first, second = chief.trials
    for trial in (first, second):
        chief.oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = "COMPLETED"
        chief.oracle.end_trial(trial)
    chief.look(0.0, tuner0="gone", tuner1="sign")
    assert chief.oracle.tuner_ids == {"tuner1"}
    assert chief.said == []


def test_a_chief_ends_when_its_time_is_over_and_no_worker_is_left(make, as_chief):
    tuner = make(max_time=0.8)
    tuner.search(verbose=0)
    assert tuner.oracle.trials == {}


def test_a_chief_ends_with_what_its_oracle_has_raised_to_a_worker(make, as_chief, monkeypatch):
    looks = []

    def look(workers):
        looks.append(workers)
        if len(looks) == 2:
            with pytest.raises(SearchFailed):  # as a worker hears of it
                workers._tuner.oracle._outside_lock(fail)

    def fail():
        raise SearchFailed("nothing fits")

    monkeypatch.setattr(LostWorkers, "look", look)
    tuner = make()
    with pytest.raises(SearchFailed, match="nothing fits"):
        tuner.search(verbose=0)
    with pytest.raises(SearchFailed, match="nothing fits"):  # as any other worker hears of it
        tuner.oracle.create_trial("tuner1")


def test_a_trial_that_a_worker_had_before_the_chief_was_killed_is_tried_again(chief):
    chief.oracle.carried = {"tuner1": chief.oracle.ongoing_trials["tuner1"]}
    for now in (0.0, 61.0):
        chief.look(now, tuner0=f"sign {now}", tuner1="the last sign")
    assert chief.trials[1].status == "RUNNING"
    assert chief.said[-1].endswith(f"Its trial {chief.trials[1].trial_id} is to be tried again.")
    assert chief.oracle.create_trial("tuner3").trial_id == chief.trials[1].trial_id
