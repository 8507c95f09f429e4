"""Configurations between two others."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kerasnas.decisions import default_of
from kerasnas.strategies import Choices, Decision, Scalar
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.space import walk

__all__ = ["Mixture"]


class Mixture:
    """Every configuration on the way from one configuration to another.

    The decisions that both make, and make differently, are the ones to change. A change brings what hangs on it: a decision
    that only the target makes takes the target's value as soon as it is active; one that neither makes, its default.

    Args:
        decisions: the space.
        entries: the record's description of each decision.
        source: the configuration to start from.
        target: the configuration to arrive at.

    Attributes:
        names: the decisions to change, in the order of the space. With all of them changed the target is reached: the first
            decision in which two configurations differ is active in both.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        entries: Sequence[Mapping[str, Any]],
        source: Mapping[str, Scalar],
        target: Mapping[str, Scalar],
    ) -> None:
        self._decisions = tuple(decisions)
        self._defaults = {id(d): default_of(entry) for d, entry in zip(self._decisions, entries, strict=True)}
        self._source = {id(d): source[d.name] for d in active_decisions(self._decisions, source)}
        self._target = {id(d): target[d.name] for d in active_decisions(self._decisions, target)}
        self.names = tuple(
            d.name
            for d in self._decisions
            if id(d) in self._source and id(d) in self._target and self._source[id(d)] != self._target[id(d)]
        )

    def __call__(self, changed: Collection[str]) -> Choices:
        """Return the source with these decisions changed, and what they bring."""

        def choose(decision: Decision, _: Choices) -> Scalar:
            key = id(decision)
            if key in self._source and (key not in self._target or decision.name not in changed):
                return self._source[key]
            return self._target[key] if key in self._target else self._defaults[key]

        return walk(self._decisions, choose)
