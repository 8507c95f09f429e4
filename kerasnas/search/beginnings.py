"""How often a trial of a worker was begun: one that kills every process that trains it is not begun for ever."""

from pathlib import Path

from kerasnas.atomic import write_json
from kerasnas.errors import InfeasibleArchitecture
from kerasnas.search.trial_history import TrialHistory

__all__ = ["check_beginnings", "forget_beginnings"]

_FILE, _MOST = "begun.json", 2


def check_beginnings(folder: Path, epochs: int) -> None:
    """Count a beginning; raise InfeasibleArchitecture if two came to no further epoch: each worker is started anew and dies.

    Args:
        folder: of the trial.
        epochs: that are done.
    """
    file = folder / _FILE
    known = TrialHistory.read(file)
    times = known["times"] if known.get("epochs") == epochs else 0
    if times >= _MOST:
        raise InfeasibleArchitecture(
            f"Its worker died {times} times after epoch {epochs} of the trial: it ran out of memory, or crashed."
        )
    write_json(file, {"epochs": epochs, "times": times + 1})


def forget_beginnings(folder: Path) -> None:
    """Begin to count anew: the trial has ended."""
    (folder / _FILE).unlink(missing_ok=True)
