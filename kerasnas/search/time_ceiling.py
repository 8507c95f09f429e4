"""How long a training may take in a search whose time is limited, and how long it is expected to take."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras_tuner as kt
import numpy as np

from kerasnas.oracles.rejections import Rejected, Rejection
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.trial_history import TrialHistory

__all__ = ["TimeCeiling", "expected_seconds"]

# Until this share of the time is spent, the first share of it may be taken by one training; after that, the second.
_EARLY, _FIRST, _SECOND = 0.3, 1 / 10, 1 / 5
# A training may also take as long as this many times that of the best trial.
_AS_THE_BEST = 1.25
# After so many proposals in a row that would take too long, the fastest fifth of them would have been good enough.
_PATIENCE, _FASTEST = 15, 0.2
# A training that turns out to take so many times what is allowed is ended.
_FAR = 2.0
# The prior of `expected_seconds`: powers of MACs and of activation memory, and how many trainings they are worth. From
# benchmarks/training_time.py: with them, seconds are right within a factor of 1.6 for two networks of three.
_POWERS = np.array([0.45, 0.25])
_WORTH = 3.0


class TimeCeiling:
    """Keeps trainings that take a large part of `max_time` for the end of a search, when it is known what pays.

    A training may take a tenth of the time at first, a fifth after three tenths of the time are spent, and at any time about as
    long as that of the best trial. Nothing is too long before the first training has shown how fast this machine is. Where
    everything is too long, the fastest proposals are taken.

    Args:
        budget: the clocks of the search.
        folder: of the search.
        epochs: of one trial, all its executions.
        oracle: tells the best trial.
    """

    def __init__(self, budget: TimeBudget, folder: Path, epochs: int, oracle: kt.Oracle) -> None:
        self._budget, self._folder, self._epochs, self._oracle = budget, folder, epochs, oracle
        self._known: dict[str, tuple[Mapping[str, float], float]] = {}
        self._too_long: list[float] = []  # in a row

    @property
    def seconds(self) -> float | None:
        """Seconds that one training may take now; None for no limit."""
        limit, known = self._budget.max_time, self._trained()
        if limit is None or not known:
            return None
        share = _FIRST if self._budget.search_seconds < _EARLY * limit else _SECOND
        best = [known[t.trial_id][1] for t in self._oracle.get_best_trials(1) if t.trial_id in known]
        return max([share * limit, *(_AS_THE_BEST * seconds * self._epochs for seconds in best)])

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
        if seconds <= allowed:
            self._too_long = []
            return None
        self._too_long.append(seconds)
        return Rejection(
            f"Its training would take about {_rounded(seconds)}; {_rounded(ceiling)} are allowed so early.", seconds=seconds
        )

    def overrun(self, epochs: int) -> str | None:
        """Return why the present trial is to end after `epochs` epochs: it takes far longer than it may; None if not."""
        ceiling, each = self.seconds, self._budget.trial_seconds / max(epochs, 1)
        if ceiling is None or each * self._epochs <= _FAR * ceiling:
            return None
        return f"it would take {_rounded(each * self._epochs)}; {_rounded(ceiling)} are allowed so early"

    def allows(self, rejected: Rejected) -> bool:
        """Return whether what was too long before may be trained now."""
        return rejected.seconds is not None and rejected.seconds <= (self.seconds or np.inf)

    def _trained(self) -> dict[str, tuple[Mapping[str, float], float]]:
        """Return the costs of the networks that were trained, and their seconds per epoch, by the trial's id."""
        for path in sorted(self._folder.glob("trial_*/history.json")):
            trial_id = path.parent.name.removeprefix("trial_")
            if trial_id not in self._known:
                history = TrialHistory(path, TrialHistory.read(path))
                if history.epochs and history.content["fit_seconds"] and history.content["costs"]:  # it has ended
                    self._known[trial_id] = history.content["costs"], history.content["fit_seconds"] / history.epochs
        return self._known


def expected_seconds(costs: Mapping[str, float], trained: Sequence[tuple[Mapping[str, float], float]]) -> float | None:
    """Return how many seconds an epoch of a network takes, by what an epoch of others took; None if nothing tells.

    A linear regression of the logarithm of seconds on those of MACs and of activation memory, with a prior on the slopes:
    one network that was trained is enough.

    Args:
        costs: of the network, with "macs" and "activation_bytes".
        trained: costs of other networks, and their seconds per epoch, > 0.
    """
    names = ("macs", "activation_bytes")
    usable = [(each, seconds) for each, seconds in trained if all(name in each for name in names)]
    if not usable or any(name not in costs for name in names):
        return None
    sizes = np.log1p([[each[name] for name in names] for each, _ in usable])
    seconds = np.log([seconds for _, seconds in usable])
    middle = sizes.mean(axis=0)
    centred, deviations = sizes - middle, seconds - seconds.mean()
    slopes = _POWERS + np.linalg.solve(
        centred.T @ centred + _WORTH * np.eye(len(names)), centred.T @ (deviations - centred @ _POWERS)
    )
    size = np.log1p([costs[name] for name in names])
    return float(np.exp(seconds.mean() + (size - middle) @ slopes))


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
