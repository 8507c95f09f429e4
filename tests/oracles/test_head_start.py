"""Initial points and earlier searches: all of them tried or told, none twice, mistakes refused in words."""

import json
import math

import keras_tuner as kt
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.oracles import RandomOracle, StrategyOracle
from kerasnas.record import SearchRecord
from kerasnas.strategies import RandomSearch

DEFAULTS = {"kind": "conv", "kernel": 3, "deep": False, "lr": 1e-4, "classes": 10}


class Learner(RandomSearch):
    """Remembers what it is told; proposes at random."""

    def start(self, decisions):
        super().start(decisions)
        self.told = []

    def learn_earlier(self, observations):
        self.told.append(list(observations))

    def observe(self, choices, score):
        self.told.append((choices, score))


def learner(**kwargs):
    return StrategyOracle(Learner(), **kwargs)


@pytest.fixture
def earlier(play):
    """Make the record of an earlier search with these (values, score), None for a failed trial."""

    def make(trials, *, direction="max", project="earlier", fn=play.declare):
        given = [values for values, _ in trials]
        oracle = play.make(
            RandomOracle,
            project=project,
            objective=kt.Objective("score", direction),
            max_trials=len(trials),
            initial_points=given,
            max_consecutive_failed_trials=99,
        )
        play.discover(oracle, fn)
        for _, score in trials:
            play.finish(oracle, oracle.create_trial("tuner0"), score)
        (play.folder / project / "search.json").write_text(json.dumps({"objective": "score", "direction": direction}))
        return SearchRecord.load(play.folder / project)

    return make


# -- initial points --


def test_points_come_first_in_order_and_are_completed_by_defaults(play):
    hp = kt.HyperParameters()
    hp.Choice("kind", ["conv", "dense"])
    with hp.conditional_scope("kind", ["conv"]):
        hp.Choice("kernel", [3, 5, 7])
    hp.values = {"kind": "dense", "kernel": 7}  # the kernel is not active: KerasTuner leaves such values behind
    points = [
        {"lr": 0.01, "kernel": 5},
        {},
        {"kind": "dense", "units": 500},
        {"lr": 1e-2, "kernel": 5},
        hp,
        {"deep": True, "layers": 4},
    ]
    oracle = play.make(RandomOracle, known=True, initial_points=points, max_trials=7)
    dense = {"kind": "dense", "lr": 1e-4, "classes": 10}
    trials = play.run(oracle)
    assert trials[:5] == [
        DEFAULTS | {"lr": 0.01, "kernel": 5},
        DEFAULTS,
        dense | {"units": 500},
        dense | {"units": 1},
        DEFAULTS | {"deep": True, "layers": 4},
    ]
    assert len(trials) == 7
    ledger = play.ledger()
    assert [entry["phase"] for entry in ledger] == ["initial point"] * 5 + ["random"] * 2
    assert [entry.get("point") for entry in ledger] == [0, 1, 2, 4, 5, None, None]


def test_points_run_at_once_and_failed_ones_are_not_lost_or_repeated(play):
    points = [{"kernel": kernel} for kernel in (3, 5, 7)]
    oracle = play.make(RandomOracle, known=True, initial_points=points, max_trials=5)
    running = [oracle.create_trial(f"tuner{i}") for i in range(4)]
    assert [t.hyperparameters.values.get("kernel") for t in running[:3]] == [3, 5, 7]
    for trial in running[:2]:
        play.finish(oracle, trial, None)
    assert play.step(oracle) not in [t.hyperparameters.values for t in running]


def test_points_wait_until_the_space_is_known(play):
    def late(hp):
        score = hp.Int("a", 0, 9)
        return score + (hp.Int("b", 0, 9) if len(hp.space) > 1 or score else 0)

    oracle = play.make(RandomOracle, initial_points=[{"a": 4}, {"a": 0}, {"a": 5}], max_trials=4)
    trials = play.run(oracle, late)
    # The first trial shows what the space is, with every default: that is the second point.
    assert [values["a"] for values in trials[:3]] == [0, 4, 5]


def test_a_point_that_fails_before_the_space_is_known_whole_is_not_tried_again(play):
    def grows(hp):
        a = hp.Int("a", 0, 9)
        if len(failed) == 0:
            failed.append(a)
            return None
        return a + hp.Int("late", 0, 3)

    failed = []
    oracle = play.make(RandomOracle, initial_points=[{"a": 4}, {"a": 5}], max_trials=4)
    hp = oracle.get_space()
    hp.Int("a", 0, 9)
    oracle.update_space(hp)
    play.run(oracle, grows)
    phases = [entry["phase"] for entry in play.ledger()]
    assert phases == ["initial point", "initial point", "random", "random"]


