"""A search as its project folder tells it: read-only, running or finished."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.decisions import decisions_of, default_of, parents_first
from kerasnas.errors import InvalidArgument
from kerasnas.pareto import hypervolume, pareto_front, pareto_scores
from kerasnas.strategies import Decision, Observation
from kerasnas.strategies.best_arm import best_arm
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.learned_conditions import Use, with_learned_conditions
from kerasnas.trial_errors import reason_of
from kerasnas.trial_record import WRONG, RejectedRecord, TrialRecord, ignore, mean, number_of, rank, read_file, read_trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RejectedRecord", "SearchRecord", "TrialRecord"]


@dataclass(frozen=True, repr=False)
class SearchRecord:
    """A search, trial by trial in the order of their ids.

    Attributes:
        path: the project folder.
        objective: name of the metric that was searched for; "multi_objective" if there are several.
        direction: "max" or "min"; "min" if there are several objectives.
        max_trials: number of trials asked for; None if not recorded or without limit.
        oracle: name of the oracle; None if not recorded.
        seed: seed of the oracle; None if not recorded.
        space: the configuration of every hyperparameter, in the order of registration.
        trials: the trials.
        objectives: name and direction of each objective; one, as a rule.
        rejected: the proposals that no trial was spent on, in order.
    """

    path: Path
    objective: str
    direction: str
    max_trials: int | None
    oracle: str | None
    seed: int | None
    space: tuple[Mapping[str, Any], ...]
    trials: tuple[TrialRecord, ...]
    objectives: tuple[tuple[str, str], ...]
    rejected: tuple[RejectedRecord, ...]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SearchRecord":
        """Read the project folder `directory/project_name` of a kerasnas or KerasTuner search.

        A damaged file is named in a warning, and the record is read without it.

        Raises:
            InvalidArgument: if there is no search in `path`, or nothing of its trials can be read.
        """
        path = Path(path)
        files = sorted(path.glob("trial_*/trial.json"), key=lambda file: number_of(file.parent.name.removeprefix("trial_")))
        if not files:
            raise InvalidArgument(
                f"Expected a project folder with trial_*/trial.json, found none in {path}. "
                "Pass the folder directory/project_name of a search that has begun."
            )
        read = [(file, state) for file in files if (state := read_file(file)) is not None]
        whole = [(trial, state) for file, state in read if (trial := read_trial(file, state)) is not None]
        if not whole:
            raise InvalidArgument(f"None of the {len(files)} files trial.json in {path} is whole.")
        trials, states = tuple(trial for trial, _ in whole), [state for _, state in whole]
        oracle = read_file(path / "oracle.json") or {}
        search = _search(path, oracle, states)
        objectives = tuple((one["name"], one["direction"]) for one in search["objectives"])
        objective, direction = objectives[0] if len(objectives) == 1 else (search["objective"], search["direction"])
        return cls(
            path=path,
            objective=objective,
            direction=direction,
            max_trials=_typed(search, "max_trials", int),
            oracle=_typed(search, "oracle", str),
            seed=_typed(oracle, "seed", int),
            space=_space(path, oracle, states),
            trials=_rescored(_with_unused(trials), search["objective"], objectives),
            objectives=objectives,
            rejected=_rejected(path, oracle),
        )

    def __repr__(self) -> str:
        """Name the folder, how many trials there are, and the best: all of them would fill pages."""
        done, objective = len(self.completed), self.objective
        best = f", best {objective} {self.best.score:.4g} (trial {self.trials.index(self.best) + 1})" if done else ""
        return f"SearchRecord({str(self.path)!r}: {len(self.trials)} trials, {done} completed{best})"

    @property
    def completed(self) -> tuple[TrialRecord, ...]:
        """The trials that ended with a score."""
        return tuple(trial for trial in self.trials if trial.score is not None and trial.status == "COMPLETED")

    @property
    def best(self) -> TrialRecord:
        """The completed trial with the best score. Of several objectives, the knee point.

        Of equals the network that takes the fewest operations is the best, then the one of fewest parameters, then the first.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        if not self.completed:
            said = [reason_of(message) for trial in self.trials if (message := (trial.message or "").strip())]
            why = f" The last one that failed said: {said[-1]}" if said else ""
            raise InvalidArgument(f"No trial of {self.path} is completed; {len(self.trials)} were begun.{why}")
        return self.ranked[0]

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """The completed trials, best first; of equals as `best` has it."""
        return tuple(sorted(self.completed, key=lambda t: rank(t.trial_id, t.score or 0.0, t.metrics, self.direction)))

    @property
    def preferred(self) -> TrialRecord:
        """The completed trial whose configuration has the best posterior mean score, given all trials.

        A single training is noisy, and the best of many scores is partly luck; see `kerasnas.strategies.best_arm`.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        _ = self.best  # raises if there is none
        uses = [Use(trial.values, trial.unused) for trial in self.completed]
        return self.ended[best_arm(with_learned_conditions(self.decisions, uses), self.observations).index]

    def shipped(self, members: Mapping[str, float], hyperparameters: Mapping[str, Any]) -> TrialRecord | None:
        """Return the trial that a trained network comes from; None if it was another search that made it.

        Args:
            members: trial ids to their shares in the network.
            hyperparameters: those of the one of the largest share.
        """
        heaviest = max(members, key=lambda trial_id: members[trial_id], default=None)
        found = next((trial for trial in self.trials if trial.trial_id == heaviest), None)
        return found if found is not None and dict(found.values) == dict(hyperparameters) else None

    @property
    def ended(self) -> tuple[TrialRecord, ...]:
        """The trials that are completed or have failed."""
        return tuple(trial for trial in self.trials if trial.status in ("COMPLETED", "FAILED"))

    def configuration(self, trial: TrialRecord) -> dict[str, Any]:
        """Return the values of a trial; those that its network did not use are the defaults, so that twins are equal."""
        if not trial.unused:
            return dict(trial.values)
        decisions = self.decisions
        default = {id(d): default_of(entry) for d, entry in zip(decisions, self.space, strict=True)}
        unused = [d for d in active_decisions(decisions, trial.values) if d.name in trial.unused]
        defaults = {d.name: default[id(d)] for d in unused}
        return {**trial.values, **defaults}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The space as strategies see it."""
        return tuple(decisions_of(self.space))

    @property
    def observations(self) -> tuple[Observation, ...]:
        """The values and score of each ended trial as strategies see them: higher is better, NaN if it failed.

        A trial that was stopped early stands for what it was expected to come to. Of several objectives the knee comes first; a
        running strategy is told scores that favour the whole front.
        """
        return tuple(
            (dict(trial.values), math.nan if (score := trial.expected_score) is None else self._sign * score)
            for trial in self.ended
        )

    def best_so_far(self) -> tuple[float, ...]:
        """Return the best score after each completed trial; of several objectives, of the scores that the trials have now."""
        best: list[float] = []
        for trial in self.completed:
            score = trial.score or 0.0
            best.append(score if not best else self._sign * max(self._sign * best[-1], self._sign * score))
        return tuple(best)

    def pareto_front(self) -> tuple[TrialRecord, ...]:
        """Return the completed trials that no other beats in one objective without losing in another, in order.

        With a single objective these are the trials of the best score.
        """
        completed = self.completed
        return tuple(completed[i] for i in pareto_front(self._values)) if completed else ()

    def knee_point(self) -> TrialRecord:
        """Return the trial of the Pareto front that is the best compromise: see `kerasnas.pareto.knee_distance`.

        It is `best`, of equals the cheapest: the scores of several objectives are places by that distance.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        return self.best

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """Return the volume between the Pareto front and a reference, in the product of the objectives' units.

        Args:
            reference: for each objective, the worst value that is of any worth. None takes the worst of the completed trials,
                which tells searches apart only if they share it.
        Raises:
            InvalidArgument: if no trial is completed, or `reference` does not hold one number for each objective.
        """
        _ = self.best  # raises if there is none
        if reference is None:
            whole = np.isfinite(self._values).all(axis=1).any()  # or no trial has a value of each
            return hypervolume(self._values, np.nanmin(self._values, axis=0)) if whole else 0.0
        names = [name for name, _ in self.objectives]
        if not isinstance(reference, Mapping) or set(reference) != set(names):
            raise InvalidArgument(f"Expected `reference` to hold a value for each of {names}, got {reference!r}.")
        return hypervolume(self._values, self._signs * np.array([reference[name] for name in names], float))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each trial: how it ended, its metrics at the best epoch, its hyperparameters.

        Metrics that a trial does not have, and hyperparameters that were not active, are missing values. `trial` is the number
        that the progress and the page tell, from 1; `trial_id` that of its folder. A metric that bears the name of one of these
        or of a hyperparameter has no column.
        """
        import pandas as pd

        fixed = ("trial_id", "status", "score", "best_epoch", "seconds", "parameters")
        taken = {"trial", *fixed, *(name for trial in self.trials for name in trial.values)}
        rows: list[dict[str, Any]] = []
        for number, trial in enumerate(self.trials, 1):
            own = {name: getattr(trial, name) for name in fixed}
            metrics = {name: value for name, value in trial.metrics.items() if name not in taken}
            rows.append({"trial": number, **own, **metrics, **trial.values})
        return pd.DataFrame(rows)

    @property
    def _sign(self) -> int:
        return 1 if self.direction == "max" else -1

    @property
    def _signs(self) -> NDArray[np.float64]:
        return np.array([1.0 if direction == "max" else -1.0 for _, direction in self.objectives])

    @property
    def _values(self) -> NDArray[np.float64]:
        """The objectives of each completed trial: higher is better."""
        return _objective_values(self.completed, self.objective, self.objectives)


