"""The project folder of a search: made, held by one search at a time, and what is said when that is interrupted."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from kerasnas.errors import InvalidArgument
from kerasnas.search.trial_history import TrialHistory

__all__ = ["ends_of_trials", "held", "prepare_folder", "project_lock"]

_ENDED = ("COMPLETED", "FAILED")
# Folders in which files are begun, and the arrays of trials in their own process: named by `tempfile`.
_DRAFT = re.compile(r"\..+\.[a-z0-9_]{8}")


@contextmanager
def project_lock(folder: Path, *, other: str = "project_name") -> Iterator[None]:
    """Hold the project folder; the operating system gives it free when the process ends, however it ends.

    Args:
        folder: of the search.
        other: what names another folder.
    Raises:
        InvalidArgument: if another process, or another search of this one, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the folder's content: a hidden file that a deleted and newly made folder does not inherit.
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InvalidArgument(
            f"Another search is running in {folder}. Wait until it has ended, or give this one another {other}."
        ) from error
    try:
        yield
    finally:
        lock.release()


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the project folder, or make sure that nobody searches in what is about to be deleted.

    Raises:
        InvalidArgument: if it cannot be made, or is held.
    """
    try:
        if overwrite and folder.exists():
            with project_lock(folder):
                return
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(
            f"Expected a folder for the search that can be made, got {folder}: {error.strerror}. Choose another directory."
        ) from error


def ends_of_trials(folder: Path) -> dict[str, bool]:
    """Return for each trial in the folder whether it has ended."""
    files = {file.parent.name.removeprefix("trial_"): file for file in folder.glob("trial_*/trial.json")}
    return {trial_id: TrialHistory.read(file).get("status") in _ENDED for trial_id, file in files.items()}


@contextmanager
def held(folder: Path, oracle: Any, before: dict[str, bool]) -> Iterator[None]:
    """Hold the project folder for a search, unless another process has gone on meanwhile; say what an interruption means.

    Args:
        folder: of the search.
        oracle: knows the trials.
        before: `ends_of_trials` when the oracle read them; brought up to date in the end.
    Raises:
        InvalidArgument: if the folder is held, or holds a trial, or the end of one, of which `oracle` does not know.
    """
    with project_lock(folder):
        _check_up_to_date(oracle, folder, before)
        try:
            yield
        except KeyboardInterrupt:
            # Its frames tell nothing; that it can go on does.
            raise KeyboardInterrupt(
                f"The search in {folder} is interrupted; its trials are kept, and the same code goes on with it."
            ) from None
        finally:
            before.clear()
            before.update(ends_of_trials(folder))


def _check_up_to_date(oracle: Any, folder: Path, before: Mapping[str, bool]) -> None:
    """Raise where another process has gone on; else remove what processes that were killed have left."""
    for trial_id, ended in ends_of_trials(folder).items():
        known = oracle.trials.get(trial_id)
        if (known is None or (ended and known.status not in _ENDED)) and before.get(trial_id) != ended:
            raise InvalidArgument(
                f"The search in {folder} went on in another process since this tuner was made. Make the tuner anew: it goes on "
                "from there."
            )
    if "KERASTUNER_ORACLE_IP" not in os.environ:  # no worker is writing
        drafts = [path for pattern in (".*", "trial_*/.*") for path in folder.glob(pattern) if _DRAFT.fullmatch(path.name)]
        for draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
