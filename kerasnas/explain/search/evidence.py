"""What the trials of a record say, as the explanations of a search use it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerasnas.decisions import default_of
from kerasnas.errors import InvalidArgument
from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.strategies import Choices, Decision
from kerasnas.strategies.space import walk

__all__ = ["Evidence", "default_choices", "winner_of", "winning_trial"]

_FEWEST = 4


@dataclass(frozen=True)
class Evidence:
    """The configurations that have a score.

    Attributes:
        decisions: the space.
        trials: number of each configuration's trial in the record, from 1.
        choices: the configurations; what a network did not use has its default.
        scores: shape (configurations,), higher is better: times -1 of an objective that is minimised.
        failed: how many ended trials have no score.
        sign: 1, or -1 if the objective is minimised.
        objective: name of what is scored.
    """

    decisions: tuple[Decision, ...]
    trials: tuple[int, ...]
    choices: tuple[Choices, ...]
    scores: NDArray[np.float64]
    failed: int
    sign: int
    objective: str

    @classmethod
    def of(cls, record: SearchRecord, objective: str | None = None) -> "Evidence":
        """Read a record.

        Args:
            record: a search.
            objective: name of one of its objectives; None for the score that strategies are told. A trial that was stopped
                early counts by what it was expected to come to, where the score itself is asked for.
        Raises:
            InvalidArgument: if `record` is none, has no objective of that name, or fewer than four trials with a score.
        """
        if not isinstance(record, SearchRecord):
            raise InvalidArgument(f"Expected a kerasnas.SearchRecord, got {record!r}. SearchRecord.load(folder) makes one.")
        directions = dict(record.objectives)
        if objective is not None and objective not in (*directions, record.objective):
            raise InvalidArgument(f"Expected `objective` to be None or one of {sorted(directions)}, got {objective!r}.")
        name = record.objective if objective is None else objective
        sign = 1 if directions.get(name, record.direction) == "max" else -1
        if name == record.objective:
            scores = [score for _, score in record.observations]
        else:
            scores = [_metric(trial, name, sign) for trial in record.ended]
        numbers = {trial.trial_id: i + 1 for i, trial in enumerate(record.trials)}
        kept = [i for i, score in enumerate(scores) if math.isfinite(score)]
        if len(kept) < _FEWEST:
            raise InvalidArgument(
                f"Expected at least {_FEWEST} trials with a value of {name!r}, got {len(kept)} of {len(record.trials)}. "
                "Explain the search when more trials have ended."
            )
        return cls(
            decisions=record.decisions,
            trials=tuple(numbers[record.ended[i].trial_id] for i in kept),
            choices=tuple(record.configuration(record.ended[i]) for i in kept),
            scores=np.array([scores[i] for i in kept], float),
            failed=len(scores) - len(kept),
            sign=sign,
            objective=name,
        )


def default_choices(record: SearchRecord) -> Choices:
    """Return the configuration of a space in which every active hyperparameter has its default."""
    decisions = record.decisions
    defaults = {id(d): default_of(entry) for d, entry in zip(decisions, record.space, strict=True)}
    return walk(decisions, lambda decision, _: defaults[id(decision)])


def winning_trial(record: SearchRecord, evidence: Evidence) -> TrialRecord:
    """Return the winner: `record.best` for the score of a search, the best trial for one of several objectives."""
    if evidence.objective == record.objective:
        return record.best
    return record.trials[evidence.trials[int(evidence.scores.argmax())] - 1]


def winner_of(record: SearchRecord, evidence: Evidence) -> Choices:
    """Return the configuration of the winner; what its network did not use has its default."""
    return record.configuration(winning_trial(record, evidence))


def _metric(trial: TrialRecord, name: str, sign: int) -> float:
    metrics: Mapping[str, float] = trial.metrics if trial.status == "COMPLETED" else {}
    value = metrics.get(name)
    return math.nan if value is None else sign * value
