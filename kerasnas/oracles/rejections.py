"""Proposals that no trial was spent on, and what the strategy is told of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner as kt

from kerasnas.strategies import Choices

__all__ = ["REPAIR", "Rejected", "Rejection", "Rejections", "Screen", "by_turns", "explain", "give_up"]

# The phase of a proposal that tries to bring a rejected one within the limits.
REPAIR = "repair"
# So many of the proposals for one trial are repaired.
_REPAIRED = 10


@dataclass(frozen=True)
class Rejection:
    """Why no trial is to be spent on a configuration.

    Attributes:
        reason: a sentence for people.
        twin: id of an ended or running trial that trains the same network; None if the configuration costs too much.
        seconds: that its training would take, if it is rejected for them: it may be proposed again once there is time for it.
        excess: how many times the limit its cost is, > 1, and all its costs in one number, where they are known: what lowers
            the first, or else the second, leads towards the limits.
    """

    reason: str
    twin: str | None = None
    seconds: float | None = None
    excess: tuple[float, float] | None = None


Screen = Callable[[kt.HyperParameters], Rejection | None]


@dataclass(frozen=True)
class Rejected:
    """A proposal that was rejected, as `oracle.json` keeps it.

    Attributes:
        values: the active hyperparameters.
        reason: as in `Rejection`.
        twin: as in `Rejection`.
        after: number of trials that had ended.
        number: number, from 0, of the trial that it was proposed for.
        phase: what made the proposal, as in the decision ledger.
        seconds: as in `Rejection`.
        excess: as in `Rejection`.
    """

    values: Choices
    reason: str
    twin: str | None
    after: int
    number: int
    phase: str | None = None
    seconds: float | None = None
    excess: tuple[float, float] | None = None

    @property
    def is_told(self) -> bool:
        """Whether the strategy is told of it: not of what only has to wait, nor of what it did not propose."""
        return self.seconds is None and self.phase != REPAIR


class Rejections:
    """All that was rejected in a search, in order; repairs that failed are forgotten when their trial has begun.

    Args:
        kept: as `get_state` returned it.
    """

    def __init__(self, kept: Iterable[Mapping[str, Any]] = ()) -> None:
        self.all: list[Rejected] = [read_rejected(one) for one in kept]

    def __len__(self) -> int:
        return len(self.all)

    def get_state(self) -> list[dict[str, Any]]:
        """Return everything as JSON can hold it."""
        return [vars(one) for one in self.all]

    def add(self, rejection: Rejection, values: Choices, *, after: int, number: int, phase: str | None) -> None:
        """Remember a proposal; the arguments are the attributes of `Rejected`."""
        self.all = [one for one in self.all if one.phase != REPAIR or one.number == number]
        self.all.append(Rejected(values, after=after, number=number, phase=phase, **vars(rejection)))

    def attempts(self, number: int) -> int:
        """Return how many proposals for a trial were rejected."""
        return sum(one.number == number for one in self.all)

    def wanted(self, number: int) -> int:
        """Return how many of them were not repairs."""
        return sum(one.number == number and one.phase != REPAIR for one in self.all)

    def chain(self, number: int) -> list[Rejected]:
        """Return the last proposal for a trial that exceeded a limit, and after it all repairs that failed; else nothing."""
        chain: list[Rejected] = []
        if self.wanted(number) > _REPAIRED:
            return chain
        for one in reversed(self.all):
            if one.number != number:
                break
            chain.append(one)
            if one.phase != REPAIR:
                return chain[::-1] if one.excess is not None else []
        return []

    def untold(self) -> list[Choices]:
        """Return what no strategy knows to be rejected, or not yet: a twin may be one of a trial that is still running."""
        return [one.values for one in self.all if one.twin is not None or not one.is_told]

    def forgive(self, forgiven: Callable[[Rejected], bool]) -> int:
        """Forget what was rejected for its cost, where `forgiven` says so; return how many that are."""
        kept = [one for one in self.all if one.twin is not None or not forgiven(one)]
        self.all, before = kept, len(self.all)
        return before - len(kept)


def by_turns(end_order: Sequence[str], rejected: Sequence[Rejected]) -> Iterator[tuple[str, Rejected | None]]:
    """Yield what the strategy is told, in order: (id of an ended trial, None), or (id of the twin or "", what was rejected).

    A rejection has its turn after the trials that had ended before it; one whose twin was still running then has it right after
    the twin, and none if the twin never ends. What is not to be told has none. Appending to either list appends turns and
    moves none.
    """
    place = {trial_id: i for i, trial_id in enumerate(end_order)}
    turns: list[list[Rejected]] = [[] for _ in range(len(end_order) + 1)]
    for one in filter(lambda one: one.is_told, rejected):
        if one.twin is None:
            turns[min(one.after, len(end_order))].append(one)
        elif one.twin in place:
            turns[min(max(one.after, place[one.twin] + 1), len(end_order))].append(one)
    for i, group in enumerate(turns):
        yield from ((one.twin or "", one) for one in group)
        if i < len(end_order):
            yield end_order[i], None


def explain(rejected: Iterable[Rejected]) -> str:
    """Say in a few lines why configurations were rejected; the reasons are those of the last ones."""
    rejected = list(rejected)
    limits = [one.reason for one in rejected if one.twin is None]
    twins = len(rejected) - len(limits)
    lines = [f"{twins} train the same network as an earlier trial."] if twins else []
    if limits:
        lines.append(f"{len(limits)} would cost too much; the last ones:")
        lines += [f"  {reason}" for reason in list(dict.fromkeys(reversed(limits)))[:5]]
    measured = [(one.excess, one.reason) for one in rejected if one.excess is not None]
    if measured:
        lines.append(f"The nearest to the limits of all:\n  {min(measured)[1]}")
    return "\n".join(lines)


def give_up(rejected: Sequence[Rejected]) -> str:
    """Say that the search ends because the last proposals, repairs among them, were all rejected."""
    return (
        f"The last {sum(one.phase != REPAIR for one in rejected)} proposals were all rejected: no new configuration within the "
        f"limits was found. Loosen them, or search a space that has more within them.\n{explain(rejected)}"
    )


def read_rejected(content: Mapping[str, Any]) -> Rejected:
    """Return what `vars` made of a `Rejected`.

    Raises:
        ValueError: if it is nothing of the kind.
    """
    known: dict[str, Any] = {name: content.get(name) for name in Rejected.__dataclass_fields__}
    if isinstance(known["excess"], list):
        known["excess"] = tuple(known["excess"])
    one = Rejected(**known)
    whole = (
        isinstance(one.values, dict)
        and isinstance(one.reason, str)
        and isinstance(one.twin, str | None)
        and isinstance(one.after, int)
        and one.after >= 0
        and isinstance(one.number, int)
        and isinstance(one.phase, str | None)
        and isinstance(one.seconds, float | int | None)
        and (one.excess is None or _is_pair(one.excess))
    )
    if not whole:
        raise ValueError(f"expected a rejected proposal, got {content!r}")
    return one


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(each, float | int) for each in value)
