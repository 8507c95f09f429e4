"""What costs too much is brought within the limits, a decision at a time."""

import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.oracles import DynaOracle, EvolutionOracle, RandomOracle
from kerasnas.oracles.rejections import Rejected, Rejection, read_rejected
from kerasnas.oracles.repair import _lower, repair
from kerasnas.record import SearchRecord
from kerasnas.strategies import Discrete, Range
from kerasnas.strategies.space import identity

NAMES = "abcdefgh"
DECISIONS = [Discrete(name=name, values=(1, 2, 4, 8, 16)) for name in NAMES]
WIDEST = dict.fromkeys(NAMES, 16)


def cost(values):
    return math.prod(values[name] for name in NAMES)


def rejected(values, limit, phase="repair"):
    return Rejected(dict(values), "too much", None, 0, 0, phase, excess=(cost(values) / limit, cost(values)))


@given(st.integers(0, 30), st.integers(0, 1000))
def test_each_step_changes_one_decision_until_the_limit_is_kept(power, seed):
    limit = 2**power
    chain = [rejected(WIDEST, limit, "policy")]
    tried = {identity(DECISIONS, WIDEST)}
    while chain[-1].excess[0] > 1:
        step = repair(DECISIONS, chain, tried, [seed])
        if step is None:
            assert len(chain) > 60
            break
        best = min(chain, key=lambda one: one.excess).values
        assert 1 in [sum(step[name] != start[name] for name in NAMES) for start in (best, WIDEST)]
        assert identity(DECISIONS, step) not in tried
        assert step.why["phase"] == "repair"
        assert step.why["parent"] == WIDEST
        assert step.why["mutation"] == {name: [16, step[name]] for name in NAMES if step[name] != 16}
        assert step == repair(DECISIONS, chain, tried, [seed])
        tried.add(identity(DECISIONS, step))
        chain.append(rejected(step, limit))
    # From 2^32: eight decisions at two values below the middle in the mean, two or three turns.
    assert power < 8 or chain[-1].excess[0] <= 1


ORDERED = [
    Discrete(name="kind", values=("conv", "separable")),
    Discrete(name="width", values=(4, 8, 16), ordered=True),
    Range(name="depth", low=1, high=3, integer=True),
    Range(name="rate", low=0.0, high=1.0),
]


@pytest.mark.parametrize("seed", range(8))
def test_numbers_are_lowered_before_anything_else_is_changed(seed):
    def excess(values):
        much = values["width"] * values["depth"] * (1 if values["kind"] == "separable" else 3)
        return much / 5, much

    def rejected(values, phase):
        return Rejected(dict(values), "too much", None, 0, 0, phase, excess=excess(values))

    chain = [rejected({"kind": "conv", "width": 16, "depth": 3, "rate": 0.5}, "policy")]
    while chain[-1].excess[0] > 1:
        tried = {identity(ORDERED, one.values) for one in chain}
        chain.append(rejected(repair(ORDERED, chain, tried, [seed]), "repair"))
    kinds = [one.values["kind"] for one in chain]
    lowest = next(i for i, one in enumerate(chain) if (one.values["width"], one.values["depth"]) == (4, 1))
    assert set(kinds[: lowest + 1]) == {"conv"}  # 12 / 5: numbers alone are not enough
    assert kinds[-1] == "separable"
    assert (chain[-1].values["width"], chain[-1].values["depth"]) == (4, 1)
    assert chain[-1].values["rate"] == 0.5  # which costs nothing, and led nowhere
    assert sum(one.values["rate"] != 0.5 for one in chain) <= 2
    assert len(chain) <= 12


def test_what_alone_does_most_is_lowered_further():
    """Halving the width divides the cost by four, a layer less takes off a third, and the rate costs nothing."""

    def rejected(values, phase="repair"):
        much = values["width"] ** 2 * values["depth"]
        return Rejected(dict(values), "too much", None, 0, 0, phase, excess=(much / 48, much))

    chain = [rejected({"kind": "conv", "width": 16, "depth": 3, "rate": 0.5}, "policy")]
    while chain[-1].excess[0] > 1:
        tried = {identity(ORDERED, one.values) for one in chain}
        chain.append(rejected(repair(ORDERED, chain, tried, [0])))
    assert chain[-1].values == {"kind": "conv", "width": 4, "depth": 3, "rate": 0.5}
    assert len(chain) == 1 + 3 + 1  # each alone, and then the width again


