"""What every search strategy must do, for the tests of those who write one."""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from kerasnas.strategies import Choices, Condition, Decision, Discrete, Observation, Proposal, Range, Scalar, Strategy
from kerasnas.strategies.space import enumerate_choices, random_choices

__all__ = ["check_strategy"]

Make = Callable[[], Strategy]

_CONDITIONAL: list[Decision] = [
    Discrete(name="kind", values=("conv", "dense", "none")),
    Discrete(name="kernel", values=(3, 5, 7), ordered=True, conditions=(Condition("kind", ("conv",)),)),
    Range(name="units", low=1, high=500, scale="log", integer=True, conditions=(Condition("kind", ("dense",)),)),
    Range(name="lr", low=1e-4, high=1e-1, scale="log"),
]
_SPACES: dict[str, list[Decision]] = {
    "flat": [Discrete(name="a", values=("x", "y", "z")), Discrete(name="b", values=(False, True))],
    "conditional": _CONDITIONAL,
    "nested conditions": [
        Discrete(name="a", values=(0, 1)),
        Discrete(name="b", values=(0, 1), conditions=(Condition("a", (1,)),)),
        Discrete(name="c", values=(0.5, 1.5), ordered=True, conditions=(Condition("a", (1,)), Condition("b", (1,)))),
        Range(name="d", low=0.0, high=1.0, conditions=(Condition("c", (1.5,)),)),
    ],
    "one name twice": [
        Discrete(name="kind", values=("a", "b")),
        Discrete(name="units", values=(1, 2), conditions=(Condition("kind", ("a",)),)),
        Discrete(name="units", values=(100, 200, 300), conditions=(Condition("kind", ("b",)),)),
    ],
    "numbers": [
        Range(name="real", low=-1.0, high=2.0),
        Range(name="log", low=1e-6, high=1.0, scale="log"),
        Range(name="reverse_log", low=0.1, high=0.9, scale="reverse_log"),
        Range(name="integer", low=-3, high=4, integer=True),
        Range(name="many integers", low=1, high=100_000, scale="log", integer=True),
        Range(name="one number", low=2.0, high=2.0),
        Discrete(name="steps", values=tuple(range(0, 1000, 10)), ordered=True),
    ],
    "hundreds of decisions": [
        *(Discrete(name=f"layer {i}", values=("0", "1", "2")) for i in range(150)),
        *(Range(name=f"rate {i}", low=0.0, high=0.5, conditions=(Condition(f"layer {i}", ("2",)),)) for i in range(50)),
    ],
    "a single value": [Discrete(name="only", values=(7,))],
    "nothing to decide": [],
}
_SMALL: list[Decision] = [
    Discrete(name="a", values=(0, 1)),
    Discrete(name="b", values=(False, True), conditions=(Condition("a", (1,)),)),
]
_EXTREMES = (math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0, 0.0, math.nan, 1e-300, 5)


def check_strategy(make: Make) -> None:
    """Check that a strategy keeps every promise of `kerasnas.strategies.Strategy`.

    It is asked on flat, conditional, nested, ordinal, numeric, huge and empty spaces, with scores that failed, are infinite,
    huge or all alike, and its proposals must be valid, be a function of the observations and of the generator that it gets,
    and leave it as it was. It is asked for about 270 proposals.

    Args:
        make: returns a new strategy; called often.
    Raises:
        AssertionError: at the first promise that is broken; the message says what was expected and what came.
    Example:
        >>> from kerasnas.strategies import RandomSearch
        >>> check_strategy(RandomSearch)
    """
    for check in (
        _check_spaces,
        _check_repetition,
        _check_replay,
        _check_arguments,
        _check_instances,
        _check_global_randomness,
        _check_scores,
        _check_odd_observations,
        _check_opinions,
        _check_earlier,
        _check_exhausted,
    ):
        with _no_exception(check.__name__.removeprefix("_check_").replace("_", " ")):
            check(make)


def _check_spaces(make: Make) -> None:
    for name, decisions in _SPACES.items():
        strategy = make()
        with _no_exception(f"space {name!r}"):
            strategy.start(list(decisions))
            for trial in range(12):
                pending = [random_choices(decisions, _rng(trial, i)) for i in range(trial % 3)]
                choices = _propose(strategy, decisions, _rng(trial), pending)
                strategy.observe(dict(choices), math.nan if trial % 5 == 3 else math.sin(3 * trial))


