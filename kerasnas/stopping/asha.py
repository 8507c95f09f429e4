"""Asynchronous successive halving."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.pareto import spread_scores
from kerasnas.stopping.base import Curves, Stop, StoppingRule

__all__ = ["ASHA"]


class ASHA(StoppingRule):
    """Let the best 1/reduction of the trials go on at each rung.

    The rungs are min_epochs, min_epochs * reduction, min_epochs * reduction², ... short of the full length. A trial that comes
    to a rung goes on if its best value so far is among the top 1/reduction of all that have reached that rung, itself included
    (at least one); equal values go on together. Only the order of the values counts. One that was stopped goes on later, if it
    comes to be among the top 1/reduction, rounded down, as others reach its rung; the highest rung comes first.

    With several objectives a trial stands for its best value in each, and trials are ordered by their fronts, and within a
    front by crowding among the ranks of their values.

    Args:
        reduction: >= 2; larger stops more.
        min_epochs: epochs that every trial gets, >= 1.
    Raises:
        InvalidArgument: for settings out of range.
    Source:
        Li et al. 2020, Algorithm 2; deviation: a trial that is among the best so far when it comes to a rung goes on at once
        instead of waiting until there are `reduction` others. Several objectives: Schmucker et al. 2021 (MO-ASHA), with
        NSGA-II's crowding for their epsilon-net.
    """

    def __init__(self, reduction: int = 3, *, min_epochs: int = 1) -> None:
        for name, value, least in (("reduction", reduction, 2), ("min_epochs", min_epochs, 1)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InvalidArgument(f"Expected `{name}` to be a whole number of at least {least}, got {value!r}.")
        self.reduction = reduction
        self.min_epochs = min_epochs

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after which trials of `epochs` epochs are compared."""
        rungs = []
        rung = self.min_epochs
        while rung < epochs:
            rungs.append(rung)
            rung *= self.reduction
        return tuple(rungs)

    def should_stop(self, curve: ArrayLike, others: Sequence[ArrayLike], *, epochs: int) -> Stop | None:
        """Return why the trial is to stop now, or None; as `StoppingRule.should_stop`."""
        curves = Curves.of(curve, others, epochs)
        rung = len(curves.own)
        if rung not in self.rungs(epochs):
            return None
        reached = curves.others[curves.lengths >= rung, rung - 1]
        values = np.vstack([curves.own[-1], reached])
        order = -values[:, 0] if values.shape[1] == 1 else spread_scores(values)
        better = int((order < order[0]).sum())
        places = max(1, len(values) // self.reduction)
        if better < places:
            return None
        return Stop(
            "asha",
            f"place {better + 1} of {len(values)} after {rung} epoch{'s' * (rung > 1)}, the first {places} go on",
            {"rung": float(rung), "place": float(better + 1), "reached": float(len(values)), "places": float(places)},
        )

    def take_up(self, curves: Sequence[ArrayLike], waiting: Sequence[int], *, epochs: int) -> int | None:
        """Return the trial to promote, as `get_job` of the source; see `StoppingRule.take_up`."""
        known = Curves.of(np.asarray(curves[0])[:epochs], curves, epochs)
        for rung in reversed(self.rungs(epochs)):
            reached = np.flatnonzero(known.lengths >= rung)
            values = known.others[reached, rung - 1]
            order = -values[:, 0] if values.shape[1] == 1 else spread_scores(values)
            best = reached[np.argsort(order, kind="stable")][: len(reached) // self.reduction]
            for i in best:
                if i in waiting and known.lengths[i] == rung and np.isfinite(known.others[i, rung - 1]).all():
                    return int(i)
        return None
