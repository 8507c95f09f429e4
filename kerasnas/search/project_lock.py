"""The project folder of a search: made, held by one search at a time, and what is said when that is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from kerasnas.errors import InvalidArgument

__all__ = ["interrupted", "prepare_folder", "project_lock"]


@contextmanager
def project_lock(folder: Path) -> Iterator[None]:
    """Hold the project folder; the operating system gives it free when the process ends, however it ends.

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
            f"Another search is running in {folder}. Wait until it has ended, or give this one another project_name."
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


def interrupted(folder: Path) -> KeyboardInterrupt:
    """Return what ends an interrupted search, raised `from None`: its frames tell nothing, that it can go on does."""
    return KeyboardInterrupt(f"The search in {folder} is interrupted; its trials are kept, and the same code goes on with it.")