def _check_repetition(make: Make) -> None:
    asked, unasked = _driven(make, _CONDITIONAL), _driven(make, _CONDITIONAL)
    for step in range(3):
        first = _proposals(asked, _CONDITIONAL, 3)
        again = _proposals(asked, _CONDITIONAL, 3)
        _same(again, first, "the same proposals for the same observations and generators, however often it was asked")
        _same(_proposals(unasked, _CONDITIONAL, 3), first, "the same proposals from a strategy that was not asked before")
        asked.propose(_rng(99), [random_choices(_CONDITIONAL, _rng(98))])
        for strategy in (asked, unasked):
            strategy.observe(random_choices(_CONDITIONAL, _rng(200 + step)), 2.0 + step)
    _same(_proposals(asked, _CONDITIONAL, 3), _proposals(unasked, _CONDITIONAL, 3), "a state that `propose` leaves as it was")


def _check_replay(make: Make) -> None:
    driver, own = make(), list[Observation]()
    driver.start(list(_CONDITIONAL))
    for trial in range(14):
        own.append((dict(driver.propose(_rng(trial))), math.nan if trial % 4 == 1 else math.cos(5 * trial)))
        driver.observe(dict(own[-1][0]), own[-1][1])
    expected = _proposals(driver, _CONDITIONAL, 5)
    replayed = _driven(make, _CONDITIONAL, own)
    _same(_proposals(replayed, _CONDITIONAL, 5), expected, "a replay of the observations to give the same proposals")
    history = _history(14)
    expected = _proposals(_driven(make, _CONDITIONAL, history), _CONDITIONAL, 5)
    used = _driven(make, _SPACES["numbers"], [(random_choices(_SPACES["numbers"], _rng(i)), 100.0 * i) for i in range(8)])
    used.learn_earlier([(random_choices(_SPACES["numbers"], _rng(50)), 1e6)])
    used.learn_points([random_choices(_SPACES["numbers"], _rng(51))])
    _feed(used, _CONDITIONAL, history)
    _same(_proposals(used, _CONDITIONAL, 5), expected, "`start` to forget what was before, and a replay to give the same")
    _feed(used, _CONDITIONAL, history)
    _same(_proposals(used, _CONDITIONAL, 5), expected, "a second replay on the same space to give the same")
    _feed(used, _CONDITIONAL, [])
    fresh = make()
    fresh.start(list(_CONDITIONAL))
    _same(_proposals(used, _CONDITIONAL, 5), _proposals(fresh, _CONDITIONAL, 5), "`start` to forget the observations")


def _check_arguments(make: Make) -> None:
    kept, spoiled = make(), make()
    decisions = list(_CONDITIONAL)
    spoiled.start(decisions)
    _equal(decisions, _CONDITIONAL, "`start` to leave its argument alone")
    decisions.clear()
    kept.start(list(_CONDITIONAL))
    for choices, score in _history(14):
        given = dict(choices)
        kept.observe(dict(choices), score)
        spoiled.observe(given, score)
        _equal(given, choices, "`observe` to leave its argument alone")
        given.clear()
        pending = [dict(choices)]
        proposal = spoiled.propose(_rng(0), pending)
        _equal(pending, [choices], "`propose` to leave `pending` alone")
        proposal.clear()
    _same(
        _proposals(spoiled, _CONDITIONAL, 4),
        _proposals(kept, _CONDITIONAL, 4),
        "no change when the caller changes what it gave or got",
    )


def _check_instances(make: Make) -> None:
    one, other = make(), make()
    one.start(list(_CONDITIONAL))
    other.start(list(_CONDITIONAL))
    before = _proposals(other, _CONDITIONAL, 4)
    for choices, score in _history(20):
        one.observe(dict(choices), score)
    one.propose(_rng(0))
    _same(_proposals(other, _CONDITIONAL, 4), before, "two instances to share nothing")


def _check_global_randomness(make: Make) -> None:
    legacy, plain = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002 - it is what must stay untouched
    found = []
    try:
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            before = str(np.random.get_state(legacy=False)), random.getstate()  # noqa: NPY002
            found.append(_proposals(_driven(make, _CONDITIONAL), _CONDITIONAL, 4))
            after = str(np.random.get_state(legacy=False)), random.getstate()  # noqa: NPY002
            _expect(before == after, "the global generators of numpy and random to be left alone", "draws from them")
    finally:
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(plain)
    _same(found[1], found[0], "all randomness to come from `rng`, not from the global generators")


