"""A space written with plain loops is searched as if its conditions had been stated."""

import json
from pathlib import Path

import pytest

from kerasnas.oracles import DynaOracle, EvolutionOracle, RandomOracle
from kerasnas.record import SearchRecord
from kerasnas.search.asked import asked

WIDTHS = (16, 32, 64, 128)


def build(hp, widths=WIDTHS):
    """One to three layers; returns the score."""
    layers = hp.Int("layers", 1, 3, default=3)
    return -layers + sum(hp.Choice(f"units_{i}", widths) for i in range(layers)) / 100


def build_few(hp):
    """Two widths: 14 networks in all."""
    return build(hp, WIDTHS[:2])


def network(values):
    return tuple(values[f"units_{i}"] for i in range(values["layers"]))


@pytest.fixture
def end(play):
    """End a trial as `NASTuner` does: its history says what its HyperModel asked for."""

    def end(oracle, trial, build=build):
        names: list[str] = []
        with asked(trial.hyperparameters, names):
            score = build(trial.hyperparameters)
        folder = Path(oracle._get_trial_dir(trial.trial_id))
        folder.mkdir(exist_ok=True)
        (folder / "history.json").write_text(json.dumps({"asked": names}))
        play.finish(oracle, trial, score)

    return end


@pytest.fixture
def begin(play):
    def begin(cls, project="p", build=build, **kwargs):
        kwargs = {"max_trials": None} | kwargs
        folder = play.folder / project
        oracle = play.make(cls, project=project, **kwargs)
        if (folder / "oracle.json").exists():
            oracle.reload()
        else:
            play.discover(oracle, build)
        return oracle

    return begin


@pytest.mark.parametrize("cls", [RandomOracle, EvolutionOracle])
@pytest.mark.parametrize("pairs", [False, True])
def test_hardly_any_network_is_tried_twice_and_all_are_tried(cls, pairs, play, begin, end):
    oracle = begin(cls, build=build_few)
    if pairs:
        play.run_pairs(oracle, lambda oracle, trial: end(oracle, trial, build_few))
    else:
        while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
            end(oracle, trial, build_few)
    tried = [network(trial.values) for trial in SearchRecord.load(play.folder / "p").trials]
    assert len(set(tried)) == 14
    assert len(tried) <= 17  # of 24 configurations; some before the rules are known


def test_the_strategy_hears_only_of_what_a_network_used(play, begin, end):
    oracle = begin(play.listener)
    for _ in range(14):
        end(oracle, oracle.create_trial("tuner0"))
    assert len(oracle.strategy.told) == 14
    for choices, _ in oracle.strategy.told:
        assert set(choices) == {"layers", *(f"units_{i}" for i in range(choices["layers"]))}
    # KerasTuner has a value for each hyperparameter: the default of what nothing is going to ask for.
    left_out = []
    for trial, entry in zip(SearchRecord.load(play.folder / "p").trials, play.ledger(), strict=True):
        assert set(trial.values) == {"layers", "units_0", "units_1", "units_2"}
        left_out += [(name, trial) for name in trial.values if name not in entry["values"]]
    assert left_out
    for name, trial in left_out:
        assert name in trial.unused
        assert trial.values[name] == WIDTHS[0]


def test_what_is_asked_for_against_the_rule_has_its_default_and_ends_the_rule(play, begin, end):
    oracle = begin(play.listener)
    for _ in range(14):
        end(oracle, oracle.create_trial("tuner0"))
    assert oracle._replayed.decisions[-1].conditions  # of units_2

    def wilful(hp):
        for i in range(3):
            hp.Choice(f"units_{i}", WIDTHS)
        return build(hp)

    layers = 3
    while layers == 3:
        trial = oracle.create_trial("tuner0")
        end(oracle, trial, wilful)
        layers = trial.hyperparameters.values["layers"]
    assert trial.hyperparameters.values["units_2"] == WIDTHS[0]
    assert "units_2" not in play.ledger()[-1]["values"]
    assert not oracle._replayed.decisions[-1].conditions
    assert all("units_2" in choices for choices, _ in oracle.strategy.told)


@pytest.mark.parametrize("cls", [RandomOracle, EvolutionOracle, pytest.param(DynaOracle, marks=pytest.mark.slow)])
def test_a_search_that_is_resumed_before_each_trial_is_the_uninterrupted_one(cls, play, begin, end):
    points = [{"layers": 1, "units_2": 32}, {"layers": 1, "units_1": 32}, {"layers": 2, "units_2": 32}]
    oracle = begin(cls, "whole", max_trials=13, initial_points=points)
    for _ in range(13):
        end(oracle, oracle.create_trial("tuner0"))
    for _ in range(13):
        oracle = begin(cls, "parts", max_trials=13, initial_points=points)
        end(oracle, oracle.create_trial("tuner0"))
    assert play.history("parts") == play.history("whole")
    phases = [entry["phase"] for entry in play.ledger("parts")]
    assert phases.count("initial point") >= 2  # a rule may make twins of them
    assert oracle.recommend().values == dict(SearchRecord.load(play.folder / "whole").preferred.values)


def test_a_trial_that_is_damaged_is_run_again_with_the_values_that_it_had(play, begin, end):
    oracle = begin(RandomOracle)
    for _ in range(14):
        end(oracle, oracle.create_trial("tuner0"))
    ledger = play.ledger()
    number = next(i for i, entry in reversed(list(enumerate(ledger))) if len(entry["values"]) < 4)
    before = SearchRecord.load(play.folder / "p").trials[number]
    (play.folder / "p" / f"trial_{before.trial_id}" / "trial.json").write_text("{")
    with pytest.warns(UserWarning, match="is lost; it is run again|not whole"):
        resumed = begin(RandomOracle)
    trial = resumed.create_trial("tuner0")
    assert trial.trial_id == before.trial_id
    assert trial.hyperparameters.values == dict(before.values)


def test_a_worker_waits_while_a_trial_that_runs_may_contradict_a_rule(play, begin, end):
    oracle = begin(RandomOracle, build=build_few)
    oracle.allow_new_entries = False
    running = oracle.create_trial("tuner0")
    while (trial := oracle.create_trial("tuner1")).status == "RUNNING":
        end(oracle, trial, build_few)
    assert oracle._replayed.has_learned
    assert trial.status == "IDLE"
    end(oracle, running, build_few)
    assert oracle.create_trial("tuner1").status == "STOPPED"


def test_nothing_is_waited_for_where_no_trial_can_change_the_space(play):
    oracle = play.make(RandomOracle)
    play.discover(oracle, lambda hp: hp.Boolean("a"))
    oracle.allow_new_entries = False
    assert [oracle.create_trial(f"tuner{i}").status for i in range(3)] == ["RUNNING", "RUNNING", "STOPPED"]
