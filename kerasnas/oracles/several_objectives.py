"""Trials that are searched for with several objectives: one number for people, another for the strategy."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kerasnas.pareto import pareto_scores, weighted_scores

__all__ = ["SeveralObjectives"]


class SeveralObjectives:
    """Scores trials by where they lie among all trials, whatever the units of the objectives.

    KerasTuner would add the objectives up, so that the one with the largest numbers decides alone. Here a trial's score is the
    number of its front plus its place within it (`kerasnas.pareto.pareto_scores`). Scores change as other trials end;
    `trial.json` keeps the one at the trial's own end, and whoever reads the folder gets those of now. The strategy is told
    distances from the ideal under weights that change from trial to trial (`kerasnas.pareto.weighted_scores`), so that it looks
    for the whole front; it begins anew when a trial ends. The epoch of a trial is chosen by KerasTuner's sum.

    Args:
        objective: of the oracle; a single one makes this empty, and false.
    """

    def __init__(self, objective: Any) -> None:
        self.directions: dict[str, str] = {o.name: o.direction for o in getattr(objective, "objectives", ())}
        self._ended: list[str] | None = None
        self._told: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self.directions)

    def values(self, trial: Any) -> dict[str, float]:
        """Return the value of each objective at the best epoch of a trial, NaN where there is none."""
        histories = {name: trial.metrics.metrics.get(name) for name in self.directions}
        last = {name: history.get_last_value() if history else None for name, history in histories.items()}
        return {name: math.nan if value is None else float(value) for name, value in last.items()}

    def register(self, trial: Any, metrics: Mapping[str, float]) -> None:
        """Give the metrics of a trial their directions: KerasTuner knows those of Keras metrics only."""
        for name, direction in self.directions.items():
            if name in metrics and not trial.metrics.exists(name):
                trial.metrics.register(name, direction)

    def rescore(self, trials: Iterable[Any]) -> None:
        """Set the score of every trial: its front, and its place there; lower is better (see `pareto_scores`)."""
        trials = list(trials)
        self._ended = []  # a trial may have gone on since
        if trials:
            for trial, score in zip(trials, pareto_scores(self._matrix(trials)), strict=True):
                trial.score = float(score)

    def rewards(self, end_order: Sequence[str], trials: Mapping[str, Any]) -> Mapping[str, float]:
        """Return what a strategy is told of each trial that has ended, higher is better; NaN for failed ones."""
        if self._ended != list(end_order):
            done = [i for i in end_order if trials[i].status == "COMPLETED"]
            self._told = dict.fromkeys(end_order, math.nan)
            if done:
                scores = weighted_scores(self._matrix([trials[i] for i in done]))
                self._told |= {i: -float(score) for i, score in zip(done, scores, strict=True)}
            self._ended = list(end_order)
        return self._told

    def _matrix(self, trials: Sequence[Any]) -> list[list[float]]:
        signs = [1.0 if direction == "max" else -1.0 for direction in self.directions.values()]
        return [[sign * value for sign, value in zip(signs, self.values(t).values(), strict=True)] for t in trials]
