"""A search as its project folder tells it: read-only, running or finished."""

import copyreg
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kerasnas.decisions import decisions_of
from kerasnas.errors import InvalidArgument
from kerasnas.strategies import Decision, Observation
from kerasnas.strategies.best_arm import best_arm

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SearchRecord", "TrialRecord"]


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
        score: value of the objective at the best epoch; None unless completed.
        best_epoch: index of that epoch, from 0.
        values: active hyperparameters.
        metrics: metrics at the best epoch, means over executions.
        curves: one mapping for each execution, metric name to its value at every epoch (NaN where it was not finite).
        seconds: wall-clock seconds of the trial; None if not recorded.
        parameters: number of weights; None if not recorded.
        message: why the trial failed.
        decision: how the trial was proposed and what came of it, as `kerasnas.oracles.StrategyOracle` describes it; None if not
            recorded.
    """

    trial_id: str
    status: str
    score: float | None
    best_epoch: int
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: tuple[Mapping[str, tuple[float, ...]], ...]
    seconds: float | None
    parameters: int | None
    message: str | None
    decision: Mapping[str, Any] | None

    @property
    def policy(self) -> Mapping[str, Mapping[str, float]] | None:
        """For each decision, the probability of each value when the trial was proposed; None if not recorded."""
        return None if self.decision is None else self.decision.get("beliefs")


@dataclass(frozen=True)
class SearchRecord:
    """A search, trial by trial in the order of their ids.

    Attributes:
        path: the project folder.
        objective: name of the metric that was searched for.
        direction: "max" or "min".
        max_trials: number of trials asked for; None if not recorded or without limit.
        oracle: name of the oracle; None if not recorded.
        seed: seed of the oracle; None if not recorded.
        space: the configuration of every hyperparameter, in the order of registration.
        trials: the trials.
    """

    path: Path
    objective: str
    direction: str
    max_trials: int | None
    oracle: str | None
    seed: int | None
    space: tuple[Mapping[str, Any], ...]
    trials: tuple[TrialRecord, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SearchRecord":
        """Read the project folder `directory/project_name` of a kerasnas or KerasTuner search.

        Raises:
            InvalidArgument: if there is no search in `path`, or a file of it is damaged.
        """
        path = Path(path)
        files = sorted(path.glob("trial_*/trial.json"), key=_order)
        if not files:
            raise InvalidArgument(
                f"Expected a project folder with trial_*/trial.json, found none in {path}. "
                "Pass the folder directory/project_name of a search that has begun."
            )
        states = [_read(file) for file in files]
        trials = tuple(_trial(file.parent, state) for file, state in zip(files, states, strict=True))
        search = _read(path / "search.json") if (path / "search.json").exists() else _guess(states)
        oracle = _read(path / "oracle.json") if (path / "oracle.json").exists() else {}
        space = oracle.get("hyperparameters", states[-1]["hyperparameters"])["space"]
        return cls(
            path=path,
            objective=search["objective"],
            direction=search["direction"],
            max_trials=search.get("max_trials"),
            oracle=search.get("oracle"),
            seed=oracle.get("seed"),
            space=tuple(MappingProxyType({"kind": hp["class_name"], **hp["config"]}) for hp in space),
            trials=trials,
        )

    @property
    def completed(self) -> tuple[TrialRecord, ...]:
        """The trials that ended with a score."""
        return tuple(trial for trial in self.trials if trial.score is not None and trial.status == "COMPLETED")

    @property
    def best(self) -> TrialRecord:
        """The completed trial with the best score; the first of equals.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        if not self.completed:
            raise InvalidArgument(f"No trial of {self.path} is completed; {len(self.trials)} were begun.")
        return max(self.completed, key=lambda trial: self._sign * (trial.score or 0.0))

    @property
    def preferred(self) -> TrialRecord:
        """The completed trial whose configuration has the best posterior mean score, given all trials.

        A single training is noisy, and the best of many scores is partly luck; see `kerasnas.strategies.best_arm`.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        _ = self.best  # raises if there is none
        return self.ended[best_arm(self.decisions, self.observations).index]

    @property
    def ended(self) -> tuple[TrialRecord, ...]:
        """The trials that are completed or have failed."""
        return tuple(trial for trial in self.trials if trial.status in ("COMPLETED", "FAILED"))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The space as strategies see it."""
        return tuple(decisions_of(self.space))

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The values and score of each ended trial as strategies see them: higher is better, NaN if it failed."""
        return tuple(
            (dict(trial.values), math.nan if trial.score is None else self._sign * trial.score) for trial in self.ended
        )

    def best_so_far(self) -> tuple[float, ...]:
        """Return the best score after each completed trial."""
        best: list[float] = []
        for trial in self.completed:
            score = trial.score or 0.0
            best.append(score if not best else self._sign * max(self._sign * best[-1], self._sign * score))
        return tuple(best)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each trial; hyperparameters that were not active are missing values."""
        import pandas as pd

        fixed = ("trial_id", "status", "score", "best_epoch", "seconds", "parameters")
        return pd.DataFrame([{name: getattr(trial, name) for name in fixed} | dict(trial.values) for trial in self.trials])

    @property
    def _sign(self) -> int:
        return 1 if self.direction == "max" else -1


