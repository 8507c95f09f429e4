"""A trial's `history.json`: its curves, its times and what else is known of its training."""

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.atomic import write_json

__all__ = ["TrialHistory", "as_number"]


def as_number(value: Any) -> float:
    """Return a metric as one number: its mean where it has a value for each class, as KerasTuner takes it."""
    return float(np.mean(value))


class TrialHistory:
    """What `history.json` holds, rewritten after every epoch.

    Attributes:
        content: "executions" has one mapping for each training, metric name to its value at every epoch (None where it was not
            finite); "seconds" is the trial's wall-clock time, "fit_seconds" the part spent in the HyperModel's `fit`,
            "search_seconds" the time of the whole search so far; "parameters" the number of weights, "costs" what the network
            costs; "asked" names the hyperparameters that it was made of; "epochs" is how many the present training is to have,
            "granted" the seconds that `kerasnas.search.time_ceiling` had granted when it began;
            "fingerprint", "inherited", "stopped" and "message" tell which training it is, from which trial it has its first
            weights, why it was ended early, and why it failed; None where there is nothing to tell.
    """

    def __init__(self, path: Path, saved: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "seconds": 0.0,
            "fit_seconds": 0.0,
            "search_seconds": 0.0,
            "parameters": None,
            "costs": {},
            "fingerprint": None,
            "inherited": None,
            "stopped": None,
            "message": None,
            "asked": [],
            "epochs": None,
            "granted": None,
            "executions": [],
        } | copy.deepcopy(dict(saved or {}))

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        """Return what a file holds; nothing if it is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @classmethod
    def search_seconds(cls, project: Path) -> float:
        """Return the time that all processes of the search in a project folder have spent."""
        histories = map(cls.read, project.glob("trial_*/history.json"))
        return max((float(history.get("search_seconds") or 0.0) for history in histories), default=0.0)

    @property
    def epochs(self) -> int:
        """Epochs done, in all executions."""
        return sum(max((len(values) for values in run.values()), default=0) for run in self.content["executions"])

    @property
    def epochs_of_execution(self) -> int:
        """Epochs done in the present execution."""
        return max((len(values) for values in self.curves.values()), default=0)

    @property
    def curves(self) -> dict[str, list[float | None]]:
        """The curves of the present execution."""
        present: dict[str, list[float | None]] = self.content["executions"][-1] if self.content["executions"] else {}
        return present

    @property
    def last(self) -> dict[str, float]:
        """The finite values of the last epoch of the present execution."""
        return {name: values[-1] for name, values in self.curves.items() if values[-1] is not None}

    def add(self, logs: Mapping[str, float]) -> None:
        """Take in the metrics of an epoch of the present execution."""
        for name, value in logs.items():
            self.curves.setdefault(name, []).append(value if math.isfinite(value) else None)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        write_json(self.path, self.content)
