"""Which failures of trials say nothing against the search as a whole, and when the others are too many."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasnas.errors import SearchFailed
from kerasnas.trial_errors import error_of
from kerasnas.trial_record import read_file

__all__ = ["GIVEN_UP", "LOST", "LOST_WORKER", "check_failures", "is_excused", "is_out_of_memory", "message_of_worker"]

# What a trial says that a worker of a distributed search gave up: KerasTuner does not send the message along.
GIVEN_UP = "FailedTrialError: its worker gave it up; the output of the worker says why."
# What a trial says whose worker no longer lives.
LOST_WORKER = "FailedTrialError: its worker was lost: it ran out of memory, was killed, or its machine is gone."
# What a trial says whose files were damaged.
LOST = "DamagedFile: its trial.json was not whole, and nothing tells what was tried."

_MEMORY_CLASSES = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError", "_ArrayMemoryError"}
_CLASSES = _MEMORY_CLASSES | {"DamagedFile", "FailedTrialError", "InfeasibleArchitecture"}
# JAX, and PyTorch on some devices, raise a general class.
_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory|not enough memory|can't allocate memory", re.IGNORECASE)


def is_excused(message: str | None) -> bool:
    """Tell whether a trial failed because memory ran out, or because its architecture was given up on purpose.

    Such failures are the business of single architectures; only others count towards the limit of consecutive failures. The
    message is all that a resumed search knows of a failure.

    Args:
        message: what the trial says: a traceback, or the line `Class: text` of an error.
    """
    error = error_of(message)
    return error is not None and (error[0].rpartition(".")[2] in _CLASSES or bool(_NO_MEMORY.search(error[1])))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, of the host or of a device, on any backend."""
    # By name: TensorFlow's class cannot be imported where another backend is used.
    return type(error).__name__ in _MEMORY_CLASSES or bool(_NO_MEMORY.search(str(error)))


def check_failures(ended: Sequence[Any], trial: Any, limit: int | None) -> None:
    """Raise SearchFailed if `trial`, which has just ended, was the last of `limit` failures in a row, the excused passed over.

    Args:
        ended: all trials that have ended, in order.
        trial: one of them.
        limit: None for no limit.
    """
    if not limit or trial.status != "FAILED" or is_excused(trial.message):
        return
    counted = [other for other in ended if not (other.status == "FAILED" and is_excused(other.message))]
    if len(counted) >= limit and all(other.status == "FAILED" for other in counted[-limit:]):
        raise SearchFailed(
            f"The last {limit} trials failed, and `max_consecutive_failed_trials` is {limit}. "
            f"The last of them said:\n{trial.message or 'nothing'}"
        )


def message_of_worker(folder: Path, status: str) -> str | None:
    """Return why a trial failed on a worker, which leaves that in the trial's folder; None if nothing tells.

    Args:
        folder: of the trial.
        status: with which the trial ended.
    """
    message = (read_file(folder / "history.json") or {}).get("message")
    if isinstance(message, str):
        return message
    return GIVEN_UP if status == "FAILED" else None
