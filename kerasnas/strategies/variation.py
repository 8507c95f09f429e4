"""How one configuration becomes another: the moves of evolution and of local search."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kerasnas.strategies.decision import Choices, Decision, Discrete, Range, Scalar, active_decisions
from kerasnas.strategies.space import walk

__all__ = ["Genes", "express", "genes_of", "other_value"]

# The values of active decisions, by the id() of the decision: two decisions may share a name.
Genes = dict[int, Scalar]

_NEARBY = 0.5
_SPREAD = 0.1
_TRIES = 50


def genes_of(decisions: Sequence[Decision], choices: Mapping[str, Scalar]) -> Genes:
    """Return the values of the active decisions, without those that `choices` lacks a possible value for."""
    values = {id(d): _possible(d, choices[d.name]) for d in active_decisions(decisions, choices)}
    return {key: value for key, value in values.items() if value is not None}


def express(decisions: Sequence[Decision], genes: Genes, rng: np.random.Generator) -> Choices:
    """Make every active decision as `genes` has it, and draw those that it lacks."""
    return walk(decisions, lambda d, _: genes[id(d)] if id(d) in genes else d.from_unit(rng.random()))


def other_value(decision: Decision, value: Scalar, rng: np.random.Generator) -> Scalar:
    """Return another value: uniformly drawn, or every other time, if the values are ordered, one nearby.

    Nearby is a step of normal length, standard deviation 0.1, on the decision's unit interval, reflected at its ends, and at
    least as long as the mean share of a value.
    """
    if decision.size == 1:
        return value
    unit = decision.to_unit(value)
    nearby = decision.is_ordered and rng.random() < _NEARBY
    least = 1 / decision.size if decision.size else 0.0
    for _ in range(_TRIES):
        if nearby:
            step = rng.normal(0, _SPREAD)
            moved = unit + math.copysign(max(abs(step), least), step)
            moved = -moved if moved < 0 else 2 - moved if moved > 1 else moved
        else:
            moved = rng.random()
        other = decision.from_unit(min(max(moved, 0.0), 1.0))
        if other != value:
            return other
    return value


def _possible(decision: Decision, value: Scalar) -> Scalar | None:
    """Return `value` as `decision` gives it (1 for True where it is an integer), or None if it is none of its values."""
    if isinstance(decision, Discrete):
        return decision.values[decision.values.index(value)] if value in decision.values else None
    if isinstance(decision, Range) and not isinstance(value, str) and decision.low <= value <= decision.high:
        if not decision.integer:
            return float(value)
        return int(value) if value == int(value) else None
    return None
