"""Trials that were stopped early, and go on after all when their rule says so."""

import json
from pathlib import Path
from typing import Any

from kerasnas.atomic import write_json
from kerasnas.oracles import StrategyOracle
from kerasnas.search.trial_history import TrialHistory
from kerasnas.search.trial_training import TAKEN_UP, TrialTraining
from kerasnas.stopping import StoppingRule

__all__ = ["WaitingTrials"]


class WaitingTrials:
    """Keeps what a stopped trial needs to go on until no rule can take it up any more.

    A trial that waits is a completed one, with the score that it has come to; once taken up, it goes on from its last epoch,
    and its score is that of all its epochs. A file in its folder tells that it was taken up until it has ended again: a search
    that is killed meanwhile goes on with it first.

    It works where trials are trained once, in the process that holds an oracle of kerasnas: not with chief and workers.

    Args:
        tuner: the `NASTuner`.
    """

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner
        takes_up = type(tuner.stopping).take_up is not StoppingRule.take_up if tuner.stopping is not None else False
        self._works = takes_up and isinstance(tuner.oracle, StrategyOracle) and tuner.executions_per_trial == 1

    def next(self, epochs: int) -> Any:
        """Return a copy of the trial that is to go on now; None if none is.

        Args:
            epochs: of a whole trial.
        """
        if not self._works:
            return None
        trials = self._tuner.oracle.trials
        under_way = [i for i in trials if (self._folder(i) / TAKEN_UP).exists()]
        chosen = under_way[0] if under_way else self._chosen(epochs)
        if chosen is None:
            return None
        trial = type(trials[chosen]).from_state(json.loads(json.dumps(trials[chosen].get_state())))
        trials[chosen].metrics = type(trial.metrics)()  # KerasTuner would average them with those to come
        return trial

    def is_under_way(self, trial: Any) -> bool:
        """Return whether a trial was taken up and has not ended again."""
        return (self._folder(trial.trial_id) / TAKEN_UP).exists()

    def end(self, trial: Any) -> None:
        """Forget how a trial that has ended would go on, unless it waits."""
        folder = self._folder(trial.trial_id)
        if not (self._works and self._tuner.oracle.get_trial(trial.trial_id).status == "COMPLETED" and _was_stopped(folder)):
            TrialTraining.forget(str(folder))
        (folder / TAKEN_UP).unlink(missing_ok=True)

    def forget(self) -> None:
        """Forget how any trial would go on: the search has come to its end."""
        if self._works:
            for trial_id in self._tuner.oracle.trials:
                TrialTraining.forget(str(self._folder(trial_id)))

    def _chosen(self, epochs: int) -> str | None:
        curves = self._tuner._curves.all()
        waiting = [n for n, i in enumerate(curves) if self._waits(i)]
        if not waiting:
            return None
        number = self._tuner.stopping.take_up(list(curves.values()), waiting, epochs=epochs)
        if number is None:
            return None
        chosen = list(curves)[number]
        write_json(self._folder(chosen) / TAKEN_UP, {"epochs": len(curves[chosen])})
        return chosen

    def _waits(self, trial_id: str) -> bool:
        known, folder = self._tuner.oracle.trials.get(trial_id), self._folder(trial_id)
        return known is not None and known.status == "COMPLETED" and TrialTraining.can_go_on(folder) and _was_stopped(folder)

    def _folder(self, trial_id: str) -> Path:
        return Path(self._tuner.get_trial_dir(trial_id))


def _was_stopped(folder: Path) -> bool:
    stopped = TrialHistory.read(folder / "history.json").get("stopped")
    return isinstance(stopped, dict) and stopped.get("rule") != "time"
