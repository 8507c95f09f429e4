"""The path from the default to the winner, with what its steps gained when they were trained."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasnas.explain.search.ablation_path import AblationPath, ablation_path
from kerasnas.record import SearchRecord

__all__ = ["measured_path"]


def measured_path(record: SearchRecord, trainings: str | os.PathLike[str]) -> AblationPath:
    """Return the path of a search, and the measured gains beside the predicted ones where all its configurations were trained.

    Args:
        record: a search with at least four trials that have a score.
        trainings: folder whose sub-folders are project folders, in each of which the configurations of the path were trained
            once, as `kerasnas retrain` leaves it; it need not exist. What else was trained there counts for nothing.

    Raises:
        InvalidArgument: for a record of too few trials.
    """
    path = ablation_path(record)
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
    repeats = min(map(len, scores))
    if repeats == 0 or not path.steps:
        return path
    left = {_key(values): iter(known) for values, known in zip(path.configurations, scores, strict=True)}
    return path.with_measured(lambda values: next(left[_key(values)]), repeats)


def _key(values: Mapping[str, Any]) -> str:
    return repr(sorted(values.items()))
