"""Stop what has no chance to become the best."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasnas.errors import InvalidArgument
from kerasnas.pareto import pareto_front
from kerasnas.stopping.base import Curves, Stop, StoppingRule
from kerasnas.stopping.growth import Growth, noise

__all__ = ["LearningCurve", "expected_final"]

Array = NDArray[np.float64]


class LearningCurve(StoppingRule):
    """Stop a trial when it is all but sure not to become the best.

    After each epoch the rest of the curve is predicted from the curves of the other trials (see `Growth`), and with it the
    probability that the trial's best value by its last epoch beats all that the others have reached so far. Before a trial
    begins that is 1 / (n + 1) with n others; it is stopped when less than the share `chance` of that is left. So at most the
    share `chance` of the trials that would have become the best are stopped, as far as the predictions hold and however many
    trials a search has. Where a metric jumps from epoch to epoch, luck in one of those to come is part of the chance: of
    planted curves whose final values deviated by 0.03, with a noise of 0.005, 0.01, 0.02 and 0.04 in each epoch 1, 1, 4 and 4
    % of the future best were stopped. The predictions do not hold where networks bloom late: of curves of 20 epochs of which
    every fifth rises after the twelfth, 62 % of the future best were stopped, with a `chance` of 0.01 28 %, with 12
    `min_epochs` 1 %. A fixed probability would not do: with twenty others hardly any trial has one chance in twenty when it
    begins.

    With several objectives a trial stands for its best value in each, and wins if no trial on the front of the others is as
    good in all of them; before it begins, the chance of that is the front's share of the trials. Objectives are predicted
    independently of each other; one that is constant along every curve, such as a measured latency, is taken as known.

    No trial is stopped before another one has finished. A trial without a finite value is.

    Args:
        chance: the share of future best trials that may be lost, in (0, 1); larger stops more, earlier.
        min_epochs: epochs that every trial gets, >= 1.
    Raises:
        InvalidArgument: for settings out of range.
    Source:
        The idea: Domhan et al. 2015; here with a regression over the curves of the search instead of one over function
        families, and a threshold in proportion to the prior chance.
    """

    def __init__(self, chance: float = 0.05, *, min_epochs: int = 2) -> None:
        if isinstance(chance, bool) or not isinstance(chance, float | int | np.number) or not 0 < chance < 1:
            raise InvalidArgument(f"Expected `chance` to be a number between 0 and 1, both excluded, got {chance!r}.")
        if isinstance(min_epochs, bool) or not isinstance(min_epochs, int | np.integer) or min_epochs < 1:
            raise InvalidArgument(f"Expected `min_epochs` to be a whole number of at least 1, got {min_epochs!r}.")
        self.chance = chance
        self.min_epochs = min_epochs

    def should_stop(self, curve: ArrayLike, others: Sequence[ArrayLike], *, epochs: int) -> Stop | None:
        """Return why the trial is to stop now, or None; as `StoppingRule.should_stop`."""
        curves = Curves.of(curve, others, epochs)
        t = len(curves.own)
        whole = np.isfinite(curves.finals).all(axis=1)
        if not self.min_epochs <= t < epochs or not (whole & (curves.lengths == epochs)).any():
            return None
        if not np.isfinite(curves.own[-1]).all():
            return Stop("learning-curve", f"no finite value after {t} epoch{'s' * (t > 1)}", {"probability": 0.0})
        finals = curves.finals[whole]
        front = np.unique(finals[pareto_front(finals)], axis=0)
        probability = 1.0 - _reached(front, _distributions(curves))
        asked = self.chance * len(front) / (len(curves.lengths) + 1)
        if probability >= asked:
            return None
        what = "beat the best trial" if front.shape[1] == 1 else "reach the front"
        return Stop(
            "learning-curve",
            f"{probability:.2%} chance to {what}, less than {asked:.2%}",
            {"probability": float(probability), "asked": float(asked)},
        )


def expected_final(curve: ArrayLike, others: Sequence[ArrayLike], *, epochs: int) -> tuple[float, float]:
    """Return what a trial would have reached by its last epoch, and how uncertain that is.

    The curve goes on as a power law at the usual share of its present rate (the prior of `Growth`). The others are asked for
    the deviation from that alone: those that were not stopped are the ones that kept growing, and would flatter the rest. After
    one epoch there is no rate, and the value is that of this epoch.

    Args:
        curve: shape (t, 1), higher is better, t >= 1.
        others: the other trials, each of shape (t_i, 1).
        epochs: full length of a trial, >= t.
    Returns:
        The median of the best value, at least the one so far, and a standard deviation, both in the unit of the values. Where
        nothing differs that could tell the scale, or nothing is to come, the value so far and 0; NaN twice without a finite
        value.
    Raises:
        InvalidArgument: for other shapes, or several objectives.
    """
    curves = Curves.of(curve, others, epochs)
    if curves.own.shape[1] != 1:
        raise InvalidArgument(f"Expected `curve` of one objective, shape (t, 1), got shape {curves.own.shape}.")
    now = float(curves.own[-1, 0])
    if not np.isfinite(now):
        return np.nan, np.nan
    if len(curves.own) == epochs:
        return now, 0.0
    growth = Growth.of(curves.own[:, 0], curves.others[:, :, 0], curves.lengths, learns=False)
    return (now, 0.0) if growth is None else growth.middle()


def _distributions(curves: Curves) -> list[Callable[[Array], Array]]:
    """Return for each objective the probability that the trial ends at or below given values."""

    def of(column: int) -> Callable[[Array], Array]:
        own = curves.own[:, column]
        if curves.own.shape[1] > 1 and curves.constant[column]:
            return lambda values: np.asarray(values >= own[-1], float)
        luck = noise(*(values[..., column] for values in curves.raw))
        growth = Growth.of(own, curves.others[:, :, column], curves.lengths, noise=luck)
        return np.zeros_like if growth is None else growth.below

    return [of(column) for column in range(curves.own.shape[1])]


def _reached(front: Array, distributions: Sequence[Callable[[Array], Array]]) -> float:
    """Return the probability that some row of `front` is at least as good as the trial everywhere."""
    below, *rest = distributions
    if not rest:
        return float(below(front[:, 0].max(keepdims=True))[0])
    # The values of the first objective cut the space into slices; in each, those rows count that are as good there.
    values = np.unique(front[:, 0])
    slices = np.diff(below(values), prepend=0.0)
    return float(
        sum(
            share * _reached(front[front[:, 0] >= value, 1:], rest)
            for value, share in zip(values, slices, strict=True)
            if share > 0
        )
    )
