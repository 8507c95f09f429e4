"""What the histories of ended trials tell beyond their scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasnas.strategies.learned_conditions import Use
from kerasnas.trial_record import read_expected, read_file, unused_of

__all__ = ["Told"]


class Told:
    """Reads the `history.json` of each trial once; only `NASTuner` writes one.

    Args:
        folder: returns the folder of a trial.
    """

    def __init__(self, folder: Callable[[str], str | Path]) -> None:
        self._folder = folder
        self._known: dict[str, tuple[float | None, Use]] = {}

    def forget(self, trial_id: str) -> None:
        """Read a trial anew: it went on."""
        self._known.pop(trial_id, None)

    def score(self, trial: Any) -> float:
        """Return the score of a completed `kt` trial, or what it was expected to come to if it was stopped early."""
        expected, _ = self._of(trial)
        return float(trial.score if expected is None else expected)

    def use(self, trial: Any) -> Use | None:
        """Return which of its values a `kt` trial used; None if it is not completed."""
        return self._of(trial)[1] if trial.status == "COMPLETED" else None

    def _of(self, trial: Any) -> tuple[float | None, Use]:
        if trial.trial_id not in self._known:
            history = read_file(Path(self._folder(trial.trial_id)) / "history.json") or {}
            values = trial.hyperparameters.values
            use = Use(dict(values), unused_of(values, history.get("asked")))
            self._known[trial.trial_id] = read_expected(history.get("stopped")), use
        return self._known[trial.trial_id]
