"""The order of trials that scored the same."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from kerasnas.trial_record import price

__all__ = ["cheaper_first"]


def cheaper_first(ranked: Sequence[Any]) -> list[Any]:
    """Return the trials of KerasTuner in the order given, but of those with equal scores the cheaper network first."""

    def cost(trial: Any) -> tuple[float, float]:
        last = {name: history.get_last_value() for name, history in trial.metrics.metrics.items()}
        return price({name: float(value) for name, value in last.items() if value is not None})

    groups = groupby(ranked, key=lambda trial: (trial.status, trial.score))
    return [trial for _, group in groups for trial in sorted(group, key=cost)]