def test_decisions_take_turns():
    # Nothing helps: each decision is changed once before any is changed again, and not in the order of the space.
    chain = [rejected(WIDEST, 1, "policy")]
    changed = []
    for _ in NAMES:
        step = repair(DECISIONS, chain, {identity(DECISIONS, one.values) for one in chain}, [3])
        changed += step.why["mutation"]
        chain.append(Rejected(dict(step), "too much", None, 0, 0, "repair", excess=(1e12, 1e12)))
    assert sorted(changed) == list(NAMES) != changed


@pytest.mark.parametrize("decisions", [[Discrete(name="a", values=(16,))], [Discrete(name="a", values=(1, 16))]])
def test_where_nothing_can_be_changed_nothing_is(decisions):
    chain = [Rejected({"a": 16}, "too much", None, 0, 0, "policy", excess=(2.0, 2.0))]
    assert repair(decisions, chain, {(("a", 1),), (("a", 16),)}, [0]) is None
    assert repair(decisions, [], set(), [0]) is None


@pytest.mark.parametrize("excess", [5, "ab", [1.0], [1.0, "2"], [1.0, 2.0, 3.0], {"a": 1, "b": 2}])
def test_an_excess_that_is_none_is_damage(excess):
    whole = json.loads(json.dumps(vars(rejected(WIDEST, 5))))
    assert read_rejected(whole) == rejected(WIDEST, 5)
    with pytest.raises(ValueError, match="expected a rejected proposal"):
        read_rejected(whole | {"excess": excess})


def declare(hp):
    for name in NAMES:
        hp.Choice(name, [1, 2, 4, 8, 16])
    hp.Float("lr", 0.0, 1.0)


def screen(limit):
    def check(hp):
        much = cost(hp.values)
        return Rejection(f"{much:,}; at most {limit:,} are allowed", excess=(much / limit, much)) if much > limit else None

    return check


@pytest.mark.parametrize("cls", [RandomOracle, EvolutionOracle, DynaOracle])
def test_a_tight_limit_is_kept_without_hundreds_of_proposals(cls, play):
    # Of random configurations 1 in 2,400 costs at most 2^3: without repair a search would end before its first trial.
    drawn = np.random.default_rng(0).integers(0, 5, (100_000, 8)).sum(axis=1)
    assert np.mean(drawn <= 3) < 1 / 2000
    oracle = play.make(cls, max_trials=12)
    play.discover(oracle, declare)
    oracle.screen = screen(2**3)
    trials = play.run(oracle, lambda hp: math.log2(cost(hp.values)) - hp.get("lr"))
    assert len(trials) == 12
    assert max(map(cost, trials)) <= 2**3
    assert len({json.dumps(values, sort_keys=True) for values in trials}) == 12
    ledger = play.ledger()
    assert ledger[0]["phase"] == "repair"
    record = SearchRecord.load(play.folder / "p")
    assert len(record.rejected) < 12 * 40
    # The best within the limits is on the limit, and repair ends near it.
    assert np.median([cost(values) for values in trials]) >= 2**2


def test_an_initial_point_is_repaired_and_the_strategy_is_told_of_that_point_alone(play, capsys):
    point = dict(WIDEST) | {"a": 1, "lr": 0.25}
    oracle = play.make(play.listener, max_trials=1, initial_points=[point])
    oracle.verbose = 1
    play.discover(oracle, declare)
    oracle.screen = screen(2**20)
    (trial,) = play.run(oracle, lambda hp: 0.5)
    assert "The initial point" in (said := capsys.readouterr().out)
    assert "is not tried as it is: 268,435,456; at most 1,048,576" in said
    (entry,) = play.ledger()
    assert entry["phase"] == "repair"
    assert entry["parent"] == point
    assert entry["mutation"] == {name: [point[name], trial[name]] for name in point if point[name] != trial[name]}
    assert entry["rejected"] == len(SearchRecord.load(play.folder / "p").rejected) > 1
    assert [choices for choices, _ in oracle.strategy.told] == [point, trial]
    assert math.isnan(oracle.strategy.told[0][1])


