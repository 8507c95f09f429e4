"""The objectives of all trials of a project folder, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.search.trial_history import TrialHistory

__all__ = ["TrialCurves", "objective_curve"]


def objective_curve(objective: Any, curves: Mapping[str, Sequence[float | None]], costs: Mapping[str, float]) -> NDArray[Any]:
    """Return the objectives after each epoch, shape (epochs, objectives), higher is better, NaN where there is none.

    Args:
        objective: a `kt.Objective`, or KerasTuner's list of them.
        curves: each metric's value at every epoch.
        costs: metrics that are the same in each epoch.
    """
    parts = getattr(objective, "objectives", [objective])
    epochs = max((len(values) for values in curves.values()), default=0)
    scores = np.full((epochs, len(parts)), np.nan)
    for epoch in range(epochs):
        known = {name: values[epoch] for name, values in curves.items() if epoch < len(values)}
        logs = {**{name: math.nan if value is None else value for name, value in known.items()}, **costs}
        for j, part in enumerate(parts):
            if part.has_value(logs):
                scores[epoch, j] = (1 if part.direction == "max" else -1) * part.get_value(logs)
    scores[~np.isfinite(scores)] = np.nan
    return scores


class TrialCurves:
    """Reads the curves of a search that may run in several processes; a file is read again only when it has changed.

    Args:
        folder: the project folder.
        objective: a `kt.Objective`, or KerasTuner's list of them.
    """

    def __init__(self, folder: Path, objective: Any) -> None:
        self._folder, self._objective = folder, objective
        self._known: dict[str, tuple[tuple[int, int], NDArray[Any]]] = {}

    def others(self, trial_id: str) -> list[NDArray[Any]]:
        """Return the curves of all trials but one, in the order of their numbers; see `objective_curve`."""
        return [curve for i, curve in self.all().items() if i != trial_id]

    def all(self) -> dict[str, NDArray[Any]]:
        """Return the curves of all trials with an epoch, by their ids, in the order of their numbers."""
        files = {f.parent.name.removeprefix("trial_"): f for f in self._folder.glob("trial_*/history.json")}
        numbered = sorted((int(i) if i.isdecimal() else math.inf, i) for i in files)
        return {i: curve for _, i in numbered if len(curve := self._read(i, files[i]))}

    def _read(self, trial_id: str, file: Path) -> NDArray[Any]:
        try:
            stamp = file.stat().st_mtime_ns, file.stat().st_size
            if trial_id in self._known and self._known[trial_id][0] == stamp:
                return self._known[trial_id][1]
            history = TrialHistory.read(file)
            first = history["executions"][0] if history["executions"] else {}
            curve = objective_curve(self._objective, first, history.get("costs", {}))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return np.empty((0, 1))  # a damaged file of another trial must not end this one
        self._known[trial_id] = stamp, curve
        return curve
