"""A disk without space left."""

import errno
import os
import shutil

from kerasnas.errors import DiskFull

__all__ = ["disk_full"]

_LEFT = 1 << 16


def disk_full(error: OSError, folder: str | os.PathLike[str]) -> DiskFull | None:
    """Return the error to raise instead of `error` if it came of a full disk; None if it did not."""
    # HDF5 reports a full disk without its number.
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) and shutil.disk_usage(folder).free > _LEFT:
        return None
    return DiskFull(
        f"No space is left on the disk of {folder}: {error}. Nothing that was finished is lost: make room, "
        "then run the same search again. keep_checkpoints says for how many trials weights are kept."
    )
