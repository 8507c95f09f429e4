"""What can be read of a project folder whose files are damaged, and what follows from the rest."""

import copy
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from kerasnas.decisions import completed, decisions_of, entries_of
from kerasnas.oracles.excuses import LOST
from kerasnas.oracles.head_start import HeadStart
from kerasnas.oracles.ledger import read_decision
from kerasnas.oracles.rejections import read_rejected
from kerasnas.strategies import Scalar

__all__ = ["ENDED", "Recovery"]

ENDED = ("COMPLETED", "FAILED")
_STATUSES = (*ENDED, "RUNNING", "INVALID", "IDLE", "STOPPED")


class Recovery:
    """The trials and the state of an oracle, as far as its project folder tells them.

    Damaged files are named in a warning and copied to a file with ".damaged" after its name. A trial whose `trial.json` is lost
    is to be run again if its `decision.json` tells its values; else it counts as failed, so that its id is not given to another
    one. What is lost of `oracle.json` is put together from the trials, and the seed is that of the fresh state.

    Args:
        project: the project folder.
        fresh: the state of an oracle that has just been made.
        trial_id: returns the id of the trial of a number.
    Attributes:
        trials: by id, in the order of their numbers.
        state: what `oracle.json` holds, mended.
        restored: ids of the trials that were put together anew.
        at_workers: of a chief, workers that may still train the trial that they were given: name to the trial's id.
        damaged: whether anything had to be mended.
    """

    def __init__(self, project: Path, fresh: Mapping[str, Any], trial_id: Callable[[int], str]) -> None:
        self._project = project
        self.trials: dict[str, Any] = {}
        self.restored: list[str] = []
        self.damaged = False
        lost = self._read_trials()
        self.state = self._read_state(fresh)
        known = {*self.trials, *lost, *self.state["start_order"]}
        numbers = {int(i) for i in known}
        # KerasTuner counts the trials to name the next one: a gap would give a name a second time.
        known.update(trial_id(n) for n in range(max(numbers, default=-1)) if n not in numbers)
        for i in sorted(known - set(self.trials), key=int):
            self._restore(i)
        self.state["start_order"] = sorted({*self.state["start_order"], *self.restored}, key=lambda i: (int(i), i))
        self.at_workers = _at_workers(project, self.state["ongoing_trials"], self.trials)
        self.state["ongoing_trials"] = {}
        ended = {i for i, trial in self.trials.items() if trial.status in ENDED}
        self.state["end_order"] = [i for i in self.state["end_order"] if i in ended and i in self.state["start_order"]]

    def _read_trials(self) -> list[str]:
        """Read what is whole; return the ids of the other trials that have a file."""
        lost = []
        for file in self._project.glob("trial_*/trial.json"):
            trial_id = file.parent.name.removeprefix("trial_")
            if not _is_id(trial_id):
                warnings.warn(f"{file.parent} is no trial of this search, and is left alone.", stacklevel=5)
                continue
            try:
                self.trials[trial_id] = _trial(file, trial_id)
            except OSError:
                raise  # the file may be whole
            except Exception as error:
                self._set_aside(file, error)
                lost.append(trial_id)
        return lost

    def _read_state(self, fresh: Mapping[str, Any]) -> dict[str, Any]:
        file, content = self._project / "oracle.json", None
        if file.exists():
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if not isinstance(content, dict):
                    raise ValueError(f"expected an object, got {type(content).__name__}")
            except (ValueError, RecursionError) as error:
                self._set_aside(file, error)
                content = None
        elif self.trials:
            self.damaged = True
            warnings.warn(f"{file} is missing; it is put together from the trials.", stacklevel=5)
        if content is None:
            return self._rebuilt(fresh)
        wrong = [name for name in _CHECKS if not _is_whole(name, content)]
        if wrong:
            self._set_aside(file, ValueError(f"damaged in {', '.join(wrong)}"))
            rebuilt = self._rebuilt(fresh)
            content.update({name: rebuilt[name] for name in wrong})
        for name in ("start_order", "end_order"):
            content[name] = list(dict.fromkeys(filter(_is_id, content[name])))
        return content

    def _rebuilt(self, fresh: Mapping[str, Any]) -> dict[str, Any]:
        order = sorted(self.trials, key=lambda i: (int(i), i))
        ended = [i for i in order if self.trials[i].status in ENDED]
        ended.sort(key=self._observed)
        space = _space(fresh["hyperparameters"])
        for i in order:
            space.merge(self.trials[i].hyperparameters, overwrite=False)
        return {
            **fresh,
            "hyperparameters": space.get_config(),
            "start_order": order,
            "end_order": ended,
            "run_times": dict.fromkeys(ended, 1),
            "retry_queue": [],
            "tried_so_far": [],
            "id_to_hash": {},
        }

    def _observed(self, trial_id: str) -> float:
        """Return how many trials had ended before this one."""
        observed = (read_decision(self._folder(trial_id)) or {}).get("observed")
        return observed if isinstance(observed, int) else math.inf

    def _restore(self, trial_id: str) -> None:
        self.damaged = True
        hp = _space(self.state["hyperparameters"])
        values = (read_decision(self._folder(trial_id)) or {}).get("values")
        if isinstance(values, dict) and _are_values(values):
            hp.values = completed(entries_of(hp), values)
            trial, fate = Trial(hp, trial_id, "RUNNING"), "it is run again"
        else:
            hp.values = {}
            trial, fate = Trial(hp, trial_id, "FAILED", LOST), "it counts as failed"
        warnings.warn(f"Trial {trial_id} of {self._project} is lost; {fate}.", stacklevel=5)
        self.trials[trial_id] = trial
        self.restored.append(trial_id)

    def _set_aside(self, file: Path, error: Exception) -> None:
        self.damaged = True
        aside = file.with_name(f"{file.name}.damaged")
        warnings.warn(f"{file} is not whole: {error!r}. A copy is kept as {aside.name}.", stacklevel=6)
        if file.is_file():  # and it stays until what replaces it is written
            shutil.copyfile(file, aside)

    def _folder(self, trial_id: str) -> Path:
        return self._project / f"trial_{trial_id}"


