"""Tuners whose incumbent is tested while they search, and that end with a budget of seconds."""

import os
import sys
from pathlib import Path
from typing import Any

import keras_tuner as kt
from image_search import Clock

__all__ = ["FollowedTuner", "TimedTuner"]


class FollowedTuner(kt.Tuner):
    """What a tuner is to do besides: when a trial has ended, test the network that would be given out; the clock stands still.

    A subclass sets what follows, and comes before the tuner among its bases.

    Attributes:
        clock: of the search.
        points: a dict for each trial that has ended: seconds, test accuracy, trial, its validation score, memory.
    """

    clock: Clock
    points: list[dict[str, Any]]

    def test_accuracy(self, trial: Any) -> float:
        """Return the accuracy of the network of a trial on the test pictures."""
        raise NotImplementedError

    def on_trial_end(self, trial: Any) -> None:
        """Note how far the search has come."""
        super().on_trial_end(trial)
        self.clock.without(self._note)

    def _note(self) -> None:
        points, seconds = self.points, self.clock.seconds
        best = [t for t in self.oracle.get_best_trials(1) if t.status == "COMPLETED"]
        trial, score = (best[0].trial_id, best[0].score) if best else (None, None)
        accuracy = points[-1]["test"] if points else None
        if best and (not points or points[-1]["trial"] != trial):
            accuracy = self.test_accuracy(best[0])
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        points.append({"seconds": seconds, "test": accuracy, "trial": trial, "valid": score, "resident_mib": resident})
        line = f"  {seconds:7.1f} s  {len(points):>3} trials  valid {score}  test {accuracy}"
        print(line, file=sys.stderr, flush=True)


class TimedTuner(FollowedTuner):
    """Ends the trial under way, and then the search with a TimeoutError, when the budget is spent.

    Attributes:
        budget: seconds.
    """

    budget: float

    def pre_create_trial(self) -> None:
        """Begin no trial after the end."""
        if self.clock.seconds >= self.budget:
            raise TimeoutError

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
        """Let no trial go on after the end."""
        super().on_epoch_end(trial, model, epoch, logs)
        model.stop_training = model.stop_training or self.clock.seconds >= self.budget