def test_entries_that_are_not_tuned_do_not_bring_a_point_back(play):
    hp = kt.HyperParameters()
    hp.Choice("kernel", [3, 5, 7])
    oracle = play.make(RandomOracle, hyperparameters=hp, tune_new_entries=False, initial_points=[{"kernel": 5}])
    trials = play.run(oracle, lambda hp: hp.Choice("kernel", [3, 5, 7]) + hp.Int("extra", 1, 9, default=4))
    assert trials[0]["kernel"] == 5
    assert sorted(values["kernel"] for values in trials) == [3, 5, 7]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"kernl": 3}, r"initial_points\[1\].*'kernl'.*did you mean 'kernel'"),
        ({"xyz": 3}, r"'xyz'.*the space has \['kind', 'kernel'"),
        ({"kernel": 4}, r"kernel=4; expected one of 3, 5, 7"),
        ({"kernel": "3"}, r"kernel='3'"),
        ({"kind": "rnn"}, r"expected one of 'conv', 'dense'"),
        ({"deep": 1}, r"deep=1; expected one of False, True"),
        ({"lr": 0.5}, r"lr=0.5; expected a number from 0.0001 to 0.1"),
        ({"lr": float("nan")}, r"lr=nan"),
        ({"lr": True}, r"lr=True"),
        ({"kind": "dense", "units": 2.5}, r"units=2.5; expected an integer from 1 to 500"),
        ({"kind": "dense", "kernel": 3}, r"'kernel', which is not active there: that needs kind in \['conv'\]"),
        ({"units": 3}, r"'units', which is not active there: that needs kind in \['dense'\]"),
        ({"classes": 11}, r"classes=11; expected one of 10"),
    ],
)
def test_a_point_outside_the_space_is_refused_before_anything_runs(point, message, play):
    oracle = play.make(RandomOracle, known=True, initial_points=[{}, point])
    for _ in range(2):  # and leaves the lock free
        with pytest.raises(InvalidArgument, match=message):
            oracle.create_trial("tuner0")
    assert oracle.trials == {}


@pytest.mark.parametrize("points", [{"a": 1}, "abc", 3, [3], [{1: 2}], [{"a": [1]}], [{"a": None}]])
def test_what_is_no_list_of_points_is_refused_at_once(points):
    with pytest.raises(InvalidArgument, match="initial"):
        RandomOracle(initial_points=points)


# -- warm start --


def test_a_strategy_that_learns_is_told_the_earlier_trials_and_decides_alone(earlier, play):
    record = earlier([({"kernel": 5}, 0.5), ({"kind": "dense", "units": 7}, 0.9), ({"kernel": 7}, None)], direction="min")
    oracle = play.make(learner, known=True, warm_start=record, max_trials=3)
    play.run(oracle)
    told = oracle.strategy.told
    assert [choices for choices, _ in told[0]] == [
        DEFAULTS | {"kernel": 5},
        {"kind": "dense", "units": 7, "lr": 1e-4, "classes": 10},
        DEFAULTS | {"kernel": 7},
    ]
    assert [score for _, score in told[0][:2]] == [-0.5, -0.9]  # higher is better
    assert math.isnan(told[0][2][1])
    assert len(told) == 1 + 3
    assert oracle.earlier_trials() == (3, 3)
    assert [(entry["phase"], entry["earlier"]) for entry in play.ledger()] == [("random", 3)] * 3


def test_earlier_trials_are_cut_to_what_this_space_can_do(earlier, play):
    def other(hp):
        hp.Choice("kernel", [5, 9])  # no scope here; 3 and 7 are unknown
        hp.Float("lr", 1e-3, 1.0, sampling="log")
        hp.Boolean("new")

    record = earlier([({"kernel": 5, "lr": 0.01}, 1.0), ({"kernel": 7, "lr": 0.02}, 2.0), ({"kernel": 3}, 3.0)])
    oracle = play.make(learner, warm_start=record)
    play.discover(oracle, other)
    oracle.create_trial("tuner0")
    assert oracle.strategy.told == [[({"kernel": 5, "lr": 0.01}, 1.0), ({"lr": 0.02}, 2.0)]]
    assert oracle.earlier_trials() == (2, 3)


def test_the_number_of_usable_trials_is_said_once(earlier, play, capsys):
    record = earlier([({"kernel": 5}, 1.0), ({"kernel": 7}, None)])
    oracle = play.make(RandomOracle, known=True, warm_start=record)
    oracle.verbose = 1
    play.step(oracle), play.step(oracle)
    assert capsys.readouterr().out.count("Warm start: 2 of 2 earlier trials can be used.") == 1


def test_several_earlier_searches_are_told_one_by_one(earlier, play):
    records = [earlier([({"kernel": k}, 1.0 * k)], project=f"earlier{k}") for k in (3, 5)]
    oracle = play.make(learner, known=True, warm_start=records)
    oracle.create_trial("tuner0")
    assert [[score for _, score in search] for search in oracle.strategy.told] == [[3.0], [5.0]]