def _check_scores(make: Make) -> None:
    kinds = {"extreme": _EXTREMES, "failed": (math.nan,) * 8, "constant": (0.25,) * 14, "infinite": (math.inf,) * 8}
    for kind, scores in kinds.items():
        with _no_exception(f"{kind} scores"):
            strategy = make()
            strategy.start(list(_CONDITIONAL))
            for trial, score in enumerate(scores):
                strategy.observe(random_choices(_CONDITIONAL, _rng(trial)), score)
                if trial % 4 == 3 or trial == len(scores) - 1:
                    _propose(strategy, _CONDITIONAL, _rng(trial))
                    _check_beliefs(strategy, _CONDITIONAL)


def _check_odd_observations(make: Make) -> None:
    odd: list[Observation] = [
        ({"kind": "conv"}, 0.5),
        ({"kind": "dense", "lr": 0.01}, math.nan),
        ({"lr": 0.01}, 3.0),
        ({"kind": "conv", "kernel": 3, "lr": 0.05, "unknown": "value"}, 4.0),
        ({"kind": "conv", "units": 7, "lr": 0.05}, 5.0),
        ({"unknown": 1}, 6.0),
        ({}, 7.0),
    ]
    for before in (0, 12):
        with _no_exception("observations that lack decisions or have unknown ones"):
            strategy = _driven(make, _CONDITIONAL, _history(before))
            for choices, score in odd:
                strategy.advantage(dict(choices), score)
                strategy.observe(dict(choices), score)
                pending: list[Choices] = [{"kind": "conv"}, {"unknown": 1}, {}]
                _propose(strategy, _CONDITIONAL, _rng(before), pending)


def _check_opinions(make: Make) -> None:
    for trials in (0, 14):
        strategy = _driven(make, _CONDITIONAL, _history(trials))
        before = _proposals(strategy, _CONDITIONAL, 3)
        choices = random_choices(_CONDITIONAL, _rng(5))
        for score in (0.3, 1e300, -1e300, math.inf, math.nan):
            advantage = strategy.advantage(dict(choices), score)
            plain = advantage is None or (isinstance(advantage, float | int) and math.isfinite(advantage))
            _expect(plain, f"an advantage of score {score} that is a finite number or None", repr(advantage))
            _equal(strategy.advantage(dict(choices), score), advantage, "the same advantage when asked again")
        _check_beliefs(strategy, _CONDITIONAL)
        _equal(strategy.beliefs(), strategy.beliefs(), "the same beliefs when asked again")
        _same(_proposals(strategy, _CONDITIONAL, 3), before, "`advantage` and `beliefs` to leave the state as it was")


def _check_earlier(make: Make) -> None:
    earlier: list[Observation] = [
        *((random_choices(_CONDITIONAL, _rng(i)), 1e4 * math.cos(i)) for i in range(10)),
        (random_choices(_CONDITIONAL, _rng(11)), math.nan),
        ({"kind": "dense", "unknown": 3}, 1.0),
        ({}, math.inf),
    ]
    found = []
    for _ in range(2):
        strategy = make()
        strategy.start(list(_CONDITIONAL))
        with _no_exception("a point to begin with"):
            strategy.learn_points([random_choices(_CONDITIONAL, _rng(12))])
        with _no_exception("an earlier search"):
            strategy.learn_earlier(list(earlier))
            first = _proposals(strategy, _CONDITIONAL, 2)
            for choices, score in _history(10):
                strategy.observe(dict(choices), score)
            found.append(first + _proposals(strategy, _CONDITIONAL, 3))
    _same(found[1], found[0], "the same proposals after the same earlier search")
    with _no_exception("an earlier search without trials"):
        strategy = make()
        strategy.start(list(_CONDITIONAL))
        strategy.learn_earlier([])
        strategy.learn_points([])
        _propose(strategy, _CONDITIONAL, _rng(0))


def _check_exhausted(make: Make) -> None:
    strategy = make()
    strategy.start(list(_SMALL))
    everything = list(enumerate_choices(_SMALL))
    strategy.learn_points(everything[:1])
    for repeat in range(5):
        for i, choices in enumerate(everything):
            strategy.observe(dict(choices), i + 0.1 * repeat)
    _propose(strategy, _SMALL, _rng(0), everything)
    _propose(strategy, _SMALL, _rng(1))


