"""Walks over a list of decisions: draw, mutate, list and compare configurations."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from kerasnas.strategies.decision import Choices, Decision, Discrete, Range, Scalar, active_decisions

__all__ = ["changes", "enumerate_choices", "identity", "neighbour", "random_choices", "walk"]


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
    # By identity, not by name: another decision of that name may become active, with other values.
    kept = {id(d): choices[d.name] for d in active_decisions(decisions, choices) if d is not moved}
    return walk(decisions, lambda decision, _: kept[id(decision)] if id(decision) in kept else decision.from_unit(rng.random()))


def enumerate_choices(decisions: Sequence[Decision], rng: np.random.Generator | None = None) -> Iterator[Choices]:
    """Yield every configuration once; lazy: the first configurations of a huge space come at once.

    A real number has too many values to list: one is drawn from `rng` for each configuration of the rest.

    Raises:
        ValueError: at a real number, if there is no `rng`.
    """

    def extend(position: int, choices: Choices) -> Iterator[Choices]:
        while position < len(decisions):
            decision = decisions[position]
            position += 1
            if decision.name in choices or not decision.is_active(choices):
                continue
            values: Iterable[Scalar]
            if isinstance(decision, Discrete):
                values = decision.values
            elif isinstance(decision, Range) and decision.integer:
                values = range(int(decision.low), int(decision.high) + 1)
            elif decision.size == 1 or rng is not None:
                values = [decision.from_unit(rng.random() if rng else 0.5)]
            else:
                raise ValueError(f"Decision {decision.name!r} has too many values to list.")
            for value in values:
                yield from extend(position, {**choices, decision.name: value})
            return
        yield choices

    return extend(0, {})


def identity(decisions: Sequence[Decision], choices: Mapping[str, Scalar]) -> Hashable:
    """Return what makes two configurations the same: the values of their active decisions."""
    return tuple((d.name, choices[d.name]) for d in active_decisions(decisions, choices))


def changes(parent: Mapping[str, Scalar], choices: Mapping[str, Scalar]) -> dict[str, list[Scalar | None]]:
    """Return {name: [old, new]} of what became of a parent; None stands for a decision that was not, or is not, active."""
    names = [*parent, *(name for name in choices if name not in parent)]
    return {name: [parent.get(name), choices.get(name)] for name in names if parent.get(name) != choices.get(name)}
