"""The order of the trials of any KerasTuner search, the best first."""

from collections.abc import Iterable
from typing import Any

from kerasnas.trial_record import rank

__all__ = ["best_first"]


def best_first(trials: Iterable[Any], direction: str) -> list[Any]:
    """Return the completed ones of KerasTuner's trials by `kerasnas.trial_record.rank`, as a `SearchRecord` ranks them, too."""

    def key(trial: Any) -> tuple[Any, ...]:
        last = {name: history.get_last_value() for name, history in trial.metrics.metrics.items()}
        metrics = {name: float(value) for name, value in last.items() if value is not None}
        return rank(trial.trial_id, trial.score, metrics, direction)

    return sorted((trial for trial in trials if trial.status == "COMPLETED"), key=key)