def test_for_any_other_strategy_the_three_best_are_tried_first(earlier, play):
    scores = {3: 0.1, 5: 0.9, 7: 0.5}
    trials = [({"kernel": k}, s) for k, s in scores.items()] + [({"kind": "dense"}, 0.7), ({"deep": True}, None)]
    oracle = play.make(RandomOracle, known=True, warm_start=earlier(trials), initial_points=[{"kernel": 7}], max_trials=5)
    tried = play.run(oracle)
    assert [values.get("kernel", "dense") for values in tried[:3]] == [7, 5, "dense"]  # 7 is third of the best, too
    phases = [entry["phase"] for entry in play.ledger()]
    assert phases == ["initial point", "warm start", "warm start", "random", "random"]


def test_the_best_of_several_searches_come_in_turn(earlier, play):
    first = earlier([({"kernel": 3}, 100.0), ({"kernel": 5}, 99.0)], project="one")
    second = earlier([({"kernel": 7}, 0.1), ({"kernel": 3}, 0.05)], project="two")  # in another unit
    oracle = play.make(RandomOracle, known=True, warm_start=[first, second], max_trials=4)
    assert [values.get("kernel") for values in play.run(oracle)[:3]] == [3, 7, 5]


def test_an_earlier_search_of_another_space_is_refused(earlier, play):
    record = earlier([({"kernel": 5}, 1.0)])
    oracle = play.make(RandomOracle, warm_start=record)
    play.discover(oracle, lambda hp: hp.Choice("width", [1, 2]))
    with pytest.raises(InvalidArgument, match=r"None of the 1 trials.*\['width'\].*'kernel'"):
        oracle.create_trial("tuner0")


def test_a_shared_constant_is_nothing_to_learn_from(earlier, play):
    oracle = play.make(RandomOracle, warm_start=earlier([({"kernel": 5}, 1.0)]))
    play.discover(oracle, lambda hp: (hp.Fixed("classes", 10), hp.Boolean("other")))
    with pytest.raises(InvalidArgument, match="None of the 1 trials"):
        oracle.create_trial("tuner0")


@pytest.mark.parametrize("wrong", ["folder", 3, {"a": 1}, [3]])
def test_what_is_no_record_is_refused_at_once(wrong):
    with pytest.raises(InvalidArgument, match="SearchRecord"):
        RandomOracle(warm_start=wrong)


def test_a_record_without_ended_trials_is_refused_at_once(play):
    play.make(RandomOracle, known=True, project="begun").create_trial("tuner0")
    record = SearchRecord.load(play.folder / "begun")
    with pytest.raises(InvalidArgument, match="has ended"):
        RandomOracle(warm_start=record)


def test_a_resumed_search_goes_by_the_head_start_on_disk(earlier, play):
    record = earlier([({"kernel": 5}, 1.0), ({"kind": "dense", "units": 3}, 2.0)])
    points = [{"kernel": 7}, {"kernel": 3, "lr": 0.1}]
    whole = play.make(RandomOracle, known=True, project="whole", initial_points=points, warm_start=record)
    expected = play.run(whole)
    for given in ({}, {"initial_points": [{"lr": 0.05}]}):
        project = f"killed{len(given)}"
        first = play.make(RandomOracle, known=True, project=project, initial_points=points, warm_start=record)
        trials = [play.step(first)]
        second = play.make(RandomOracle, project=project, **given)
        second.reload()
        assert trials + play.run(second) == expected
        assert play.ledger(project) == play.ledger("whole")


def test_a_mistaken_point_can_be_mended_in_the_same_folder(play):
    oracle = play.make(RandomOracle, known=True, initial_points=[{"kernel": 4}])
    oracle.save()
    with pytest.raises(InvalidArgument, match="kernel=4"):
        oracle.create_trial("tuner0")
    mended = play.make(RandomOracle, initial_points=[{"kernel": 5}])
    mended.reload()
    assert play.step(mended)["kernel"] == 5


def test_of_two_entries_of_one_name_the_first_that_is_active_is_asked(play, earlier):
    def own(hp):
        return hp.Choice("kernel", [3, 5, 7]) + hp.Boolean("deep")

    record = earlier([({"kernel": 7, "deep": True}, 1.0), ({"kernel": 3, "deep": False}, 0.0)], fn=own)
    hp = kt.HyperParameters()
    hp.Choice("kernel", [3, 5])
    oracle = play.make(RandomOracle, hyperparameters=hp, warm_start=record, max_trials=1)
    larger = oracle.get_space()
    larger.Boolean("deep")
    with larger.conditional_scope("deep", [True]):
        larger.Choice("kernel", [3, 5, 7])
    oracle.update_space(larger)
    trial = oracle.create_trial("tuner0")
    assert trial.hyperparameters.values == {"kernel": 3, "deep": True}  # 7 is not in the narrower space
