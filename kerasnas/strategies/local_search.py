"""Local search: change one decision of the best configuration at a time."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kerasnas.strategies.base import Proposal, Strategy
from kerasnas.strategies.decision import Choices, Decision, Discrete, Range, Scalar
from kerasnas.strategies.space import changes, random_choices
from kerasnas.strategies.variation import Genes, express, genes_of, other_value

__all__ = ["LocalSearch"]

# A decision with more values than this has so many neighbours drawn instead of all of them listed.
_LISTED = 16

_Move = tuple[int, Scalar]  # the id() of a decision, and its new value


class LocalSearch(Strategy):
    """Try the neighbours of the best configuration in random order, and move as soon as one of them is better.

    A neighbour has another value of one decision; decisions that this makes active are drawn. A decision with more than 16
    values, a real number for one, has 16 neighbours drawn, nearby or anywhere. When a neighbourhood is exhausted, the search
    restarts from new random configurations. A score counts as it is: of noise, a lucky configuration is not tried again,
    and holds the search up for no longer than until its neighbourhood is exhausted.

    Args:
        starts: number of random configurations at each start, >= 1; the best of them is climbed from.
    Source:
        White et al. 2020, Algorithm 1 in its variant that moves at the first improvement; deviation: samples large
        neighbourhoods.
    """

    def __init__(self, *, starts: int = 10) -> None:
        if not isinstance(starts, int) or starts < 1:
            raise ValueError(f"starts must be an integer >= 1, got {starts}.")
        self.starts = starts

    def start(self, decisions: Sequence[Decision]) -> None:
        """Begin with random configurations."""
        self._decisions = tuple(decisions)
        self._known: list[Genes] = []
        self._best: Genes = {}
        self._visits: list[_Move] = []
        self._score = -math.inf
        self._climbed = 0

    def propose(self, rng: np.random.Generator, pending: Sequence[Choices] = ()) -> Choices:
        """Return a neighbour of the best configuration that is neither known nor pending; anything at a start."""
        if self._climbed < self.starts or not math.isfinite(self._score):
            return Proposal(random_choices(self._decisions, rng), phase="initial")
        left = self._left([genes_of(self._decisions, choices) for choices in pending])
        if not left:
            return Proposal(random_choices(self._decisions, rng), phase="restart")
        decision, value = left[int(rng.integers(len(left)))]
        old = self._best[id(decision)]
        new = other_value(decision, old, rng) if value is None else value
        moved = express(self._decisions, {**self._best, id(decision): new}, rng)
        parent = {d.name: self._best[id(d)] for d in self._decisions if id(d) in self._best}
        return Proposal(moved, phase="neighbour", parent=parent, mutation=changes(parent, moved))

    def observe(self, choices: Choices, score: float) -> None:
        """Climb to `choices` if it is the best since the last start."""
        if self._climbed >= self.starts and math.isfinite(self._score) and not self._left():
            self._best, self._visits, self._score, self._climbed = {}, [], -math.inf, 0
        genes = genes_of(self._decisions, choices)
        self._known.append(genes)
        self._climbed += 1
        if math.isfinite(score) and score > self._score:
            self._best, self._score = genes, float(score)
            self._visits = [visit for known in self._known for visit in self._visit(known)]
        else:
            self._visits += self._visit(genes)

    def _visit(self, genes: Genes) -> list[_Move]:
        """Return the one move by which `genes` differs from the best configuration; nothing if it differs by more."""
        moves = [(key, genes[key]) for key, value in self._best.items() if key in genes and genes[key] != value]
        return moves if len(moves) == 1 else []

    def _left(self, pending: Sequence[Genes] = ()) -> list[tuple[Decision, Scalar | None]]:
        """Return the moves that the best configuration has left: a decision and its value, None if it is to be drawn."""
        visits = self._visits + [visit for genes in pending for visit in self._visit(genes)]
        visited, counts = set(visits), Counter(key for key, _ in visits)
        left: list[tuple[Decision, Scalar | None]] = []
        for decision in self._decisions:
            if id(decision) not in self._best or decision.size == 1:
                continue
            if decision.size is None or decision.size > _LISTED:
                left += [(decision, None)] * (_LISTED - counts[id(decision)])
            else:
                moves = [(id(decision), value) for value in _values(decision) if value != self._best[id(decision)]]
                left += [(decision, move[1]) for move in moves if move not in visited]
        return left


def _values(decision: Decision) -> Sequence[Scalar]:
    if isinstance(decision, Range):
        return range(int(decision.low), int(decision.high) + 1)
    return decision.values if isinstance(decision, Discrete) else ()
