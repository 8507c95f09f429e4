"""What an oracle makes of the result of a trial."""

import math
import warnings
from typing import Any

__all__ = ["amend", "is_old_news", "reject_unless_finite"]


def reject_unless_finite(oracle: Any, trial: Any) -> None:
    """Mark a completed trial invalid if an objective is NaN or infinite; KerasTuner would let +inf win.

    Args:
        oracle: the `StrategyOracle`.
        trial: as its tuner gave it back.
    """
    if trial.status != "COMPLETED":
        return
    known = oracle.trials[trial.trial_id]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        oracle.score_trial(known)
    several = oracle.several_objectives
    for name, value in (several.values(known) if several else {oracle.objective.name: known.score}).items():
        if value is None or not math.isfinite(value):
            trial.status = "INVALID"
            trial.message = f"The objective {name!r} was {value}; expected a finite number."
            known.score, known.best_step = None, 0


def is_old_news(oracle: Any, trial: Any) -> bool:
    """Return whether a run that crashed was already taken for lost, so that its trial waits for another run.

    A trial that ended in any other way waits no longer.

    Args:
        oracle: the `StrategyOracle`.
        trial: as its tuner gave it back.
    """
    if trial.trial_id not in oracle._retry_queue:
        return False
    if trial.status != "INVALID":
        oracle._retry_queue.remove(trial.trial_id)
    return bool(trial.status == "INVALID")


def amend(oracle: Any, trial: Any) -> None:
    """Give a trial that had ended its new score: it went on, or its worker had been taken for lost. Failures change nothing.

    Args:
        oracle: the `StrategyOracle`, whose metrics of the trial are the new ones already.
        trial: as its tuner gave it back, with the metrics that it had before.
    """
    known = oracle.trials[trial.trial_id]
    before = known.score, known.best_step
    reject_unless_finite(oracle, trial)
    if trial.status == "COMPLETED":
        known.status, known.message, known.hyperparameters = "COMPLETED", None, trial.hyperparameters
        oracle.update_space(known.hyperparameters)
        oracle._record_values(known)
    else:
        (known.score, known.best_step), known.metrics = before, trial.metrics
        known.status = "FAILED" if known.score is None else "COMPLETED"
    oracle._save_trial(known)
    oracle.save()
    oracle.ongoing_trials = {name: each for name, each in oracle.ongoing_trials.items() if each.trial_id != trial.trial_id}
