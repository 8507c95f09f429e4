"""What a `fit` or a `run_trial` of one's own returns, as KerasTuner takes it."""

from collections.abc import Mapping
from typing import Any

import keras_tuner as kt
import numpy as np

__all__ = ["OwnResults", "with_objective"]


def with_objective(result: Any, objective: Any, costs: Mapping[str, float]) -> Any:
    """Add the costs to metrics, and the objective where it is made of several of them; a `History` is left as it is.

    Args:
        result: metrics by name, the objective's value, a `History`, or a list of these.
        objective: the `kt.Objective`.
        costs: what the network costs, by name; the result's own are left as they are.
    """
    if isinstance(result, list):
        return [with_objective(part, objective, costs) for part in result]
    if isinstance(result, dict):
        result = {**costs, **result}
        if objective.has_value(result):
            result.setdefault(objective.name, objective.get_value(result))
    elif costs and isinstance(result, int | float | np.floating):
        result = {**costs, objective.name: float(result)}
    return result


class OwnResults:
    """Stands for a `NASTuner` where KerasTuner runs a trial: of several objectives it looks for none but their sum.

    Args:
        tuner: the `NASTuner`.
    """

    def __init__(self, tuner: Any) -> None:
        self.oracle, self._tuner = tuner.oracle, tuner

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the tuner's `run_trial` does, with what KerasTuner looks for."""
        result = self._tuner.run_trial(trial, *args, **kwargs)
        return with_objective(result, self.oracle.objective, self._tuner._history.content["costs"])

    def run_and_update(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        """Run a trial and tell the oracle its metrics, in place of those of a trial that goes on."""
        with self._tuner._waiting.without_metrics(trial):
            kt.Tuner._run_and_update_trial(self, trial, *args, **kwargs)
