"""Errors of libraries, as a search has to take them."""

import os
from pathlib import Path

import keras_tuner as kt

from kerasnas.errors import InfeasibleArchitecture
from kerasnas.oracles.excuses import is_out_of_memory
from kerasnas.search.disk import disk_full

__all__ = ["retold"]


def retold(error: Exception, folder: str | os.PathLike[str]) -> Exception | None:
    """Return the error to raise instead of one; None if it says what it is.

    Args:
        error: what a trial, or the writing of a file, has raised.
        folder: of the search.
    """
    if isinstance(error, OSError) and (full := disk_full(error, Path(folder))) is not None:
        return full
    if is_out_of_memory(error):
        return InfeasibleArchitecture(f"The trial ran out of memory: {error}")
    if isinstance(error, kt.errors.FailedTrialError) and not isinstance(error, InfeasibleArchitecture):
        # A class of the user's own: afterwards only its name is known, which would count as a failure of the search.
        return InfeasibleArchitecture(f"{type(error).__name__}: {error}")
    # By name: only a worker needs gRPC.
    if any(kind.__name__ == "RpcError" for kind in type(error).__mro__):
        return kt.errors.FatalRuntimeError(
            f"The chief of the search did not answer: {error}. Its own output says why; what was trained is kept, and a worker "
            "of this name goes on with it when both are started again."
        )
    return None
