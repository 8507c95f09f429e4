"""One search at a time in a project folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from kerasnas.errors import InvalidArgument

__all__ = ["project_lock"]


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