def _at_workers(project: Path, ongoing: Mapping[str, str], trials: Mapping[str, Any]) -> dict[str, str]:
    """Return the workers that have given a sign of life to a chief that was killed, and their trials."""
    if "KERASTUNER_ORACLE_IP" not in os.environ or "chief" not in os.environ.get("KERASTUNER_TUNER_ID", ""):
        return {}
    under_way = {i for i, trial in trials.items() if trial.status not in ENDED}
    return {name: i for name, i in ongoing.items() if i in under_way and (project / ".workers" / name).is_file()}


def _is_whole(name: str, content: Mapping[str, Any]) -> bool:
    """Tell whether a part of oracle.json can be used."""
    if name not in content:
        return name in ("head_start", "rejected")  # older versions had none
    try:
        return _CHECKS[name](content[name])
    except Exception:
        return False


def _is_id(trial_id: str) -> bool:
    return trial_id.isdecimal() and int(trial_id) < 100_000  # so many trials, and the gaps between them, can be listed


def _trial(file: Path, trial_id: str) -> Any:
    """Read a trial; anything at all may be raised if it is not whole."""
    trial = Trial.from_state(json.loads(file.read_text(encoding="utf-8")))
    score = trial.score
    if (
        trial.trial_id != trial_id
        or trial.status not in _STATUSES
        or not _are_values(trial.hyperparameters.values)
        or not isinstance(trial.message, str | None)
        or not isinstance(trial.best_step, int | None)
        or not (score is None or (isinstance(score, int | float) and math.isfinite(score)))
        or (trial.status == "COMPLETED" and score is None)
    ):
        raise ValueError("its fields are not those of a trial")
    decisions_of(entries_of(trial.hyperparameters))
    for name in trial.metrics.metrics:
        trial.metrics.get_statistics(name)  # raises where an observation is no number
    return trial


def _space(config: Mapping[str, Any]) -> Any:
    return kt.HyperParameters.from_config(copy.deepcopy(config))  # KerasTuner changes what it reads


def _are_values(values: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(value, Scalar) for name, value in values.items())


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, list) and all(isinstance(item, kind) for item in content)


def _dict_of(kind: type) -> Callable[[Any], bool]:
    return lambda content: isinstance(content, dict) and all(isinstance(item, kind) for item in content.values())


def _is_head_start(content: Any) -> bool:
    HeadStart(content["initial_points"])
    return all(
        isinstance(choices, dict) and _are_values(choices) and isinstance(score, int | float | None)
        for search in content["earlier"]
        for choices, score in search
    )


def _is_display(content: Any) -> bool:
    times = [time for time in (content["search_start"], *content["trial_start"].values()) if time is not None]
    return all(datetime.fromisoformat(time) for time in times) and isinstance(content["trial_number"], dict)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "ongoing_trials": _dict_of(str),
    "hyperparameters": lambda content: isinstance(decisions_of(entries_of(_space(content))), list),
    "start_order": _list_of(str),
    "end_order": _list_of(str),
    "run_times": _dict_of(int),
    "retry_queue": _list_of(str),
    "seed": lambda content: isinstance(content, int) and content >= 0,
    "seed_state": lambda content: isinstance(content, int),
    "tried_so_far": _list_of(str),
    "id_to_hash": lambda content: isinstance(content, dict),
    "display": _is_display,
    "head_start": _is_head_start,
    "rejected": lambda content: all(map(read_rejected, content)),
}
