"""How a chief hears of a worker that died in the midst of a trial: it no longer hears from it."""

import copy
import ctypes
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from kerasnas.atomic import write_text
from kerasnas.oracles import StrategyOracle
from kerasnas.oracles.excuses import LOST_WORKER
from kerasnas.search.trial_training import TrialTraining

__all__ = ["LostWorkers", "workers_watched"]

_BEAT_S, _PATIENCE_S = 5.0, 60.0
_GONE = "gone"  # what a worker writes that has ended


@contextmanager
def workers_watched(tuner: Any) -> Iterator[None]:
    """Let a worker show that it lives, and a chief end the trials of workers that do not, while the context lasts.

    A worker rewrites a hidden file of the project folder every five seconds. One whose file the chief has seen unchanged for a
    minute is lost: the system ended it for its memory, or its machine is gone. KerasTuner itself would wait for ever, as it
    would where all workers have ended by themselves: a chief whose time is over then ends, and one whose oracle has failed ends
    with that error, when all workers have been told it, or are lost.

    Raises:
        Exception: what went wrong in the oracle, or when the chief ended the trial of a lost worker.
    """
    work: Callable[[], None]
    ended, failures = threading.Event(), list[Exception]()
    tuner.oracle.failure, tuner.oracle.serves = None, "KERASTUNER_ORACLE_IP" in os.environ
    if tuner._is_worker():
        work = partial(_beat, _folder(tuner) / tuner.tuner_id)
    elif "KERASTUNER_ORACLE_IP" in os.environ:
        work = partial(_look, LostWorkers(tuner), ended, threading.get_ident(), failures)
    else:
        yield
        return
    thread = threading.Thread(target=_repeat, args=(work, ended), daemon=True, name="kerasnas-workers")
    gone = False
    try:
        thread.start()
        yield
        gone = tuner._is_worker()  # one that was interrupted may go on with its trial under the same name
    except _Ended:
        if failures:
            raise failures[0] from None
    finally:
        ended.set()
        thread.join()
        if gone and _folder(tuner).is_dir():  # the chief removes it when it ends
            with suppress(OSError):
                write_text(_folder(tuner) / tuner.tuner_id, _GONE)
        elif not tuner._is_worker():
            shutil.rmtree(_folder(tuner), ignore_errors=True)


class LostWorkers:
    """The chief's side.

    Clocks of machines differ, so only the chief's own counts: how long it has seen a file unchanged. A worker without a file,
    which does not share the folder or is none of kerasnas, is never lost.

    Args:
        tuner: the chief's `NASTuner`.
        patience_s: seconds without a sign of life.
        clock: seconds.
    """

    def __init__(self, tuner: Any, patience_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tuner, self._clock = tuner, clock
        self._patience_s = _PATIENCE_S if patience_s is None else patience_s
        self._seen: dict[str, tuple[str, float]] = {}  # of each worker the latest sign, and when it was first seen
        self._began, self._had_workers = clock(), False

    @property
    def failure(self) -> Exception | None:
        """What an oracle of kerasnas has raised to a worker."""
        return getattr(self._tuner.oracle, "failure", None)

    @property
    def is_over(self) -> bool:
        """Whether the search has come to its end, by its time or by a failure, and no worker is left to hear of it."""
        oracle = self._tuner.oracle
        workers = bool(oracle.ongoing_trials or oracle.tuner_ids)
        self._had_workers = self._had_workers or workers
        awaited = not self._had_workers and self._clock() - self._began <= self._patience_s
        return not (workers or awaited) and (self.failure is not None or self._tuner._budget.search_is_over)

    def look(self) -> None:
        """End the trials of the workers that are lost now."""
        oracle, now = self._tuner.oracle, self._clock()
        for name in {*oracle.tuner_ids, *oracle.ongoing_trials}:
            try:
                sign = (_folder(self._tuner) / name).read_text("utf-8")
            except OSError:
                continue
            before, since = self._seen.get(name, ("", now))
            if sign == _GONE:
                self._seen[name] = sign, now
                self._lose(name)
            elif sign != before:
                self._seen[name] = sign, now
            elif now - since > self._patience_s:
                self._lose(name)

    def _lose(self, name: str) -> None:
        oracle = self._tuner.oracle
        sign, _ = self._seen.pop(name)
        trial = oracle.ongoing_trials.get(name)
        what = "It had no trial."
        carried = getattr(oracle, "carried", {})
        if trial is not None and name in carried and carried[name] == trial:
            # It may have been killed with the chief, and is no failure.
            del oracle.ongoing_trials[name]
            oracle._retry_queue.insert(0, trial.trial_id)
            what = f"Its trial {trial.trial_id} is to be tried again."
        elif trial is not None:
            # As what crashed: with `max_retries_per_trial` another worker goes on from its last epoch.
            lost = copy.copy(trial)  # it may just have ended
            lost.status, lost.message = "INVALID", LOST_WORKER
            _end(oracle, lost)
            ended = oracle.trials[trial.trial_id].status == "FAILED"
            what = f"Its trial {trial.trial_id} {'has failed' if ended else 'is to be tried again'}."
            if ended:
                TrialTraining.forget(self._tuner.get_trial_dir(trial.trial_id))
        oracle.tuner_ids.discard(name)
        # KerasTuner forgets a worker that it has told to stop, and ends once none is left.
        stops = not self._seen.keys() <= {*oracle.tuner_ids, *oracle.ongoing_trials}
        left = "" if oracle.tuner_ids else f" No worker is left; the search {'ends' if stops else 'goes on when one comes'}."
        if left and stops and oracle._retry_queue:
            left += " Start the chief and a worker again for what is to be tried again."
        if trial is not None or sign != _GONE:
            heard = f"Nothing was heard of worker {name} for {self._patience_s:g} s." if sign != _GONE else f"{name} has ended."
            self._tuner._progress.say(f"{heard} {what}{left}")


def _folder(tuner: Any) -> Path:
    return Path(tuner.project_dir) / ".workers"


def _beat(file: Path) -> None:
    write_text(file, uuid.uuid4().hex)


class _Ended(Exception):
    """Is raised in the thread that searches."""


def _look(workers: LostWorkers, ended: threading.Event, searching: int, failures: list[Exception]) -> None:
    try:
        workers.look()
        if not workers.is_over:
            return
        failures += [] if workers.failure is None else [workers.failure]
    except OSError:
        raise
    except Exception as error:
        failures.append(error)
    ended.set()
    # The chief sleeps in KerasTuner, where only an exception from outside reaches it; signals may be ignored.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(searching), ctypes.py_object(_Ended))


def _end(oracle: Any, trial: Any) -> None:
    """End a trial. KerasTuner's own oracles raise under their lock, and leave it held, unless they are asked afterwards."""
    if isinstance(oracle, StrategyOracle):
        oracle.end_trial(trial)
        return
    limit, oracle.max_consecutive_failed_trials = oracle.max_consecutive_failed_trials, None
    try:
        oracle.end_trial(trial)
    finally:
        oracle.max_consecutive_failed_trials = limit
    oracle._check_consecutive_failures()


def _repeat(work: Callable[[], None], ended: threading.Event) -> None:
    while True:
        with suppress(OSError):  # a folder that cannot be reached just now
            work()
        if ended.wait(_BEAT_S):
            return