def _check_beliefs(strategy: Strategy, decisions: Sequence[Decision]) -> None:
    beliefs = strategy.beliefs()
    if beliefs is None:
        return
    names = {decision.name for decision in decisions}
    _equal(set(beliefs), names, "beliefs about every decision, and about no other")
    for name, probabilities in beliefs.items():
        proper = all(-1e-9 <= p <= 1 + 1e-9 for p in probabilities.values())
        # 1e-6 is what single precision leaves of a sum of a few dozen values.
        proper = proper and abs(sum(probabilities.values()) - 1) < 1e-6
        _expect(proper, f"beliefs about {name!r} that are probabilities and sum to one", repr(probabilities))


def _propose(
    strategy: Strategy, decisions: Sequence[Decision], rng: np.random.Generator, pending: Sequence[Choices] = ()
) -> Choices:
    """Return a proposal that was checked against the space."""
    choices = strategy.propose(rng, [dict(p) for p in pending]) if pending else strategy.propose(rng)
    _expect(isinstance(choices, dict), "a dictionary of choices", repr(choices))
    made: Choices = {}
    for decision in decisions:
        if decision.name in made or not decision.is_active(made):
            continue
        _expect(decision.name in choices, f"a value for the active decision {decision.name!r}", repr(dict(choices)))
        value = choices[decision.name]
        _expect(type(value) in (bool, int, float, str), f"a plain Python scalar for {decision.name!r}", _typed(value))
        _expect(_is_value(decision, value), f"a value of {decision}", _typed(value))
        made[decision.name] = value
    _equal(set(choices), set(made), "values for active decisions only")
    if isinstance(choices, Proposal):
        _check_why(choices)
    return choices


def _check_why(proposal: Proposal) -> None:
    try:
        json.dumps(proposal.why, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"Expected a `why` that JSON can hold, got {proposal.why!r} ({error}).") from error
    probabilities = proposal.why.get("probabilities", {})
    _expect(set(probabilities) <= set(proposal), "probabilities of chosen values only", repr(probabilities))
    for name, p in probabilities.items():
        _expect(0 < p <= 1 + 1e-9, f"a probability in (0, 1] of the value of {name!r}", repr(p))


def _is_value(decision: Decision, value: Scalar) -> bool:
    if isinstance(decision, Range):
        kind = int if decision.integer else float
        return type(value) is kind and decision.low <= value <= decision.high
    assert isinstance(decision, Discrete)
    return any(type(value) is type(known) and value == known for known in decision.values)


def _history(trials: int) -> list[Observation]:
    """Return observations on the conditional space that no strategy proposed; every fourth failed."""
    return [(random_choices(_CONDITIONAL, _rng(1000 + i)), math.nan if i % 4 == 2 else math.sin(5 * i)) for i in range(trials)]


def _feed(strategy: Strategy, decisions: Sequence[Decision], history: Sequence[Observation]) -> None:
    strategy.start(list(decisions))
    for choices, score in history:
        strategy.observe(dict(choices), score)


def _driven(make: Make, decisions: Sequence[Decision], history: Sequence[Observation] | None = None) -> Strategy:
    strategy = make()
    _feed(strategy, decisions, _history(14) if history is None else history)
    return strategy


def _proposals(strategy: Strategy, decisions: Sequence[Decision], count: int) -> list[Choices]:
    return [_propose(strategy, decisions, _rng(300 + i)) for i in range(count)]


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _typed(value: object) -> str:
    return f"{value!r} of type {type(value).__name__}"


def _same(got: Sequence[Choices], expected: Sequence[Choices], what: str) -> None:
    reasons = [[p.why if isinstance(p, Proposal) else None for p in proposals] for proposals in (got, expected)]
    _equal([dict(p) for p in got], [dict(p) for p in expected], what)
    _equal(reasons[0], reasons[1], what + ", and the same reasons")


def _equal(got: object, expected: object, what: str) -> None:
    _expect(got == expected, what, f"{got!r} instead of {expected!r}")


def _expect(condition: bool, what: str, got: str) -> None:
    if not condition:
        raise AssertionError(f"Expected {what}, got {got}.")


@contextmanager
def _no_exception(what: str) -> Iterator[None]:
    """Turn what a strategy raises into a failed check, and say where a check failed."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{what}: Expected no exception, got {error!r}.") from error
