"""A trial as its folder tells it, and what to do about files that are not whole."""

import copyreg
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = [
    "WRONG",
    "RejectedRecord",
    "TrialRecord",
    "ignore",
    "mean",
    "number_of",
    "rank",
    "read_file",
    "read_trial",
    "unused_of",
]

# What reading the fields of a file raises if they are not what they should be.
WRONG = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


def _frozen(content: Any) -> Any:
    """Make what JSON holds read-only."""
    if isinstance(content, dict):
        return _read_only({key: _frozen(value) for key, value in content.items()})
    return tuple(map(_frozen, content)) if isinstance(content, list) else content


# Python does not copy or pickle read-only mappings by itself; a record, and what holds one, can be both.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        trial_id: KerasTuner's id.
        status: "COMPLETED", "FAILED", "INVALID" or "RUNNING".
        score: value of the objective at the best epoch; None unless completed. Of a search with several objectives, the
            number of the trial's front among all trials, plus its place there: see `kerasnas.pareto.pareto_scores`.
        best_epoch: index of that epoch, from 0.
        values: active hyperparameters.
        metrics: metrics at the best epoch, means over executions.
        curves: one mapping for each execution, metric name to its value at every epoch (NaN where it was not finite).
        seconds: wall-clock seconds of the trial; None if not recorded.
        parameters: number of weights; None if not recorded.
        message: why the trial failed.
        decision: how the trial was proposed and what came of it, as `kerasnas.oracles.ledger` describes it; None if not
            recorded.
        stopped: "rule", "reason" and "details" of what ended the trial early, and the score "expected" of it by its last epoch,
            where that can be told; None if nothing did.
        unused: those of `values` that the HyperModel did not ask for when it built and trained the network, such as the units
            of a layer that it lacks; empty if not recorded.
        inherited: the "trial" whose weights the network began with, and the "share" of them; None if it began with its own.
    """

    trial_id: str
    status: str
    score: float | None
    best_epoch: int
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: tuple[Mapping[str, tuple[float, ...]], ...] = field(repr=False)
    seconds: float | None
    parameters: int | None
    message: str | None
    decision: Mapping[str, Any] | None = field(repr=False)
    stopped: Mapping[str, Any] | None = None
    inherited: Mapping[str, Any] | None = None
    unused: tuple[str, ...] = ()

    @property
    def expected_score(self) -> float | None:
        """The score that strategies are told: of a trial that was stopped early the expected one, where that is known."""
        expected = None if self.score is None else read_expected(self.stopped)
        return self.score if expected is None else expected

    @property
    def epochs(self) -> int:
        """Number of epochs trained, in all executions together; 0 if no curves are recorded."""
        return sum(max(map(len, run.values()), default=0) for run in self.curves)

    @property
    def policy(self) -> Mapping[str, Mapping[str, float]] | None:
        """For each decision, the probability of each value when the trial was proposed; None if not recorded."""
        return None if self.decision is None else self.decision.get("beliefs")


@dataclass(frozen=True)
class RejectedRecord:
    """A proposal that no trial was spent on.

    Attributes:
        values: active hyperparameters.
        reason: which limit it breaks, that it would take too long so early, or that it is a twin.
        twin: id of the trial that trains the same network; None if it costs too much.
    """

    values: Mapping[str, Any]
    reason: str
    twin: str | None


def read_file(path: Path) -> dict[str, Any] | None:
    """Return what a file holds; None if it is missing, or, with a warning, if it is damaged."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, got {type(content).__name__}")
        return content
    except (ValueError, RecursionError, OSError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        ignore(path, error)
        return None


def unused_of(values: Mapping[str, Any], asked: Any) -> tuple[str, ...]:
    """Return the names of `values` that are not among those asked for; none if it is not recorded what was."""
    return tuple(name for name in values if name not in asked) if asked and isinstance(asked, list | tuple) else ()


def read_expected(stopped: Any) -> float | None:
    """Return the score that a trial that was stopped early would have come to; None if nothing tells."""
    expected = stopped.get("expected") if isinstance(stopped, Mapping) else None
    if not isinstance(expected, int | float) or isinstance(expected, bool) or not math.isfinite(expected):
        return None
    return float(expected)


def ignore(path: Path, error: Exception) -> None:
    """Warn of a damaged file."""
    warnings.warn(f"{path} is not whole, and is left out: {error!r}", stacklevel=4)


def read_trial(file: Path, state: dict[str, Any]) -> TrialRecord | None:
    """Return the trial that `state`, the content of its trial.json, describes; None, with a warning, if it is damaged.

    Learning curves and the decision ledger are left out if their files are damaged, with a warning, too.
    """
    try:
        return _parse_trial(file.parent, state)
    except WRONG as error:
        ignore(file, error)
        return None


def _parse_trial(folder: Path, state: dict[str, Any]) -> TrialRecord:
    histories = state["metrics"]["metrics"]
    metrics = {name: mean(h["observations"][-1]["value"]) for name, h in histories.items() if h["observations"]}
    if any(history["direction"] not in ("max", "min") for history in histories.values()):
        raise ValueError("expected the direction of every metric to be max or min")
    score, trial_id, status, message = state["score"], state["trial_id"], state["status"], state.get("message")
    if not (isinstance(trial_id, str) and isinstance(status, str) and isinstance(message, str | None)):
        raise ValueError("expected trial_id, status and message to be strings")
    if isinstance(score, bool):
        raise ValueError(f"expected score to be a number, got {score}")
    history = _history(folder / "history.json")
    values, asked = state["hyperparameters"]["values"], history.pop("asked", None)
    return TrialRecord(
        trial_id=trial_id,
        status=status,
        score=None if score is None or not math.isfinite(score) else float(score),
        best_epoch=int(state["best_step"] or 0),
        values=MappingProxyType(values),
        metrics=MappingProxyType(metrics),
        message=message,
        decision=_decision(folder),
        unused=unused_of(values, asked) if status == "COMPLETED" else (),
        **history,
    )


def _history(path: Path) -> dict[str, Any]:
    """Return what `history.json` tells: curves, seconds, parameters, and how the training began and ended."""
    history = read_file(path) or {}
    try:
        curves = tuple(
            MappingProxyType({name: tuple(math.nan if v is None else float(v) for v in values) for name, values in run.items()})
            for run in history.get("executions", [])
        )
        kinds = {"seconds": int | float, "parameters": int, "stopped": dict, "inherited": dict, "asked": list}
        found = {name: history.get(name) for name in kinds}
        for name, value in found.items():
            if not isinstance(value, kinds[name] | None):  # type: ignore[arg-type]
                raise ValueError(f"expected {name} of another kind, got {value!r}")
        return {"curves": curves, **{name: _frozen(value) for name, value in found.items()}}
    except WRONG as error:
        ignore(path, error)
        return {"curves": (), "seconds": None, "parameters": None}


def _decision(folder: Path) -> Any:
    decision = read_file(folder / "decision.json")
    if decision is None and (policy := read_file(folder / "policy.json")):  # the ledger of version 0.1
        if not isinstance(policy.get("probabilities"), dict):
            ignore(folder / "policy.json", ValueError("expected probabilities"))
            return None
        decision = {"beliefs": policy["probabilities"]}
    return _frozen(decision)


def rank(trial_id: str, score: float, metrics: Mapping[str, float], direction: str) -> tuple[Any, ...]:
    """Return what completed trials are sorted by, the best first: of equals the cheaper network, then the earlier trial.

    Cheaper is what takes fewer operations, or else has fewer parameters; what is not known comes last.
    """
    price = metrics.get("macs", math.inf), metrics.get("parameters", math.inf)
    return (-score if direction == "max" else score, *price, *number_of(trial_id))


def number_of(trial_id: str) -> tuple[int, str]:
    """Return what ids are sorted by, as numbers: a search that was resumed with more trials has longer ones (9, 010)."""
    return (int(trial_id) if trial_id.isdecimal() else -1, trial_id)


def mean(value: Any) -> float:
    """Return the mean over executions, as KerasTuner keeps a metric."""
    values = value if isinstance(value, list) else [value]
    return sum(values) / len(values)
