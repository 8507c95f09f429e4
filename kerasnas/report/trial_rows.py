"""The trials as rows of a table, and what was done to spend less on them."""

import math
from collections.abc import Mapping
from typing import Any

from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.report.quantities import COSTS, cost, number

__all__ = ["cost_columns", "economy", "objective_text", "stop_text", "trial_rows"]


def trial_rows(record: SearchRecord) -> list[dict[str, Any]]:
    """Return a row for each trial, best first; those that are not completed come last, in order."""
    numbers = {trial.trial_id: i for i, trial in enumerate(record.trials, 1)}
    front = {trial.trial_id: "front" for trial in record.pareto_front()} if len(record.objectives) > 1 else {}
    if front:
        front[record.knee_point().trial_id] = "knee"
    best = record.ranked
    done = {trial.trial_id for trial in best}
    return [
        {
            "number": numbers[trial.trial_id],
            "trial": trial,
            "front": front.get(trial.trial_id, ""),
            "notes": [note for note in (stop_text(trial), _origin(trial, numbers)) if note],
        }
        for trial in (*best, *(trial for trial in record.trials if trial.trial_id not in done))
    ]


def cost_columns(record: SearchRecord) -> list[str]:
    """Return the names of the costs that are known of a trial and have no column of their own."""
    return [
        name
        for name in COSTS
        if name not in ("parameters", record.objective) and any(name in trial.metrics for trial in record.trials)
    ]


def objective_text(name: str, trial: TrialRecord) -> str:
    """Write one of several objectives of a trial."""
    value = trial.metrics.get(name)
    return cost(name, value) if name in COSTS else number(value)


def stop_text(trial: TrialRecord) -> str | None:
    """Say when a trial was stopped, by what and why; None if it was not."""
    if trial.stopped is None:
        return None
    epoch = max(map(len, trial.curves[-1].values()), default=0) if trial.curves else 0
    reason = trial.stopped.get("reason")
    return (
        "stopped"
        + (f" after epoch {epoch}" if epoch else "")
        + f" ({trial.stopped.get('rule') or 'no rule named'})"
        + (f": {reason}" if reason else "")
    )


def economy(record: SearchRecord) -> list[str]:
    """Say in a sentence each what early stopping saved and how many trials inherited weights; nothing if none did."""
    sentences = []
    stopped = [trial for trial in record.trials if trial.stopped is not None and trial.stopped.get("rule") != "time"]
    if stopped:
        longest = max(trial.epochs for trial in record.trials)
        saved = sum(longest - trial.epochs for trial in stopped)
        spent = sum(trial.epochs for trial in record.trials)
        text = f"Early stopping ended {len(stopped)} of {len(record.trials)} trials"
        if saved:
            text += f" and saved {saved:,} of {saved + spent:,} epochs (the longest trial had {longest:,})"
        sentences.append(text + ".")
    shares = [_share(trial.inherited) for trial in record.trials if trial.inherited is not None]
    if shares:
        known = [share for share in shares if share is not None]
        text = f"{len(shares)} of {len(record.trials)} trials took over weights of an earlier one"
        if known:
            text += f", on average {100 * sum(known) / len(known):.0f} % of all they have"
        sentences.append(text + ".")
    return sentences


def _origin(trial: TrialRecord, numbers: Mapping[str, int]) -> str | None:
    if trial.inherited is None:
        return None
    share, donor = _share(trial.inherited), str(trial.inherited.get("trial"))
    part = "weights" if share is None else f"{100 * share:.0f} % of its weights"
    return f"began with {part} from trial {numbers.get(donor, donor)}"


def _share(inherited: Mapping[str, Any]) -> float | None:
    share = inherited.get("share")
    return share if isinstance(share, int | float) and math.isfinite(share) else None
