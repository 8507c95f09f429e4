"""From KerasTuner's description of hyperparameters to the plain decisions of a strategy."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kerasnas.errors import InvalidArgument
from kerasnas.strategies import Choices, Condition, Decision, Discrete, Range, Scalar
from kerasnas.strategies.space import walk

__all__ = ["completed", "decisions_of", "default_of", "entries_of", "parents_first"]

# Up to this many consecutive integers are listed one by one; more are a range. A coarser grid is always listed.
_LISTED = 1000

Entry = Mapping[str, Any]


def entries_of(hyperparameters: Any) -> list[Entry]:
    """Return the `{"kind": class name, **config}` of each hyperparameter of a `kt.HyperParameters`, `parents_first`."""
    return parents_first([{"kind": type(hp).__name__, **hp.get_config()} for hp in hyperparameters.space])


def parents_first(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries in an order in which what they are conditional on comes before them, and otherwise as they are.

    What a chief or a worker of KerasTuner is sent is sorted by kind: all Floats and Ints come before the Choices that decide
    whether they are active.
    """
    made: list[Entry] = []
    left, names = list(entries), set[str]()
    while left:
        missing = {entry["name"] for entry in left} - names
        waiting: list[Entry] = []
        for entry in left:
            if any(condition["config"]["name"] in missing for condition in entry.get("conditions", ())):
                waiting.append(entry)
            else:
                made.append(entry)
                names.add(entry["name"])
                missing.discard(entry["name"])
        if len(waiting) == len(left):  # in a circle
            return [*made, *waiting]
        left = waiting
    return made


def decisions_of(entries: Iterable[Entry]) -> list[Decision]:
    """Return one decision for each entry.

    Args:
        entries: hyperparameters as `entries_of` and `SearchRecord.space` give them.
    Raises:
        InvalidArgument: for a kind of hyperparameter or condition that KerasTuner does not define.
    """
    return [_decision(entry) for entry in entries]


def completed(entries: Sequence[Entry], choices: Mapping[str, Scalar]) -> Choices:
    """Return choices with the default of what a strategy left out, because nothing would ask for it.

    KerasTuner must have a value for each hyperparameter that it does not know to be inactive.
    """
    decisions = decisions_of(entries)
    default = {id(d): default_of(entry) for d, entry in zip(decisions, entries, strict=True)}
    return walk(decisions, lambda d, _: choices[d.name] if d.name in choices else default[id(d)])


def default_of(entry: Entry) -> Scalar:
    """Return the default value of an entry, as KerasTuner chooses it."""
    if entry.get("default") is not None:
        value: Scalar = entry["default"]
        return value
    match entry["kind"]:
        case "Fixed":
            value = entry["value"]
        case "Boolean":
            value = False
        case "Choice":
            value = entry["values"][0]
        case _:
            value = entry["min_value"]
    return value


def _decision(entry: Entry) -> Decision:
    common = {"name": entry["name"], "conditions": tuple(_condition(c, entry["name"]) for c in entry["conditions"])}
    match entry["kind"]:
        case "Fixed":
            return Discrete(values=(entry["value"],), **common)
        case "Boolean":
            return Discrete(values=(False, True), **common)
        case "Choice":
            return Discrete(values=tuple(entry["values"]), ordered=bool(entry["ordered"]), **common)
        case "Int" | "Float" as kind:
            return _number(entry, kind == "Int", common)
        case kind:
            raise InvalidArgument(
                f"Hyperparameter {entry['name']!r} is of kind {kind}; expected Choice, Int, Float, Boolean or Fixed."
            )


def _number(entry: Entry, integer: bool, common: dict[str, Any]) -> Decision:
    step, sampling = entry["step"], entry["sampling"]
    every_integer = integer and step == 1 and sampling == "linear"
    if step is not None and not (every_integer and _steps(entry) > _LISTED):
        return Discrete(values=tuple(_grid(entry, integer)), ordered=True, **common)
    return Range(low=entry["min_value"], high=entry["max_value"], scale=sampling, integer=integer, **common)


def _steps(entry: Entry) -> int:
    low, high, step = entry["min_value"], entry["max_value"], entry["step"]
    # The tolerance keeps max_value on the grid: (1.0 - 0.0) // 0.1 is 9 in floating point.
    if entry["sampling"] == "linear":
        return math.floor((high - low) / step + 1e-9) + 1
    return math.floor(math.log(high / low, step) + 1e-9) + 1


def _grid(entry: Entry, integer: bool) -> list[int | float]:
    low, high, step, sampling = entry["min_value"], entry["max_value"], entry["step"], entry["sampling"]
    values: list[int | float] = []
    for i in range(_steps(entry)):
        if sampling == "linear":
            value = low + i * step
        elif sampling == "log":
            value = low * step**i
        else:
            value = high + low - low * step**i
        values.append(int(value) if integer else float(f"{value:.12g}"))  # 0.3, not 0.30000000000000004
    return values[::-1] if sampling == "reverse_log" else values


def _condition(condition: Mapping[str, Any], name: str) -> Condition:
    if condition["class_name"] != "Parent":
        raise InvalidArgument(
            f"Hyperparameter {name!r} has a condition of kind {condition['class_name']}; expected KerasTuner's "
            "Parent, as made by hp.conditional_scope()."
        )
    return Condition(condition["config"]["name"], tuple(condition["config"]["values"]))
