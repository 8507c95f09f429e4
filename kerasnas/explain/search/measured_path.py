"""The path from the default to the winner, with what its steps gained when they were trained."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerasnas.explain.search.ablation_path import AblationPath, ablation_path
from kerasnas.record import SearchRecord

__all__ = ["measured_path"]


def measured_path(record: SearchRecord, trainings: str | os.PathLike[str]) -> AblationPath:
    """Return the path of a search, and the measured gains beside the predicted ones where all its configurations were trained.

    Where each training of a configuration failed, the path says so, and tells the gain of the winner over the default alone.

    Args:
        record: a search with at least four trials that have a score.
        trainings: folder whose sub-folders are project folders, in each of which the configurations of the path were trained
            once, as `kerasnas retrain` leaves it; it need not exist. What else was trained there counts for nothing.

    Raises:
        InvalidArgument: for a record of too few trials.
    """
    path = replace(ablation_path(record), inherited=any(trial.inherited for trial in record.trials))
    failed: list[str | None] = [None for _ in path.configurations]
    scores: list[list[float]] = [[] for _ in path.configurations]
    for project in sorted(Path(trainings).glob("*/")):
        if not any(project.glob("trial_*/trial.json")):
            continue
        trained = SearchRecord.load(project)
        ended = {trial.trial_id: trial.score for trial in trained.completed if trial.score is not None}
        # A configuration of the same network as another one was not trained a second time: it has that one's score.
        told = [(trial.values, ended[trial.trial_id]) for trial in trained.completed if trial.trial_id in ended]
        told += [(one.values, ended[one.twin]) for one in trained.rejected if one.twin in ended]
        for values, known in zip(path.configurations, scores, strict=True):
            known += [score for tried, score in told if values.items() <= tried.items()][:1]
        for place, values in enumerate(path.configurations):
            for trial in trained.trials:
                if trial.status in ("FAILED", "INVALID") and values.items() <= trial.values.items():
                    failed[place] = ((trial.message or "").strip().splitlines() or ["no message"])[-1]
    repeats = min(map(len, scores))
    lacking = [place for place, known in enumerate(scores) if not known]
    if not path.steps or any(failed[place] is None for place in lacking):  # the others are still to be trained
        return path
    if lacking:
        return path.with_failures([f"{_place(path, i)} ({failed[i]})" for i in lacking], scores[0], scores[-1])
    left = {_key(values): iter(known) for values, known in zip(path.configurations, scores, strict=True)}
    return path.with_measured(lambda values: next(left[_key(values)]), repeats)


def _place(path: AblationPath, place: int) -> str:
    if place == 0:
        return "the default"
    return "the winner" if place == len(path.steps) else f"what the change of {path.steps[place - 1].name} leads to"


def _key(values: Mapping[str, Any]) -> str:
    return repr(sorted(values.items()))
