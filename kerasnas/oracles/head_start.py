"""What a search is given before its first trial: configurations to try first, and earlier searches to learn from."""

import difflib
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasnas.decisions import Entry, decisions_of, default_of
from kerasnas.errors import InvalidArgument
from kerasnas.record import SearchRecord
from kerasnas.strategies import Choices, Decision, Discrete, Observation, Proposal, Range, Scalar, Strategy
from kerasnas.strategies.decision import active_choices, active_decisions
from kerasnas.strategies.space import identity, walk

__all__ = ["HeadStart", "takes"]

# So many of the best configurations of an earlier search are tried first where the strategy cannot learn from it.
_REPEATED = 3


class HeadStart:
    """Initial points and earlier searches, brought into the space of this search.

    Which of them have had their turn follows from the trials alone, so that a resumed search loses and repeats none.

    Args:
        initial_points: configurations to try first, in order; a name that is left out takes its hyperparameter's default.
        warm_start: an earlier search, or several.
    Raises:
        InvalidArgument: for anything else.
    """

    def __init__(self, initial_points: Any = None, warm_start: Any = None) -> None:
        points = [] if initial_points is None else initial_points
        records = [] if warm_start is None else [warm_start] if isinstance(warm_start, SearchRecord) else warm_start
        if isinstance(points, str | Mapping) or not isinstance(points, Sequence):
            raise InvalidArgument(f"Expected `initial_points` to be a list of dicts, got {initial_points!r}.")
        if isinstance(records, str) or not isinstance(records, Sequence):
            raise InvalidArgument(f"Expected `warm_start` to be a SearchRecord or a list of them, got {warm_start!r}.")
        for record in records:
            if not isinstance(record, SearchRecord):
                raise InvalidArgument(
                    f"Expected `warm_start` to be a SearchRecord, as SearchRecord.load(folder) gives it, got {record!r}."
                )
        self._given: list[dict[str, Any]] = [_values(point) for point in points]
        self._earlier: list[list[Observation]] = [list(record.observations) for record in records]
        if records and not any(self._earlier):
            raise InvalidArgument(f"None of the trials of `warm_start` has ended: {', '.join(str(r.path) for r in records)}.")
        self._initial: list[Choices] = []
        self._repeated: list[Choices] = []
        self._known: list[list[Observation]] = []

    def get_state(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        earlier = [[[choices, _finite(score)] for choices, score in search] for search in self._earlier]
        return {"initial_points": self._given, "earlier": earlier}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self._given = state["initial_points"]
        self._earlier = [[(c, math.nan if s is None else s) for c, s in search] for search in state["earlier"]]

    @property
    def earlier(self) -> tuple[int, int]:
        """How many trials of earlier searches can be used in the space of the last `begin`, and how many there are."""
        return sum(map(len, self._known)), sum(map(len, self._earlier))

    @property
    def points(self) -> list[dict[str, Any]]:
        """The configurations that may be tried first, as they were given and as the earlier searches have them."""
        best = (sorted((o for o in search if not math.isnan(o[1])), key=lambda o: -o[1]) for search in self._earlier)
        return [*self._given, *(dict(choices) for search in best for choices, _ in search[:_REPEATED])]

    def begin(self, strategy: Strategy, entries: Sequence[Entry]) -> None:
        """Fit everything into a space, and let `strategy`, started on it, learn from the earlier searches.

        Raises:
            InvalidArgument: for an initial point that is not in the space, or if no earlier trial shares a value with it.
        """
        decisions = decisions_of(entries)
        self._initial = [_complete(entries, decisions, point, i) for i, point in enumerate(self._given)] if decisions else []
        self._known = [[(c, s) for c, s in _restrict(decisions, search) if c] for search in self._earlier]
        used, total = self.earlier
        if total and decisions and not used:
            theirs = sorted({name for search in self._earlier for choices, _ in search for name in choices})
            raise InvalidArgument(
                f"None of the {total} trials of `warm_start` shares a choice with this space, whose hyperparameters are "
                f"{sorted({d.name for d in decisions})}; theirs are {theirs}."
            )
        for search in filter(None, self._known):
            strategy.learn_earlier(search)
        if self._initial:
            strategy.learn_points(self._initial)
        learns = type(strategy).learn_earlier is not Strategy.learn_earlier
        self._repeated = [] if learns else _best(entries, decisions, self._known)

    def propose(
        self, decisions: Sequence[Decision], tried: Collection[Hashable], trials: Iterable[Mapping[str, Any]]
    ) -> Proposal | None:
        """Return the next configuration that has had no turn, or None if there is none left.

        Args:
            decisions: the space.
            tried: the `identity` of each trial.
            trials: the values of each trial.
        """
        turns = [(point, {"phase": "initial point", "point": i}) for i, point in enumerate(self._initial)]
        turns += [(point, {"phase": "warm start", "rank": i}) for i, point in enumerate(self._repeated)]
        left = [(point, why) for point, why in turns if identity(decisions, point) not in tried]
        if not left:
            return None
        made = [active_choices(decisions, values) for values in trials]
        for point, why in left:
            # A trial that failed before all of the space was known has fewer values.
            if not any(values and values.items() <= point.items() for values in made):
                return Proposal(point, **why)
        return None


def takes(entries: Sequence[Entry], point: Mapping[str, Any]) -> bool:
    """Tell whether a space can make each choice of a point whose name it knows."""
    decisions = decisions_of(entries)
    known = {d.name for d in decisions}
    return all(any(d.name == name and _in(d, point[name]) is not None for d in decisions) for name in known & point.keys())


def _values(point: Any) -> dict[str, Any]:
    if isinstance(point, kt.HyperParameters):
        known = {hp.name for hp in point.space}
        point = {name: value for name, value in point.values.items() if name not in known or point.is_active(name)}
    if not isinstance(point, Mapping) or not all(isinstance(name, str) for name in point):
        raise InvalidArgument(f"Expected every initial point to be a dict of name to value, got {point!r}.")
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in point.items()}
    for name, value in values.items():
        if not isinstance(value, Scalar):
            raise InvalidArgument(
                f"Expected the value of {name!r} in an initial point to be a number, bool or str, got {value!r}."
            )
    return values