def _order(file: Path) -> tuple[int, str]:
    """Sort by number: a search that was resumed with more trials has ids of more digits (9, 010)."""
    trial_id = file.parent.name.removeprefix("trial_")
    return (int(trial_id) if trial_id.isdecimal() else -1, trial_id)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, got {type(content).__name__}")
        return content
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are of its kind
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidArgument:
    return InvalidArgument(f"{path} is not whole: {error!r}. Remove its folder to read the rest of the search.")


def _trial(folder: Path, state: dict[str, Any]) -> TrialRecord:
    try:
        return _parse_trial(folder, state)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _damaged(folder / "trial.json", error) from error


def _parse_trial(folder: Path, state: dict[str, Any]) -> TrialRecord:
    history = _read(folder / "history.json") if (folder / "history.json").exists() else {}
    decision = _read(folder / "decision.json") if (folder / "decision.json").exists() else None
    if decision is None and (folder / "policy.json").exists():  # the ledger of version 0.1
        decision = {"beliefs": _read(folder / "policy.json")["probabilities"]}
    metrics = {
        name: _mean(history["observations"][-1]["value"])
        for name, history in state["metrics"]["metrics"].items()
        if history["observations"]
    }
    score = state["score"]
    return TrialRecord(
        trial_id=state["trial_id"],
        status=state["status"],
        score=None if score is None or not math.isfinite(score) else float(score),
        best_epoch=int(state["best_step"] or 0),
        values=MappingProxyType(state["hyperparameters"]["values"]),
        metrics=MappingProxyType(metrics),
        curves=tuple(
            MappingProxyType({name: tuple(math.nan if v is None else float(v) for v in values) for name, values in run.items()})
            for run in history.get("executions", [])
        ),
        seconds=history.get("seconds"),
        parameters=history.get("parameters"),
        message=state.get("message"),
        decision=_frozen(decision),
    )


def _mean(value: Any) -> float:
    values = value if isinstance(value, list) else [value]
    return sum(values) / len(values)


def _guess(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Find the objective of a plain KerasTuner folder: the metric whose value is the score of every completed trial."""
    scored = [s for s in states if s["score"] is not None]
    for state in scored:
        for name, history in state["metrics"]["metrics"].items():
            values = [s["metrics"]["metrics"].get(name, {"observations": []})["observations"] for s in scored]
            if all(v and _mean(v[-1]["value"]) == s["score"] for v, s in zip(values, scored, strict=True)):
                return {"objective": name, "direction": history["direction"]}
    return {"objective": "score", "direction": "min"}
