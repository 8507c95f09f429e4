"""Why a network won: what the trials of a search tell of it, for the page."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search import (
    AblationPath,
    Account,
    Counterfactual,
    Counterfactuals,
    ModelCheck,
    account,
    counterfactuals,
    importance,
    measured_path,
    shapley_ablation,
)
from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.report.other_ways import other_ways
from kerasnas.report.quantities import number
from kerasnas.report.why_charts import importance_chart, path_chart, value_text

__all__ = ["FEWEST", "why"]

FEWEST = 8  # completed trials
_OBJECTIVES = 3  # importances are drawn of so many
_SURE = 2.0

T = TypeVar("T")


def why(
    record: SearchRecord, trainings: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any] | None:
    """Return what the section "Why this network won" says; None if no trial is completed.

    With fewer than 8 completed trials it says what is missing. An explanation that fails does not cost the page: its place
    says so, and a warning is given.

    Args:
        record: the search.
        trainings: what `kerasnas retrain` has left; "path" beside the trials by default.
        tell: hears what is worked out next, for that takes its time.
    """
    done = len(record.completed)
    if not done:
        return None
    trainings, several = trainings or record.path / "path", len(record.objectives) > 1
    if done < FEWEST:
        finding = None if several else _finding(record, trainings)
        return {"missing": _missing(record, done), "reliable": False, "finding": finding}
    failures: list[str] = []
    names = [name for name, _ in record.objectives[:_OBJECTIVES]] if several else [record.objective]

    def attempt(what: str, explain: Callable[[], T]) -> T | None:
        tell(what)
        return _attempt(what, explain, failures)

    asked = [attempt(f"The importance for {name}", partial(importance, record, objective=name)) for name in names]
    importances = [told for told in asked if told is not None]
    path = changes = others = None
    if not several:  # a gain in the common score of several has no unit
        path = attempt("The path from the default", lambda: measured_path(record, trainings))
        changes = attempt("What other values would do", lambda: counterfactuals(record))
    told = attempt("The account", lambda: account(record, importances=importances, path=path))
    check = changes.check if changes else path.check if path else None
    reliable = check is not None and check.is_reliable
    if not several and importances:
        gains = attempt("The share of each change in the gain", lambda: shapley_ablation(record)) if reliable else None
        others = attempt("Importance by other measures", lambda: other_ways(record, importances[0], gains))
    return {
        "missing": None,
        "reliable": reliable,
        "failures": failures,
        "running": any(trial.status == "RUNNING" for trial in record.trials),
        "trials": done,
        "account": _sentences(told) if told else [],
        "importances": [
            {"objective": one.objective, "chart": drawn[0], "left_out": drawn[1]}
            for one in importances
            if (drawn := importance_chart(one))
        ],
        "others": others,
        "unreliable": _unreliable(check) if check and not reliable else None,
        "path": _path(path, record) if path and (reliable or path.finding) else None,
        "changes": _changes(changes) if changes and reliable else None,
    }


def _attempt(what: str, explain: Callable[[], T], failures: list[str]) -> T | None:
    try:
        return explain()
    except InvalidArgument as error:
        failures.append(f"{what} cannot be told: {error}")
    except Exception as error:  # the rest of the page is still worth having
        warnings.warn(f"{what} is left out of the page: {error!r}", stacklevel=2)
        failures.append(f"{what} could not be worked out ({type(error).__name__}: {error}).")
    return None


def _finding(record: SearchRecord, trainings: Path) -> str | None:
    """Say what training the path of a search of few trials came to; None if it was not trained."""
    if not trainings.is_dir():
        return None
    try:
        finding = measured_path(record, trainings).finding
    except InvalidArgument:
        return None
    return finding and _typeset(finding)


def _missing(record: SearchRecord, done: int) -> str:
    lacking = FEWEST - done
    ended = sum(trial.status == "RUNNING" for trial in record.trials) == 0
    told = f"{done} {'trial has' if done == 1 else 'trials have'} a score, {lacking} fewer than it takes"
    more = "; a search that is resumed adds to them" if ended else ""
    return (
        f"From {FEWEST} trials on, this part tells which hyperparameters mattered, which changes made the network better than "
        f"the default, and what other values would have done. So far {told}{more}."
    )


def _unreliable(check: ModelCheck) -> str:
    if check.low > 0:
        why_not = "which models of shuffled scores reach, too"
    else:
        why_not = f"three standard errors below it is {check.low:.2f}"
    return (
        "Which changes made the network better than the default, and what other values would have done, cannot be predicted: "
        f"from {check.trials} trials no model of the score ranks trials that it has not seen (rank correlation "
        f"{check.correlation:.2f}, {why_not})."
    )


def _sentences(told: Account) -> list[dict[str, Any]]:
    """Return each sentence with its evidence: groups of a title and pairs of names and texts."""
    sentences = []
    for sentence in told:
        single = [(_words(name), _fact(value)) for name, value in sentence.evidence.items() if not isinstance(value, Mapping)]
        groups = [("", single)] if single else []
        for name, value in sentence.evidence.items():
            if isinstance(value, Mapping):
                groups.append((_words(name), [(str(key), _fact(one)) for key, one in value.items()]))
        # A sentence of one or two numbers says them itself.
        more = len(groups) > bool(single) or len(single) > 2
        sentences.append({"text": _typeset(sentence.text), "evidence": groups if more else []})
    return sentences


def _typeset(text: str) -> str:
    """Of a number and its deviation neither stands alone at the end of a line."""
    return text.replace(" +- ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_fact(one)}" for name, one in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(_fact, value))
    return number(value, 3) if isinstance(value, float) else number(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _path(path: AblationPath, record: SearchRecord) -> dict[str, Any]:
    rows = [
        {
            "measured": _measured(step.measured, step.measured_error),
            "changes": [f"{name} {value_text(old)} → {value_text(new)}" for name, (old, new) in step.changes.items()],
            "gain": f"{step.gain:+.3g} ± {step.std:.2g}",
            "tried": _tried(step.values, record),
        }
        for step in path.steps
    ]
    return {
        "chart": path_chart(path),
        "rows": rows,
        "gain": f"{path.gain:+.3g} ± {path.std:.2g}",
        "beyond": path.reaches_beyond,
        "measured": _measured(path.measured, path.measured_error),
        "finding": path.finding and _typeset(path.finding),
        "single": path.measured is not None and path.measured_error is None,
        "default": _tried(path.start, record),
    }


def _measured(gain: float | None, error: float | None) -> str | None:
    return None if gain is None else f"{gain:+.3g}" + (f" ± {error:.2g}" if error is not None else "")


def _tried(values: Mapping[str, Any], record: SearchRecord) -> str | None:
    """Name the trial of a configuration and its score; None if it was not tried."""

    def is_it(trial: TrialRecord) -> bool:
        return values.items() <= record.configuration(trial).items()

    def outcome(trial: TrialRecord) -> str:
        return trial.status.lower() if trial.score is None else number(trial.score)

    tried = sorted((t.score is None, i, t) for i, t in enumerate(record.trials, 1) if is_it(t))
    return f"trial {tried[0][1]}: {outcome(tried[0][2])}" if tried else None


def _changes(told: Counterfactuals) -> list[dict[str, Any]]:
    """Return the decisions, the one that matters most to the winner first, each with its other values."""
    by_name: dict[str, list[Counterfactual]] = {}
    for item in told.items:
        by_name.setdefault(item.name, []).append(item)
    return [
        {
            "name": name,
            "value": value_text(items[0].value),
            "others": [
                {
                    "instead": value_text(item.instead),
                    "difference": f"{item.difference:+.3g} ± {item.std:.2g}",
                    "verdict": _verdict(item),
                    "sure": abs(item.difference) > _SURE * item.std,
                    "tried": item.tried,
                    "failed": item.failed,
                    "which": "near" if item.near else "with",
                }
                for item in sorted(items, key=lambda item: item.difference)
            ],
        }
        for name, items in sorted(by_name.items(), key=lambda pair: min(item.difference for item in pair[1]))
    ]


def _verdict(item: Counterfactual) -> str:
    if abs(item.difference) <= item.std:
        return "cannot be told apart"
    word = "worse" if item.difference < 0 else "better"
    return word if abs(item.difference) > _SURE * item.std else f"perhaps {word}"
