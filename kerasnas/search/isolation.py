"""Trials in a process of their own, so that one that runs out of memory does not end the search."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from pickle import PicklingError
from typing import Any

import keras
import loky
import numpy as np
from loky.process_executor import TerminatedWorkerError

from kerasnas.errors import InfeasibleArchitecture, InvalidArgument
from kerasnas.search.trial_history import TrialHistory
from kerasnas.search.trial_training import TrialTraining, train_trial

__all__ = ["TrialProcess"]


class TrialProcess:
    """A child process that runs one trial after the other; a new one is started only when it has died, or has grown.

    TensorFlow keeps kernels and working memory of each network that it has met until its process ends. A child that holds 300
    MB more than after its first trial (loky's rule; `LOKY_MAX_MEMORY_LEAK_SIZE` in the environment is another number of bytes)
    is therefore ended after its trial. Arrays are handed over once, as files that both processes map into memory.

    Args:
        folder: where those files lie while the search runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=".data.", dir=folder))
        self._files: dict[tuple[str, str, tuple[int, ...]], str] = {}  # by content: folds are cut anew in each trial

    def run(self, function: Callable[..., Any], *arguments: Any, watch: Callable[[], None] = lambda: None) -> Any:
        """Return what `function` returns in the child; `watch` is called twice a second meanwhile.

        Raises:
            InvalidArgument: if the arguments cannot be sent to another process.
            InfeasibleArchitecture: if the child died.
        """
        sent = keras.tree.map_structure(self._to_file, arguments)
        executor = loky.get_reusable_executor(max_workers=1, timeout=None, kill_workers=False)
        with warnings.catch_warnings():
            # That a child has grown is expected, and nobody's mistake.
            warnings.filterwarnings("ignore", "A worker (was restarted|stopped) while some jobs were given", UserWarning)
            future = executor.submit(_run, os.getpid(), _settings(), function, sent)
            while not wait([future], timeout=0.5).done:
                watch()
        try:
            return future.result()
        except TerminatedWorkerError as error:
            codes = "".join(re.findall(r"exit codes of the workers are (\{.*\})", str(error)))
            raise InfeasibleArchitecture(f"The process of the trial died {codes}: it ran out of memory, or crashed.") from error
        except (BrokenProcessPool, PicklingError) as error:
            raise InvalidArgument(
                f"The HyperModel or the data cannot be sent to the process of the trials: {error} Define the HyperModel in a "
                "module that can be imported, or pass isolate=False."
            ) from error

    def run_trial(self, tuner: Any, trial: Any, call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the results of `train_trial` in the child, and show the history meanwhile; see `run`."""
        path, shown = tuner._history.path, tuner._history.epochs

        def watch() -> None:
            nonlocal shown
            history = TrialHistory(path, TrialHistory.read(path))
            if tuner._progress and history.epochs > shown:
                shown = history.epochs
                tuner._progress.end_epoch(shown, history.last)

        try:
            results, trial.hyperparameters = self.run(_train, tuner, trial, call, args, kwargs, watch=watch)
        except Exception as error:
            trial.hyperparameters = getattr(error, "hyperparameters", trial.hyperparameters)
            raise
        finally:
            tuner._history = TrialHistory(path, TrialHistory.read(path))
        return [TrialTraining.revived(result) for result in results]

    def close(self) -> None:
        """End the child and remove the files."""
        loky.get_reusable_executor(max_workers=1, timeout=None).shutdown(wait=True, kill_workers=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _to_file(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.hasobject:
            raise InvalidArgument("Expected arrays of numbers for trials in a process of their own, got an array of objects.")
        # Each time: an array may have been changed in place since.
        plain = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        content = hashlib.blake2b(plain.data).hexdigest(), value.dtype.str, value.shape
        if content not in self._files:
            path = str(self._folder / f"{len(self._files)}.npy")
            np.save(path, value, allow_pickle=False)
            self._files[content] = path
        return _ArrayFile(self._files[content])


def _train(tuner: Any, trial: Any, call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """Run in the process of a trial; return results that can be sent back, and what hyperparameters there are now."""
    try:
        # Not the tuner's run_trial: one that is overridden has been called already, in the process of the search.
        results = train_trial(tuner, trial, call, args, kwargs)
    except Exception as error:
        error.hyperparameters = trial.hyperparameters  # type: ignore[attr-defined]  # what it discovered is not lost
        raise
    tuner._history.save()  # what a `fit` without epochs has left in it is read by the parent, too
    return [TrialTraining.as_json(result) for result in results], trial.hyperparameters


class _ArrayFile:
    def __init__(self, path: str) -> None:
        self.path = path


_loaded: dict[str, np.ndarray] = {}


# What holds for each network that is built, in the order in which it is set: of the dtype policy last, which follows floatx.
_SETTINGS = ("floatx", "epsilon", "image_data_format", "dtype_policy")


def _settings() -> dict[str, Any]:
    return {name: getattr(keras.config, name)() for name in _SETTINGS}


def _run(parent: int, settings: dict[str, Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)
    if not _loaded:
        _end_with(parent)
        # Where memory runs out, Linux is to end this process, not the one that keeps the search.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    return function(*keras.tree.map_structure(_from_file, arguments))


def _from_file(value: Any) -> Any:
    if not isinstance(value, _ArrayFile):
        return value
    if value.path not in _loaded:
        _loaded[value.path] = np.load(value.path, mmap_mode="r", allow_pickle=False)
    return _loaded[value.path]


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone: a search that is resumed must not meet its own past."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
