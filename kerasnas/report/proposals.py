"""How each trial was proposed, as rows of a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kerasnas.record import SearchRecord, TrialRecord

__all__ = ["Prediction", "prediction", "proposals"]

Prediction = tuple[float, float]

# More differences than this between two configurations are counted, not listed.
_LISTED = 3


def proposals(record: SearchRecord) -> list[dict[str, Any]] | None:
    """Return a row for each trial, in order; None if the ledger tells of none."""
    if not any(trial.decision and "strategy" in trial.decision for trial in record.trials):
        return None
    return [_row(number, trial, record) for number, trial in enumerate(record.trials, 1)]


def prediction(trial: TrialRecord, record: SearchRecord) -> Prediction | None:
    """Return mean and standard deviation of the objective that the strategy predicted for a trial, if it did.

    None also where it predicted in a unit of its own, such as ranks, or is told of several objectives in one number.
    """
    predicted = _predicted(trial)
    if (
        predicted is None
        or len(record.objectives) > 1
        or predicted.get("unit", (trial.decision or {}).get("unit", "score")) != "score"
    ):
        return None
    sign = 1 if record.direction == "max" else -1  # to a strategy, higher is better
    return sign * predicted["mean"], _number(predicted.get("std")) or 0.0


def _predicted(trial: TrialRecord) -> Mapping[str, Any] | None:
    predicted = (trial.decision or {}).get("predicted")
    return predicted if isinstance(predicted, Mapping) and _number(predicted.get("mean")) is not None else None


def _row(number: int, trial: TrialRecord, record: SearchRecord) -> dict[str, Any]:
    decision = trial.decision or {}
    expected, predicted = prediction(trial, record), _predicted(trial)
    surprise = None
    if expected and expected[1] > 0 and trial.expected_score is not None:
        surprise = (trial.expected_score - expected[0]) / expected[1]
    own_unit = None
    if predicted and not expected:
        mean, std, unit = predicted["mean"], _number(predicted.get("std")), predicted.get("unit", decision.get("unit"))
        told = len(record.objectives) > 1 and unit in (None, "score")  # a distance times -1: higher is better
        own_unit = (-mean, std, "distance from the ideal, under the weights of that trial") if told else (mean, std, unit)
    return {
        "number": number,
        "trial": trial,
        "phase": decision.get("phase") or decision.get("strategy") or "not recorded",
        "expected": expected,
        "own_unit": own_unit,
        "surprising": surprise is not None and abs(surprise) > 2,
        "entropy": _number(decision.get("entropy")),
        "advantage": _number(decision.get("advantage")),
        # What the strategy chose: it was not asked for what it knew that the network would not use.
        "facts": _facts(decision, chosen if isinstance(chosen := decision.get("values"), Mapping) else trial.values),
        "unlikely": _unlikely(decision.get("probabilities")),
    }


def _facts(decision: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a proposal was made of and what it was preferred to."""
    facts = []
    if isinstance(parents := decision.get("parents"), Sequence):
        facts += [("parent", _differences(parent, values)) for parent in parents if isinstance(parent, Mapping)]
    elif isinstance(parent := decision.get("parent"), Mapping):
        facts.append(("wanted" if decision.get("phase") in ("novelty", "repair") else "parent", _differences(parent, values)))
    if isinstance(rival := decision.get("runner_up"), Mapping):
        facts.append(("runner-up", _differences(rival, values)))
    return facts


def _differences(other: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Say in what `other` differs from the chosen `values`."""
    names = [*other, *(name for name in values if name not in other)]
    changed = [name for name in names if other.get(name) != values.get(name)]
    listed = [f"{name} {_text(other.get(name))}, here {_text(values.get(name))}" for name in changed[:_LISTED]]
    more = [f"and {len(changed) - _LISTED} more"] if len(changed) > _LISTED else []
    return "; ".join(listed + more) or "the same"


def _unlikely(probabilities: Any) -> list[tuple[str, float]]:
    """Return the true choices that the policy itself found the least likely."""
    if not isinstance(probabilities, Mapping):
        return []
    known = [(name, p) for name, value in probabilities.items() if (p := _number(value)) is not None and p < 1]
    return sorted(known, key=lambda pair: pair[1])[:_LISTED]


def _text(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    """Return `value` if it is a finite number: the files may be of a strategy that says odd things."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