def _complete(entries: Sequence[Entry], decisions: Sequence[Decision], point: Mapping[str, Any], number: int) -> Choices:
    """Return the whole configuration that `point` begins; what it leaves out takes its default."""
    where = f"initial_points[{number}]"
    names = list(dict.fromkeys(d.name for d in decisions))
    for name in point:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"the space has {names}."
            raise InvalidArgument(f"{where} has a value for {name!r}, which is not in the space; {hint}")
    defaults = {id(d): default_of(entry) for d, entry in zip(decisions, entries, strict=True)}

    def choose(decision: Decision, _: Choices) -> Scalar:
        if decision.name not in point:
            default = defaults[id(decision)]
            return decision.from_unit(decision.to_unit(default)) if _in(decision, default) is None else default
        value = _in(decision, point[decision.name])
        if value is None:
            raise InvalidArgument(f"{where} has {decision.name}={point[decision.name]!r}; expected {_domain(decision)}.")
        return value

    choices = walk(decisions, choose)
    for name in point:
        if name not in choices:
            needs = next(d for d in decisions if d.name == name).conditions
            rule = " and ".join(f"{c.name} in {list(c.values)}" for c in needs)
            raise InvalidArgument(f"{where} has a value for {name!r}, which is not active there: that needs {rule}.")
    return choices


def _in(decision: Decision, value: Any) -> Scalar | None:
    """Return `value` as the decision writes it, or None if the decision cannot take it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(decision, Discrete):
        for own in decision.values:
            close = number and isinstance(own, float) and math.isclose(own, value, rel_tol=1e-9)
            if close or (own == value and isinstance(own, bool) == isinstance(value, bool)):
                return own
        return None
    assert isinstance(decision, Range)
    if not number or not decision.low <= value <= decision.high or (decision.integer and value != int(value)):
        return None
    return int(value) if decision.integer else float(value)


def _domain(decision: Decision) -> str:
    if isinstance(decision, Range):
        return f"{'an integer' if decision.integer else 'a number'} from {decision.low} to {decision.high}"
    assert isinstance(decision, Discrete)
    shown = ", ".join(map(repr, decision.values[:12]))
    return f"one of {shown}" + (f", ... ({decision.size} values)" if decision.size > 12 else "")


def _restrict(decisions: Sequence[Decision], search: Sequence[Observation]) -> list[Observation]:
    """Return each observation with only those choices that this space can make; none if no true choice is left."""
    restricted = []
    for choices, score in search:
        shared: Choices = {}
        asked: set[str] = set()
        for decision in decisions:
            if decision.name in asked or not decision.is_active(shared):
                continue
            asked.add(decision.name)  # of two that share a name, the first that is active
            value = _in(decision, choices[decision.name]) if decision.name in choices else None
            if value is not None:
                shared[decision.name] = value
        free = any(d.size != 1 for d in active_decisions(decisions, shared))
        restricted.append((shared if free else {}, score))
    return restricted


def _best(entries: Sequence[Entry], decisions: Sequence[Decision], searches: Sequence[Sequence[Observation]]) -> list[Choices]:
    """Return the best distinct configurations, of several searches in turn: their scores do not compare."""
    ranked = [sorted((o for o in search if not math.isnan(o[1])), key=lambda o: -o[1]) for search in searches]
    distinct: dict[Any, Choices] = {}
    for layer in zip_longest(*ranked):
        for choices, _ in filter(None, layer):
            whole = _complete(entries, decisions, choices, 0)
            distinct.setdefault(identity(decisions, whole), whole)
    return list(distinct.values())[:_REPEATED]


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
