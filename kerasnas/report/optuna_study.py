"""A search as a study of Optuna, for optuna-dashboard and whatever else reads one."""

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search.optuna_importance import quiet_optuna
from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.trial_errors import reason_of

if TYPE_CHECKING:
    import optuna

__all__ = ["to_optuna"]

_SOURCE = "kerasnas_search"  # user attribute of a study: the project folder that it was made of


def to_optuna(
    search: SearchRecord | str | os.PathLike[str],
    storage: "str | optuna.storages.BaseStorage",
    *,
    study_name: str | None = None,
) -> "optuna.Study":
    """Copy the ended trials of a search to a study of Optuna, which `optuna-dashboard STORAGE` shows.

    Called again, while the search is running or later, it adds the trials that have ended since; a study in which some have
    become others (taken up again, or scored anew) is made anew. A trial of the study has the values of the objectives, the
    hyperparameters that its network used, and as user attributes the rest: the metrics, the epochs, what proposed it, why it
    was stopped or failed. Where the objective is a metric of every epoch, its values there, from 0, are the intermediate
    ones, means over the executions. Trials that a stopping rule has ended are "pruned", as Optuna calls it: its `best_trial`
    is the best of the others.

    Args:
        search: a record, the project folder of a search, or the run folder of `kerasnas search`; it may be running.
        storage: where the study is kept: the URL of a database, such as "sqlite:///searches.db", or a storage of Optuna.
        study_name: name of the study; that of the folder by default.
    Returns:
        The study.
    Raises:
        InvalidArgument: if there is no search, the storage cannot be opened, or it has a study of this name that is not of this
            search.
        MissingExtra: if Optuna is not installed.
    """
    record, folder = _found(search)
    name, source = study_name or folder.name, str(record.path.resolve())
    with quiet_optuna() as optuna:
        try:
            opened = optuna.storages.get_storage(storage)
            names = optuna.get_all_study_names(opened)
        except Exception as error:  # whatever the driver of a database raises
            raise InvalidArgument(
                f"Expected a storage that Optuna can open, such as 'sqlite:///searches.db', got {storage!r}: {error}"
            ) from error
        distributions = _distributions(optuna, record)
        trials = [_frozen(optuna, record, trial, distributions) for trial in record.ended]
        directions = ["maximize" if direction == "max" else "minimize" for _, direction in record.objectives]
        study = optuna.load_study(study_name=name, storage=opened) if name in names else None
        if study is not None and study.user_attrs.get(_SOURCE) != source:
            raise InvalidArgument(
                f"Expected a new study, or that of the search in {source}, got {name!r}, which is another. Pass a study_name "
                "(--study-name)."
            )
        there = [] if study is None else study.get_trials(deepcopy=False)
        by_id = {trial.user_attrs["trial_id"]: trial for trial in trials}
        if study is None or not all(_is_same(one, by_id.get(one.user_attrs.get("trial_id"))) for one in there):
            if study is not None:
                optuna.delete_study(study_name=name, storage=opened)
            study, there = optuna.create_study(study_name=name, storage=opened, directions=directions), []
            study.set_user_attr(_SOURCE, source)
            study.set_metric_names([objective for objective, _ in record.objectives])
        known = {one.user_attrs["trial_id"] for one in there}
        study.add_trials([trial for trial in trials if trial.user_attrs["trial_id"] not in known])
    return study


def _found(search: SearchRecord | str | os.PathLike[str]) -> tuple[SearchRecord, Path]:
    """Return the record, and the folder that names it."""
    if isinstance(search, SearchRecord):
        return search, search.path.resolve()
    folder = Path(search)
    return SearchRecord.load(folder / "search" if (folder / "search").is_dir() else folder), folder.resolve()