def _with_unused(trials: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
    """Take for used what no trial asked for: a HyperModel that reads `hp.values` asks for nothing."""
    done = [set(trial.unused) for trial in trials if trial.status == "COMPLETED"]
    never = set.intersection(*done) if done else set()
    return tuple(replace(t, unused=tuple(name for name in t.unused if name not in never)) for t in trials) if never else trials


def _search(path: Path, oracle: Mapping[str, Any], states: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what search.json tells, completed by what else tells the objectives."""
    search = read_file(path / "search.json")
    if search is not None and not (isinstance(search.get("objective"), str) and search.get("direction") in ("max", "min")):
        ignore(path / "search.json", ValueError("expected an objective and its direction"))
        search = None
    told: list[Any] = [source.get("objectives") for source in (search or {}, oracle)]
    several: list[Any] = next((objectives for objectives in told if _are_objectives(objectives)), [])
    if search is None:
        search = {"objective": "multi_objective", "direction": "min"} if several else _guess(states)
    return {**search, "objectives": several or [{"name": search["objective"], "direction": search["direction"]}]}


def _typed(content: Mapping[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    return value if isinstance(value, kind) else None


def _are_objectives(content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(
            isinstance(one, dict) and isinstance(one.get("name"), str) and one.get("direction") in ("max", "min")
            for one in content
        )
    )


def _space(path: Path, oracle: Mapping[str, Any], states: list[dict[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return the space of oracle.json, or else of the last trial whose space can be used."""
    sources = [oracle] if "hyperparameters" in oracle else []
    spaces, damage = [], None
    for source in (*sources, *reversed(states)):
        try:
            hyperparameters = source["hyperparameters"]["space"]
            entries = [{"kind": hp["class_name"], **hp["config"]} for hp in hyperparameters]
            spaces.append(tuple(map(MappingProxyType, parents_first(entries))))
            decisions_of(spaces[-1])
        except (*WRONG, InvalidArgument) as error:
            damage = damage or error
            continue
        if damage is not None:
            ignore(path / "oracle.json" if sources else path, damage)
        return spaces[-1]
    return spaces[0] if spaces else ()


def _rejected(path: Path, oracle: Mapping[str, Any]) -> tuple[RejectedRecord, ...]:
    try:
        rejected = tuple(
            RejectedRecord(MappingProxyType(one["values"]), str(one["reason"]), one["twin"])
            for one in oracle.get("rejected", [])
        )
        if not all(isinstance(one.twin, str | None) for one in rejected):
            raise ValueError("expected the twin of a rejected proposal to be a string")
        return rejected
    except WRONG as error:
        ignore(path / "oracle.json", error)
        return ()


def _rescored(
    trials: tuple[TrialRecord, ...], objective: str, objectives: tuple[tuple[str, str], ...]
) -> tuple[TrialRecord, ...]:
    """Score the completed trials of a search with several objectives by where they lie now: trial.json holds older scores.

    A list of one objective is that objective, whatever score its trials were given.
    """
    done = [trial for trial in trials if trial.score is not None and trial.status == "COMPLETED"]
    if not done or objective in dict(objectives):
        return trials
    if len(objectives) == 1:
        name = objectives[0][0]
        return tuple(replace(trial, score=trial.metrics.get(name)) if trial in done else trial for trial in trials)
    scores = pareto_scores(_objective_values(done, objective, objectives))
    new = {trial.trial_id: float(score) for trial, score in zip(done, scores, strict=True)}
    return tuple(replace(trial, score=new.get(trial.trial_id, trial.score)) for trial in trials)


def _objective_values(
    trials: Iterable[TrialRecord], objective: str, objectives: tuple[tuple[str, str], ...]
) -> NDArray[np.float64]:
    """Return the objectives of each trial, higher is better; NaN for what is not among its metrics."""
    signs = [1.0 if direction == "max" else -1.0 for _, direction in objectives]
    rows = []
    for trial in trials:
        values = [trial.score if name == objective else trial.metrics.get(name) for name, _ in objectives]
        rows.append([math.nan if value is None else sign * value for sign, value in zip(signs, values, strict=True)])
    return np.array(rows, float).reshape(len(rows), len(objectives))


def _guess(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Find the objective of a plain KerasTuner folder: the metric whose value is the score of every completed trial."""
    scored = [s for s in states if s["score"] is not None]
    for state in scored:
        for name, history in state["metrics"]["metrics"].items():
            values = [s["metrics"]["metrics"].get(name, {"observations": []})["observations"] for s in scored]
            if all(v and mean(v[-1]["value"]) == s["score"] for v, s in zip(values, scored, strict=True)):
                return {"objective": name, "direction": history["direction"]}
    return {"objective": "score", "direction": "min"}
