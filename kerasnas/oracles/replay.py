"""What a strategy is told, in order; told again from the beginning where it changed."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kerasnas.decisions import Entry, decisions_of
from kerasnas.oracles.head_start import HeadStart
from kerasnas.oracles.ledger import write_outcome
from kerasnas.strategies import Choices, Decision, Scalar, Strategy
from kerasnas.strategies.decision import active_choices
from kerasnas.strategies.learned_conditions import Use, with_learned_conditions
from kerasnas.strategies.space import identity

__all__ = ["Replay", "Turn"]


@dataclass(frozen=True)
class Turn:
    """One thing that a strategy is told.

    Attributes:
        choices: what was tried, or rejected.
        score: higher is better; None stands for NaN, which equals nothing.
        trial_id: of the trial that it came of; None if no trial was spent.
    """

    choices: Choices
    score: float | None
    trial_id: str | None

    @classmethod
    def of(cls, choices: Mapping[str, Scalar], score: float, trial_id: str | None) -> "Turn":
        """Return the turn of a score, which may be NaN."""
        return cls(dict(choices), None if math.isnan(score) else score, trial_id)


class Replay:
    """Keeps a strategy up to date with a search, whose past may change: its space grows, or its scores depend on each other.

    Attributes:
        decisions: the space that the strategy was started on, with the conditions learned so far; None before that.
        observed: ids of the trials that the strategy was told of, in order.
        tried: the `identity` of all that it was told of.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._told: list[Turn] = []
        self._settled: set[str] = set()
        self._stated: tuple[list[Decision], list[Use]] = ([], [])
        self._conditional: list[Decision] = []
        self.decisions: list[Decision] | None = None
        self.observed: list[str] = []
        self.tried: set[Hashable] = set()

    def update(
        self,
        entries: Sequence[Entry],
        uses: Sequence[Use],
        turns: Sequence[Turn],
        head_start: HeadStart,
        folder: Callable[[str], str | Path],
    ) -> None:
        """Tell the strategy what is new, or everything if it was told otherwise.

        Args:
            entries: the space.
            uses: what the completed trials used of their values, in the order in which they ended.
            turns: all that it should have been told by now.
            head_start: what it learns before its first turn.
            folder: returns the folder of a trial, for the decision ledger.
        """
        decisions = self._learned(entries, uses)
        if decisions != self.decisions or self._told != turns[: len(self._told)]:
            # Begun again if what follows raises.
            self.decisions, self._told, self.observed, self.tried = None, [], [], set()
            self._strategy.start(decisions)
            head_start.begin(self._strategy, entries)
            self.decisions = decisions
        for turn in turns[len(self._told) :]:
            score, choices = math.nan if turn.score is None else turn.score, active_choices(decisions, turn.choices)
            if turn.trial_id is not None and turn.trial_id not in self._settled:  # a file is read for it
                expect = partial(self._strategy.advantage, choices, score)
                write_outcome(folder(turn.trial_id), len(self.observed), expect)
                self._settled.add(turn.trial_id)
            self._strategy.observe(choices, score)
            self._told.append(turn)
            self.tried.add(identity(decisions, choices))
            if turn.trial_id is not None:
                self.observed.append(turn.trial_id)

    @property
    def has_learned(self) -> bool:
        """Whether the space has conditions that no one stated, which a trial that ends may contradict."""
        return self._conditional != self._stated[0]

    def _learned(self, entries: Sequence[Entry], uses: Sequence[Use]) -> list[Decision]:
        stated = decisions_of(entries)
        if (stated, uses) != self._stated:  # not with each proposal
            self._stated, self._conditional = (stated, list(uses)), with_learned_conditions(stated, uses)
        return self._conditional