def _frozen(optuna: Any, record: SearchRecord, trial: TrialRecord, distributions: Mapping[str, Any]) -> Any:
    """Return a trial as Optuna has it."""
    used = {name: value for name, value in trial.values.items() if name in distributions and name not in trial.unused}
    values = _values(record, trial)
    states = optuna.trial.TrialState
    ruled = trial.stopped is not None and trial.stopped.get("rule") != "time"
    state = states.FAIL if values is None else states.PRUNED if ruled else states.COMPLETE
    curve = _curve(record.objective, trial) if len(record.objectives) == 1 else ()
    file = record.path / f"trial_{trial.trial_id}" / "trial.json"
    ended = datetime.fromtimestamp(file.stat().st_mtime) if file.exists() else datetime.now()
    frozen = optuna.trial.create_trial(
        state=state,
        values=values,
        params=used,
        distributions={name: distributions[name] for name in used},
        user_attrs=_attributes(trial),
        intermediate_values={epoch: value for epoch, value in enumerate(curve) if math.isfinite(value)},
    )
    frozen.datetime_start, frozen.datetime_complete = ended - timedelta(seconds=trial.seconds or 0.0), ended
    return frozen


def _curve(objective: str, trial: TrialRecord) -> list[float]:
    """Return the objective after each epoch, in the mean over the executions that came to it."""
    runs = [run.get(objective, ()) for run in trial.curves]
    epochs = max(map(len, runs), default=0)
    return [fmean(run[epoch] for run in runs if epoch < len(run)) for epoch in range(epochs)]


def _values(record: SearchRecord, trial: TrialRecord) -> list[float] | None:
    """Return the objectives' values; None if the trial has not each."""
    if trial.status != "COMPLETED" or trial.score is None:
        return None
    told = [trial.score] if len(record.objectives) == 1 else [trial.metrics.get(name) for name, _ in record.objectives]
    values = [float(value) for value in told if value is not None and not math.isnan(value)]
    return values if len(values) == len(told) else None


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    """Return what Optuna has no place for."""
    decision, stopped = trial.decision or {}, trial.stopped or {}
    told = {
        **trial.metrics,
        "trial_id": trial.trial_id,
        "best_epoch": trial.best_epoch,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "parameters": trial.parameters,
        "proposed_by": decision.get("strategy"),
        **{f"predicted_{part}": value for part, value in (decision.get("predicted") or {}).items()},
        "stopped": stopped.get("reason"),
        "failed": reason_of(trial.message) if trial.message else None,
    }
    return {name: _plain(value) for name, value in told.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return what every database takes: JSON has no NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_same(there: Any, trial: Any) -> bool:
    """Return whether a trial of the study tells what the record does, if that has it."""
    if trial is None:
        return False
    known = json.loads(json.dumps(trial.user_attrs))
    told = (trial.state, trial.values, trial.params, trial.distributions, known)
    return told == (there.state, there.values, there.params, there.distributions, there.user_attrs)


def _distributions(optuna: Any, record: SearchRecord) -> dict[str, Any]:
    """Return the distribution of each hyperparameter: one that holds all its ranges, and the values that trials have."""
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in record.space:
        entries.setdefault(entry["name"], []).append(entry)
    return {
        name: _distribution(optuna, some, [trial.values[name] for trial in record.ended if name in trial.values])
        for name, some in entries.items()
    }


def _distribution(optuna: Any, entries: list[Mapping[str, Any]], values: list[Any]) -> Any:
    kinds = {entry["kind"] for entry in entries}
    if kinds <= {"Int", "Float"}:
        low = min([entry["min_value"] for entry in entries] + values)
        high = max([entry["max_value"] for entry in entries] + values)
        log = low > 0 and all(entry.get("sampling") == "log" for entry in entries)
        if kinds == {"Int"}:
            return optuna.distributions.IntDistribution(int(low), int(high), log=log)
        return optuna.distributions.FloatDistribution(float(low), float(high), log=log)
    choices = [value for entry in entries for value in _choices(entry)]
    return optuna.distributions.CategoricalDistribution(list(dict.fromkeys([*choices, *values])))


def _choices(entry: Mapping[str, Any]) -> list[Any]:
    if entry["kind"] == "Boolean":
        return [False, True]
    if entry["kind"] == "Fixed":
        return [entry["value"]]
    return list(entry.get("values", ()))
