"""The interface of every rule that stops trials early."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasnas.errors import InvalidArgument

__all__ = ["Curves", "Stop", "StoppingRule"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stop:
    """Why a trial is stopped.

    Args:
        rule: name of the rule.
        reason: one line for people.
        details: the numbers behind it, finite, by name.
    """

    rule: str
    reason: str
    details: Mapping[str, float] = field(default_factory=dict)


class StoppingRule(ABC):
    """Decides after each epoch whether a trial is worth its remaining epochs, unless its training has just ended by itself.

    A rule is a function of its settings and of what it is asked, without state or chance: a resumed search and the workers of
    a distributed one decide alike.
    """

    @abstractmethod
    def should_stop(self, curve: ArrayLike, others: Sequence[ArrayLike], *, epochs: int) -> Stop | None:
        """Return why the trial is to stop now, or None if it is to go on.

        Args:
            curve: shape (t, m): the m objectives after each of the trial's t >= 1 finished epochs, higher is better; what is
                not a finite number stands for a failure of that epoch.
            others: the other trials in the order of their start, whether finished, stopped or running, each of shape (t_i, m).
            epochs: full length of a trial, >= t.
        Raises:
            InvalidArgument: for other shapes, or what is no number.
        """

    def take_up(self, curves: Sequence[ArrayLike], waiting: Sequence[int], *, epochs: int) -> int | None:  # noqa: ARG002
        """Return the index of a stopped trial that is to go on after all; None, as here, if none is.

        It is asked before each new trial, retries excepted, where an oracle of kerasnas runs in the process of the trials and
        each is trained once.

        Args:
            curves: all trials in the order of their start, shape (t_i, m) with t_i >= 1.
            waiting: indices of those that were stopped and can go on, at least one.
            epochs: full length of a trial.
        Raises:
            InvalidArgument: for other shapes, or what is no number.
        """
        return None


@dataclass(frozen=True)
class Curves:
    """The curves of a trial and of all others as arrays: the best value up to each epoch.

    Args:
        own: shape (t, m), -inf before the first finite value.
        others: shape (n, epochs, m); after its last epoch a curve stays as it is.
        lengths: shape (n,), the epochs that each of the others really has, at most `epochs`.
        raw: own and others as they were given, NaN after the last epoch.
    """

    own: Array
    others: Array
    lengths: NDArray[np.int64]
    raw: tuple[Array, Array]

    @classmethod
    def of(cls, curve: ArrayLike, others: Sequence[ArrayLike], epochs: int) -> "Curves":
        """Check the arguments of `StoppingRule.should_stop` and bring them into this form."""
        own = _matrix("curve", curve)
        rest = [_matrix(f"others[{i}]", other) for i, other in enumerate(others)]
        whole = isinstance(epochs, int | np.integer) and not isinstance(epochs, bool)
        if not whole or not 1 <= len(own) <= epochs or not own.shape[1]:
            raise InvalidArgument(
                "Expected `curve` of shape (t, m) with m >= 1 and 1 <= t <= epochs, "
                f"got shape {own.shape} and epochs={epochs!r}."
            )
        for i, other in enumerate(rest):
            if other.shape[1] != own.shape[1]:
                raise InvalidArgument(
                    f"Expected others[{i}] to have {own.shape[1]} objectives like `curve`, got shape {other.shape}."
                )
        lengths = np.array([min(len(other), epochs) for other in rest], np.int64)
        values = np.full((len(rest), epochs, own.shape[1]), np.nan)
        for row, other, length in zip(values, rest, lengths, strict=True):
            row[:length] = other[:length]
        return cls(_best_so_far(own, 0), _best_so_far(values, 1), lengths, (own, values))

    @property
    def finals(self) -> Array:
        """The best value of each of the others, shape (n, m)."""
        return np.asarray(self.others[:, -1])

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which objectives are constant along every curve while trials differ in them, as a measured latency; shape (m,).

        One epoch tells nothing of that, so one of the others must have two.
        """
        own, others = self.raw
        longer = self.lengths > 1
        others, past = others[longer], np.arange(others.shape[1])[:, None] >= self.lengths[longer, None, None]
        still = ((others == others[:, :1]) | past).all(axis=(0, 1)) & (own == own[0]).all(axis=0)
        return np.asarray(still & (others[:, 0] != own[0]).any(axis=0))


def _matrix(name: str, curve: ArrayLike) -> Array:
    try:
        matrix = np.asarray(curve, float)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"Expected `{name}` of shape (epochs, objectives), got {curve!r}.") from error
    if matrix.ndim != 2:
        raise InvalidArgument(f"Expected `{name}` of shape (epochs, objectives), got shape {matrix.shape}.")
    return matrix


def _best_so_far(values: Array, axis: int) -> Array:
    return np.maximum.accumulate(np.where(np.isfinite(values), values, -np.inf), axis=axis)
