"""Which trials' weights are kept, and which of them a new network begins with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import keras_tuner as kt

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.oracles import StrategyOracle
from kerasnas.oracles.best_first import best_first
from kerasnas.search.inheritance import most_similar

__all__ = ["Checkpoints", "build_aside"]


class Checkpoints:
    """The weights of the best trials of a search; those of the others are removed.

    Args:
        tuner: the `NASTuner`.
        number: weights are kept for this many best trials; with several objectives, for the whole front at least.
    """

    def __init__(self, tuner: Any, number: int) -> None:
        self._tuner, self._number = tuner, number

    def ranked(self) -> list[Any]:
        """Return the completed trials, best first, by which weights are kept: that of an oracle may order equals otherwise."""
        oracle = self._tuner.oracle
        return best_first(oracle.get_best_trials(1_000_000), oracle.objective.direction)

    def drop(self) -> None:
        """Remove the weights of all trials that have ended but the best."""
        kept = {trial.trial_id for trial in self._kept()}
        for trial in self._tuner.oracle.get_best_trials(1_000_000):
            if trial.status in ("COMPLETED", "FAILED") and trial.trial_id not in kept:
                self.path(trial).unlink(missing_ok=True)

    def donor(self, trial: Any) -> Any:
        """Return the trial with kept weights whose architecture is most like that of `trial`; None if there is none."""
        # By rank, not by file: a search that was killed may have left one file more.
        kept = {t.trial_id: t for t in self._kept() if self.path(t).exists()}
        candidates: list[Any] = [
            SimpleNamespace(trial_id=i, status=t.status, score=t.score, values=t.hyperparameters.values)
            for i, t in kept.items()
        ]
        chosen = most_similar(
            trial.hyperparameters.values,
            candidates,
            decisions_of(entries_of(trial.hyperparameters)),
            direction=self._tuner.oracle.objective.direction,
        )
        return None if chosen is None else kept[chosen.trial_id]

    def path(self, trial: Any) -> Path:
        """Return the file of a trial's weights, whether it is there or not."""
        return Path(self._tuner._get_checkpoint_fname(trial.trial_id))

    def _kept(self) -> list[Any]:
        oracle, number, ranked = self._tuner.oracle, self._number, self.ranked()
        scored = isinstance(getattr(oracle, "_oracle", oracle), StrategyOracle)  # a worker has a proxy
        if scored and hasattr(oracle.objective, "objectives"):
            number = max(number, sum(trial.score < 1 for trial in ranked))  # the scores of the first front
        return ranked[:number]


def build_aside(hypermodel: kt.HyperModel, hp: kt.HyperParameters) -> keras.Model:
    """Build another network than the one that is trained next, of which a HyperModel may remember something for its `fit`."""
    remembered = dict(vars(hypermodel))
    try:
        return hypermodel.build(hp)
    finally:
        vars(hypermodel).clear()
        vars(hypermodel).update(remembered)