def test_a_plateau_is_crossed(play):
    """The cost is that of the widest: as long as there are several, narrowing one of them lowers only all costs together."""

    def check(hp):
        widest, much = max(hp.get(name) for name in NAMES), cost(hp.values)
        return Rejection(f"{widest} is too wide", excess=(widest / 4, math.log(much))) if widest > 4 else None

    for seed in range(10):
        oracle = play.make(RandomOracle, project=str(seed), seed=seed, max_trials=3)
        play.discover(oracle, declare)
        oracle.screen = check
        assert len(play.run(oracle, lambda hp: 0.5)) == 3
        # 1 of 60 random configurations is narrow enough.
        assert max(entry["rejected"] for entry in play.ledger(str(seed))) <= 40


def test_repairs_that_failed_are_forgotten_once_their_trial_has_begun(play):
    oracle = play.make(RandomOracle, max_trials=4)
    play.discover(oracle, declare)
    oracle.screen = screen(2**6)
    play.run(oracle, lambda hp: 0.5)
    rejected = json.loads((play.folder / "p" / "oracle.json").read_text())["rejected"]
    last = max(one["number"] for one in rejected)
    assert {one["number"] for one in rejected if one["phase"] == "repair"} == {last}
    assert {one["number"] for one in rejected} == set(range(4))
    assert sum(entry["rejected"] for entry in play.ledger()) > len(rejected)


@pytest.mark.parametrize(
    ("decision", "value", "lower"),
    [
        (Discrete(name="a", values=(4, 8, 16), ordered=True), 16, [8, 4]),
        (Discrete(name="a", values=(16, 8, 4), ordered=True), 8, [4]),
        (Discrete(name="a", values=(4, 8, 16)), 16, []),
        (Discrete(name="a", values=tuple(range(100)), ordered=True), 99, [49, 24, 12, 6, 3, 1, 0]),
        (Range(name="a", low=1, high=3, integer=True), 3, [2, 1]),
        (Range(name="a", low=1, high=3, integer=True), 1, []),
        (Range(name="a", low=0.0, high=1.0), 0.0, []),
    ],
)
def test_lower_values_of_few(decision, value, lower):
    assert _lower(decision, value) == lower


@given(st.integers(1, 1000), st.booleans())
def test_lower_values_of_many_reach_the_lowest_in_few_steps(value, log):
    lower = _lower(Range(name="a", low=1, high=1000, integer=True, scale="log" if log else "linear"), value)
    assert lower == sorted(set(lower), reverse=True)
    assert len(lower) <= 8
    assert (lower[-1] == 1 and lower[0] < value) if value > 1 else lower == []


def test_a_point_that_cannot_be_repaired_is_given_up_and_others_have_their_turn(play):
    points = [{"a": 16}, {"a": 2, "b": 2}]
    oracle = play.make(RandomOracle, max_trials=2, initial_points=points)
    play.discover(oracle, declare)
    left = iter([Rejection("too much", excess=(1e9, 1e9))] * 32)
    oracle.screen = lambda hp: next(left, None)
    first, _ = play.run(oracle, lambda hp: 0.5)
    assert (first["a"], first["b"]) == (2, 2)
    assert play.ledger()[0]["phase"] == "initial point"
    assert play.ledger()[0]["rejected"] == 32


def test_twins_on_the_way_are_passed_over(play):
    oracle = play.make(RandomOracle, max_trials=3)
    play.discover(oracle, declare)
    within = screen(2**9)

    def check(hp):
        for trial in oracle.trials.values():
            if all(trial.hyperparameters.get(name) == hp.get(name) for name in NAMES):
                return Rejection("the same", trial.trial_id)
        return within(hp)

    oracle.screen = check
    trials = play.run(oracle, lambda hp: 0.5)
    assert len({tuple(values[name] for name in NAMES) for values in trials}) == 3
    assert max(map(cost, trials)) <= 2**9


def test_a_resumed_search_repairs_as_the_uninterrupted_one(play, kill_after):
    def begin(project, *, resumed=False):
        oracle = play.make(EvolutionOracle, project=project, max_trials=5)
        play.discover(oracle, declare)
        oracle.screen = screen(2**6)
        oracle.reload() if resumed else oracle.save()
        return oracle

    def score(hp):
        return math.log2(cost(hp.values)) - hp.get("lr")

    play.run(begin("whole"), score)
    expected = play.history("whole")
    assert len(expected[0]) == 5
    assert {one["phase"] for one in expected[1]} > {"repair"}
    for writes in (1, 2, 3, 6, 9, 13):
        shutil.rmtree(play.folder / "killed", ignore_errors=True)
        oracle = begin("killed")
        with kill_after(writes):
            play.run(oracle, score)
        play.run(begin("killed", resumed=True), score)
        assert play.history("killed") == expected
