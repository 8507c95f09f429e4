"""How long a training may take in a search whose time is limited."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kerasnas.oracles import StrategyOracle
from kerasnas.oracles.rejections import Rejection
from kerasnas.search.expected_seconds import expected_seconds
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.trial_history import TrialHistory

__all__ = ["TimeCeiling"]

# Until this share of the time is spent, the first share of it may be taken by one training; after that, the second.
_EARLY, _FIRST, _SECOND = 0.3, 1 / 10, 1 / 5
# A training may also take as long as this many times that of the best trial.
_AS_THE_BEST = 1.25
# After so many proposals in a row that would take too long, the fastest fifth of them would have been good enough.
_PATIENCE, _FASTEST = 15, 0.2
# A training that turns out to take so many times what is allowed is ended.
_FAR = 2.0


class TimeCeiling:
    """Keeps trainings that take a large part of `max_time` for the end of a search, when it is known what pays.

    A training may take a tenth of the time at first, a fifth after three tenths of the time are spent, and at any time about as
    long as that of the best trial. Nothing is too long before the first training has shown how fast this machine is. Where
    everything is too long, the fastest proposals are taken, and at last any.

    It works where trials run in the process that holds an oracle of kerasnas: not with chief and workers.

    Args:
        budget: the clocks of the search.
        folder: of the search.
        epochs: of one trial, all its executions.
        oracle: knows the trials.
    """

    def __init__(self, budget: TimeBudget, folder: Path, epochs: int, oracle: StrategyOracle) -> None:
        self._budget, self._folder, self._epochs, self._oracle = budget, folder, epochs, oracle
        self._known: dict[str, tuple[Mapping[str, float], float]] = {}
        self._too_long: list[float] = []  # in a row
        self._granted = 0.0
        self._lap = (0, 0.0)  # epochs and seconds of the present trial when it was last looked at
        self._is_lifted = False

    @property
    def seconds(self) -> float | None:
        """Seconds that one training may take now; None for no limit."""
        limit = self._budget.max_time
        if limit is None or self._is_lifted:
            return None
        known = self._trained()
        if not known:
            return None
        share = _FIRST if self._budget.search_seconds < _EARLY * limit else _SECOND
        best = [known[t.trial_id][1] for t in self._oracle.get_best_trials(1) if t.trial_id in known]
        return max([share * limit, *(_AS_THE_BEST * seconds * self._epochs for seconds in best)])

    def begin_trial(self, granted: float | None = None) -> float | None:
        """Look at another trial from now on; return how many seconds it was granted.

        Args:
            granted: to a trial that an earlier process has begun; None for one that begins now.
        """
        self._lap = (0, 0.0)
        if self._is_lifted:
            self._granted = sys.float_info.max
        elif granted is not None:
            self._granted = granted
        return self._granted or None

    def check(self, costs: Mapping[str, float]) -> Rejection | None:
        """Return why a network is not to be trained yet; None if it may be.

        Args:
            costs: of the network, by the names of `kerasnas.search.limits.Limits`.
        """
        ceiling = self.seconds
        expected = None if ceiling is None else expected_seconds(costs, list(self._trained().values()))
        if ceiling is None or expected is None:
            return None
        allowed, seconds = ceiling, expected * self._epochs
        if len(self._too_long) >= _PATIENCE:
            allowed = max(allowed, float(np.quantile(self._too_long, _FASTEST)))
        if seconds <= allowed or len(self._too_long) >= 2 * _PATIENCE:
            self._too_long, self._granted = [], max(allowed, seconds)
            return None
        self._too_long.append(seconds)
        return Rejection(
            f"Its training would take about {_rounded(seconds)}; {_rounded(ceiling)} are allowed so early.", seconds=seconds
        )

    def overrun(self, epochs: int) -> str | None:
        """Return why the present trial is to end after `epochs` epochs: it takes far longer than it may; None if not.

        The first epoch does not tell how long the others will be: it holds what comes before the training.
        """
        (before, then), now = self._lap, self._budget.trial_seconds
        self._lap = (epochs, now)
        if epochs >= self._epochs or (ceiling := self.seconds) is None:
            return None
        tells = epochs >= 2 and before == epochs - 1
        whole = now + (self._epochs - epochs) * (now - then) * tells
        allowed = max(ceiling, self._granted)
        if whole <= _FAR * allowed:
            return None
        return f"it would take {'' if tells else 'more than '}{_rounded(whole)}; {_rounded(allowed)} are allowed so early"

    def forgive(self) -> None:
        """Let what was too long before be proposed again, if it may be trained now."""
        seconds = self.seconds
        if seconds is not None:
            self._oracle.forgive(lambda rejected: rejected.seconds is not None and rejected.seconds <= seconds)

    def lift(self) -> bool:
        """Let everything be trained, where nothing else is left; return whether anything waited for that."""
        if self._oracle.max_trials is not None and len(self._oracle.trials) >= self._oracle.max_trials:
            return False
        self._is_lifted = True
        return self._oracle.forgive(lambda rejected: rejected.seconds is not None) > 0

    def _trained(self) -> dict[str, tuple[Mapping[str, float], float]]:
        """Return the costs of the networks that were trained, and their seconds per epoch, by the trial's id."""
        for trial_id, trial in self._oracle.trials.items():
            if trial_id not in self._known and trial.status in ("COMPLETED", "FAILED"):
                path = self._folder / f"trial_{trial_id}" / "history.json"
                history = TrialHistory(path, TrialHistory.read(path))
                if history.epochs and history.content["fit_seconds"] and history.content["costs"]:
                    self._known[trial_id] = history.content["costs"], history.content["fit_seconds"] / history.epochs
        return self._known


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
