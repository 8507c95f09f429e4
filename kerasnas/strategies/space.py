"""Walks over a list of decisions: draw, mutate, list and compare configurations."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np

from kerasnas.strategies.decision import Choices, Decision, Scalar, active_decisions

__all__ = ["enumerate_choices", "identity", "neighbour", "random_choices", "walk"]


def walk(decisions: Sequence[Decision], choose: Callable[[Decision, Choices], Scalar]) -> Choices:
    """Make every active decision in order; `choose` gets the decision and the choices made before it."""
    choices: Choices = {}
    for decision in decisions:
        if decision.name not in choices and decision.is_active(choices):
            choices[decision.name] = choose(decision, choices)
    return choices


def random_choices(decisions: Sequence[Decision], rng: np.random.Generator) -> Choices:
    """Draw each active decision uniformly on its own scale."""
    return walk(decisions, lambda decision, _: decision.from_unit(rng.random()))


def neighbour(decisions: Sequence[Decision], choices: Choices, rng: np.random.Generator) -> Choices:
    """Return `choices` with one active decision drawn again; decisions that this makes active are drawn too."""
    movable = [d for d in active_decisions(decisions, choices) if d.size != 1]
    if not movable:
        return dict(choices)
    moved = movable[int(rng.integers(len(movable)))]
    kept = {name: value for name, value in choices.items() if name != moved.name}
    return walk(
        decisions,
        lambda decision, _: kept[decision.name] if decision.name in kept else decision.from_unit(rng.random()),
    )


def enumerate_choices(decisions: Sequence[Decision]) -> Iterator[Choices]:
    """Yield every configuration once; a decision with too many values to list raises ValueError.

    Lazy: the first configurations of a huge space come at once.
    """

    def extend(position: int, choices: Choices) -> Iterator[Choices]:
        while position < len(decisions):
            decision = decisions[position]
            position += 1
            if decision.name in choices or not decision.is_active(choices):
                continue
            if decision.size is None:
                raise ValueError(f"Decision {decision.name!r} has too many values to list.")
            for i in range(decision.size):
                value = decision.from_unit((i + 0.5) / decision.size)
                yield from extend(position, {**choices, decision.name: value})
            return
        yield choices

    return extend(0, {})


def identity(decisions: Sequence[Decision], choices: Mapping[str, Scalar]) -> Hashable:
    """Return what makes two configurations the same: the values of their active decisions."""
    return tuple((d.name, choices[d.name]) for d in active_decisions(decisions, choices))
