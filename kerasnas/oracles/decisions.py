"""From KerasTuner hyperparameters to the plain decisions of a strategy."""

import math
from typing import Any

import keras_tuner as kt

from kerasnas.errors import InvalidArgument
from kerasnas.strategies import Condition, Decision, Discrete, Range

__all__ = ["decisions_of"]

# Up to this many consecutive integers are listed one by one; more are a range. A coarser grid is always listed.
_LISTED = 1000


def decisions_of(hyperparameters: kt.HyperParameters) -> list[Decision]:
    """Return one decision for each hyperparameter, in the order of registration.

    Raises:
        InvalidArgument: for a kind of hyperparameter or condition that KerasTuner does not define.
    """
    return [_decision(hp) for hp in hyperparameters.space]


def _decision(hp: Any) -> Decision:
    common = {"name": hp.name, "conditions": tuple(_condition(c, hp.name) for c in hp.conditions)}
    match type(hp).__name__:
        case "Fixed":
            return Discrete(values=(hp.value,), **common)
        case "Boolean":
            return Discrete(values=(False, True), **common)
        case "Choice":
            return Discrete(values=tuple(hp.values), ordered=bool(hp.ordered), **common)
        case "Int" | "Float" as kind:
            return _number(hp, kind == "Int", common)
        case kind:
            raise InvalidArgument(
                f"Hyperparameter {hp.name!r} is of kind {kind}; expected Choice, Int, Float, Boolean or Fixed."
            )


def _number(hp: Any, integer: bool, common: dict[str, Any]) -> Decision:
    every_integer = integer and hp.step == 1 and hp.sampling == "linear"
    if hp.step is not None and not (every_integer and _steps(hp) > _LISTED):
        return Discrete(values=tuple(_grid(hp, integer)), ordered=True, **common)
    return Range(low=hp.min_value, high=hp.max_value, scale=hp.sampling, integer=integer, **common)


def _steps(hp: Any) -> int:
    # The tolerance keeps max_value on the grid: (1.0 - 0.0) // 0.1 is 9 in floating point.
    if hp.sampling == "linear":
        return math.floor((hp.max_value - hp.min_value) / hp.step + 1e-9) + 1
    return math.floor(math.log(hp.max_value / hp.min_value, hp.step) + 1e-9) + 1


def _grid(hp: Any, integer: bool) -> list[int | float]:
    values: list[int | float] = []
    for i in range(_steps(hp)):
        if hp.sampling == "linear":
            value = hp.min_value + i * hp.step
        elif hp.sampling == "log":
            value = hp.min_value * hp.step**i
        else:
            value = hp.max_value + hp.min_value - hp.min_value * hp.step**i
        values.append(int(value) if integer else float(f"{value:.12g}"))  # 0.3, not 0.30000000000000004
    return values[::-1] if hp.sampling == "reverse_log" else values


def _condition(condition: Any, name: str) -> Condition:
    if type(condition).__name__ != "Parent":
        raise InvalidArgument(
            f"Hyperparameter {name!r} has a condition of kind {type(condition).__name__}; expected KerasTuner's "
            "Parent, as made by hp.conditional_scope()."
        )
    return Condition(condition.name, tuple(condition.values))
