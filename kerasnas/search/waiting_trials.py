"""Trials that were stopped early, and go on after all when their rule says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    that is killed meanwhile goes on with it first, whatever its rule is then.

    Trials are taken up where each is trained once, in the process that holds an oracle of kerasnas: not with chief and workers.

    Args:
        tuner: the `NASTuner`.
    """

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner
        self._knows = isinstance(tuner.oracle, StrategyOracle)  # a worker has a proxy
        takes_up = type(tuner.stopping).take_up is not StoppingRule.take_up if tuner.stopping is not None else False
        self._works = takes_up and self._knows and tuner.executions_per_trial == 1

    def next(self, epochs: int) -> Any:
        """Return a copy of the trial that is to go on now; None if none is.

        Args:
            epochs: of a whole trial, unless the histories tell: a `fit` of one's own may have its own number.
        """
        if not self._knows:
            return None
        trials = self._tuner.oracle.trials
        under_way = [i for i in trials if (self._folder(i) / TAKEN_UP).exists() and TrialTraining.can_go_on(self._folder(i))]
        chosen = under_way[0] if under_way else self._chosen(epochs)
        if chosen is None:
            return None
        trial = type(trials[chosen]).from_state(json.loads(json.dumps(trials[chosen].get_state())))
        trial.message = None  # of an earlier try
        return trial

    @contextmanager
    def without_metrics(self, trial: Any) -> Iterator[None]:
        """Let the metrics of a trial that goes on replace those that it had, which are given back if none come."""
        if not (self._knows and self.is_under_way(trial)):
            yield
            return
        known = self._tuner.oracle.trials[trial.trial_id]
        before, known.metrics = known.metrics, type(known.metrics)()  # KerasTuner would average them with those to come
        try:
            yield
        except BaseException:
            known.metrics = before
            raise

    def is_under_way(self, trial: Any) -> bool:
        """Return whether a trial was taken up and has not ended again."""
        return (self._folder(trial.trial_id) / TAKEN_UP).exists()

    def restore(self, trial: Any, history: TrialHistory) -> None:
        """Let the history of a trial that could not go on be that of its score: as it was when the trial was stopped."""
        if trial.status == "COMPLETED" or not self.is_under_way(trial):
            return
        before = TrialHistory.read(self._folder(trial.trial_id) / TAKEN_UP)
        history.content["stopped"] = before.get("stopped")
        if (epochs := before.get("epochs")) is not None:
            history.content["executions"] = [{n: v[:epochs] for n, v in run.items()} for run in history.content["executions"]]

    def end(self, trial: Any) -> None:
        """Forget how a trial that has ended would go on, unless it waits; one that could not go on does not."""
        folder = self._folder(trial.trial_id)
        waits = self._works and trial.status == "COMPLETED" and _was_stopped(folder)
        # First: what takes a trial for one that is under way must not find that its state is gone.
        (folder / TAKEN_UP).unlink(missing_ok=True)
        if not waits:
            TrialTraining.forget(str(folder))

    def forget(self) -> None:
        """Forget how any trial would go on: the search has come to its end."""
        if self._knows:
            for trial_id in self._tuner.oracle.trials:
                TrialTraining.forget(str(self._folder(trial_id)))
                (self._folder(trial_id) / TAKEN_UP).unlink(missing_ok=True)

    def _chosen(self, epochs: int) -> str | None:
        # What was begun goes first, as it did before a process was killed.
        oracle = self._tuner.oracle
        if not self._works or oracle._retry_queue or oracle.ongoing_trials:
            return None
        curves = self._tuner._curves.all()
        waiting = [n for n, i in enumerate(curves) if self._waits(i)]
        if not waiting:
            return None
        told = TrialHistory.read(self._folder(list(curves)[waiting[0]]) / "history.json").get("epochs")
        number = self._tuner.stopping.take_up(list(curves.values()), waiting, epochs=told or epochs)
        if number is None:
            return None
        chosen = list(curves)[number]
        folder = self._folder(chosen)
        stopped = TrialHistory.read(folder / "history.json").get("stopped")
        write_json(folder / TAKEN_UP, {"epochs": len(curves[chosen]), "stopped": stopped})
        return chosen

    def _waits(self, trial_id: str) -> bool:
        known, folder = self._tuner.oracle.trials.get(trial_id), self._folder(trial_id)
        return known is not None and known.status == "COMPLETED" and TrialTraining.can_go_on(folder) and _was_stopped(folder)

    def _folder(self, trial_id: str) -> Path:
        return Path(self._tuner.get_trial_dir(trial_id))


def _was_stopped(folder: Path) -> bool:
    history = TrialHistory.read(folder / "history.json")
    stopped, once = history.get("stopped"), len(history.get("executions", ())) < 2
    return once and isinstance(stopped, dict) and stopped.get("rule") != "time"
