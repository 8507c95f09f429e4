"""The project folder of a search: made, held by one search at a time, and what is said when that is interrupted."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from kerasnas.errors import InvalidArgument
from kerasnas.search.trial_history import TrialHistory

__all__ = ["check_up_to_date", "interrupted", "prepare_folder", "project_lock"]

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


def check_up_to_date(oracle: Any, folder: Path) -> None:
    """Refuse to go on where another process has gone on meanwhile; remove what processes that were killed have left.

    Called by who holds the folder.

    Raises:
        InvalidArgument: if the folder holds a trial, or the end of one, of which `oracle` does not know.
    """
    for file in folder.glob("trial_*/trial.json"):
        trial_id = file.parent.name.removeprefix("trial_")
        known, status = oracle.trials.get(trial_id), TrialHistory.read(file).get("status")
        if trial_id.isdecimal() and (known is None or (known.status not in _ENDED and status in _ENDED)):
            raise InvalidArgument(
                f"The search in {folder} went on in another process since this tuner was made. Make the tuner anew: it goes on "
                "from there."
            )
    if "KERASTUNER_ORACLE_IP" not in os.environ:  # no worker is writing
        drafts = [path for pattern in (".*", "trial_*/.*") for path in folder.glob(pattern) if _DRAFT.fullmatch(path.name)]
        for draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)


def interrupted(folder: Path) -> KeyboardInterrupt:
    """Return what ends an interrupted search, raised `from None`: its frames tell nothing, that it can go on does."""
    return KeyboardInterrupt(f"The search in {folder} is interrupted; its trials are kept, and the same code goes on with it.")
