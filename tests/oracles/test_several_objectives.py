"""Searches with several objectives: scores that compare, a strategy that is told the present ones, and exact resumes."""

import json
import math
import shutil

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.oracles import DynaOracle, EvolutionOracle, RandomOracle, ReinforceOracle
from kerasnas.pareto import hypervolume, weighted_scores
from kerasnas.record import SearchRecord
from kerasnas.strategies import Discrete, Evolution, RandomSearch
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

OBJECTIVES = [kt.Objective("accuracy", "max"), kt.Objective("size", "min")]


def finish(oracle, trial, values):
    """End a trial with (accuracy, size), or as failed."""
    if values is None:
        trial.status, trial.message = "FAILED", "out of luck"
    else:
        metrics = {"accuracy": values[0], "size": values[1]}
        metrics["multi_objective"] = oracle.objective.get_value(metrics)
        oracle.update_trial(trial.trial_id, metrics)
        trial.status = "COMPLETED"
    oracle.end_trial(trial)


def run(oracle, results):
    for values in results:
        finish(oracle, oracle.create_trial("tuner0"), values)


def scores(oracle):
    return [trial.score for trial in oracle.trials.values()]


def test_a_score_is_the_front_and_the_place_there_and_changes_with_what_comes(play):
    oracle = play.make(RandomOracle, known=True, objective=OBJECTIVES)
    run(oracle, [(0.5, 5e6)])
    assert scores(oracle) == [0.0]
    run(oracle, [(0.4, 6e6)])
    assert scores(oracle) == [0.0, 1.0]
    run(oracle, [(0.6, 4e6), None, (0.1, 1e5), (0.9, 9e6)])
    # Front: 2, 4 and 5; its knee is 2.
    assert scores(oracle) == [1.0, 2.0, 0.0, None, pytest.approx(1 / 3), pytest.approx(1 / 3)]
    assert [t.trial_id for t in oracle.get_best_trials(3)] == ["02", "04", "05"]
    assert oracle.trials["00"].metrics.get_direction("accuracy") == "max"
    assert oracle.trials["00"].metrics.get_direction("size") == "min"
    written = json.loads((play.folder / "p" / "trial_00" / "trial.json").read_text())
    assert written["score"] == 0.0  # as it was at its end
    record = SearchRecord.load(play.folder / "p")
    assert [t.score for t in record.trials] == scores(oracle)
    assert record.best == record.knee_point() == record.trials[2]
    resumed = play.make(RandomOracle, objective=OBJECTIVES)
    resumed.reload()
    assert scores(resumed) == scores(oracle)
    assert oracle.recommend().values == dict(record.preferred.values)


def test_no_unit_counts(play):
    results = [(0.1 * (i * 7 % 10), 3 * (i * 3 % 10) + 1) for i in range(10)]
    told = []
    for scale in (1e-9, 1.0, 1e12):
        oracle = play.make(play.listener, known=True, project=str(scale), objective=OBJECTIVES)
        run(oracle, [(accuracy, size * scale) for accuracy, size in results])
        told.append((scores(oracle), [score for _, score in oracle.strategy.told]))
    assert told[0] == told[1] == told[2]


def test_the_strategy_is_told_the_scores_of_now_and_is_begun_anew_only_if_they_changed(play):
    oracle = play.make(play.listener, known=True, objective=OBJECTIVES)
    results = [(0.5, 5.0), (0.4, 6.0), None, (0.6, 4.0), (0.9, 9.0)]
    starts = []
    for values in results:
        run(oracle, [values])
        starts.append(oracle.strategy.starts)
    told = [score for _, score in oracle.strategy.told]
    assert math.isnan(told[2])
    done = [values for values in results if values]
    expected = -weighted_scores([[accuracy, -size] for accuracy, size in done])
    assert [score for score in told if score == score] == expected.tolist()
    assert [choices for choices, _ in oracle.strategy.told] == [t.hyperparameters.values for t in oracle.trials.values()]
    # The second is behind the first, which changes nothing, as a failure does not.
    assert starts[0] == starts[1] == starts[2] < starts[3]
    before = oracle.strategy.starts
    oracle.create_trial("tuner0")
    assert oracle.strategy.starts == before


def test_the_ledger_keeps_the_advantage_at_the_end_of_the_trial(play):
    oracle = play.make(play.listener, known=True, objective=OBJECTIVES)
    results = [(0.5, 5.0), (0.6, 4.0), (0.1, 6.0), (0.7, 3.0)]
    run(oracle, results)
    told = [-weighted_scores([[accuracy, -size] for accuracy, size in results[: n + 1]]) for n in range(4)]
    expected = [0.0, *(float(scores[-1] - scores[:-1].max()) for scores in told[1:])]
    assert [entry["advantage"] for entry in play.ledger()] == expected
    assert [np.sign(advantage) for advantage in expected] == [0, 1, -1, 1]
    assert [entry["observed"] for entry in play.ledger()] == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_objective_that_is_not_finite_fails_the_trial(bad, play):
    oracle = play.make(RandomOracle, known=True, objective=OBJECTIVES)
    run(oracle, [(0.5, 5.0), (0.5, bad), (0.7, 3.0)])
    assert [t.status for t in oracle.trials.values()] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert "'size' was" in oracle.trials["01"].message
    assert scores(oracle) == [1.0, None, 0.0]


def end(oracle, trial):
    hp = trial.hyperparameters
    size = hp.get("kernel") ** 2 if hp.get("kind") == "conv" else hp.get("units")
    fails = hp.get("kind") == "dense" and hp.get("lr") > 0.01
    finish(oracle, trial, None if fails else (-abs(math.log10(hp.get("lr")) + 3) + math.log(size), size))


@pytest.mark.parametrize(
    "cls", [RandomOracle, EvolutionOracle, ReinforceOracle, pytest.param(DynaOracle, marks=pytest.mark.slow)]
)
def test_a_resumed_search_goes_on_exactly(cls, play, kill_after):
    settings = {"objective": OBJECTIVES, "max_trials": 14, "max_consecutive_failed_trials": 99}
    whole = play.make(cls, project="whole", known=True, **settings)
    play.run_pairs(whole, end)
    expected = play.history("whole")
    assert len(expected[0]) == 14

    for writes in (1, 11, 28):
        shutil.rmtree(play.folder / "killed", ignore_errors=True)
        first = play.make(cls, project="killed", known=True, **settings)
        first.save()
        with kill_after(writes):
            play.run_pairs(first, end)
        second = play.make(cls, project="killed", **settings | {"seed": 99})
        second.reload()
        play.run_pairs(second, end)
        assert play.history("killed") == expected


def test_a_list_of_one_objective_is_searched_for_as_that_objective(play):
    oracle = play.make(play.listener, known=True, objective=[kt.Objective("size", "min")])
    for size in (3.0, 1.0, 2.0, 1.0):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"size": size})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert scores(oracle) == [3.0, 1.0, 2.0, 1.0]
    assert [score for _, score in oracle.strategy.told] == [-3.0, -1.0, -2.0, -1.0]
    record = SearchRecord.load(play.folder / "p")
    assert [t.trial_id for t in record.pareto_front()] == ["01", "03"]
    assert record.hypervolume({"size": 4.0}) == 3.0


def test_a_folder_whose_list_of_one_was_scored_by_fronts_goes_on_with_the_values(play):
    first = play.make(play.listener, known=True, objective=[kt.Objective("size", "max")])
    for size in (3.0, 1.0, 2.0):
        trial = first.create_trial("tuner0")
        first.update_trial(trial.trial_id, {"size": size})
        trial.status = "COMPLETED"
        first.end_trial(trial)
    for file in (play.folder / "p").glob("trial_*/trial.json"):  # as version 0.1 wrote them
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"score": 3.0 - content["score"]}))
    state = play.folder / "p" / "oracle.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"objectives": [{"name": "size", "direction": "max"}]}))
    again = play.make(play.listener, objective=[kt.Objective("size", "max")])
    again.reload()
    assert scores(again) == [3.0, 1.0, 2.0]
    assert again.get_best_trials()[0].trial_id == "00"
    record = SearchRecord.load(play.folder / "p")
    assert [trial.score for trial in record.trials] == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(("objective", "trained"), [(OBJECTIVES, False), (kt.Objective("size", "min"), True)])
def test_networks_are_not_trained_for_scores_that_change_with_each_trial(objective, trained, play):
    oracle = play.make(DynaOracle, known=True, objective=objective)
    oracle.create_trial("tuner0")
    assert ("networks" in oracle.strategy._surrogate._ensemble.models) == trained


def test_evolution_finds_more_of_the_front_than_chance():
    """Accuracy and size both grow with a + b, and c and d can only waste: one configuration in a hundred is on the front."""
    decisions = [Discrete(name=name, values=tuple(range(10)), ordered=True) for name in "abcd"]

    def search(strategy, seed):
        told, found, tried = [], [], set()
        for trial in range(60):
            strategy.start(decisions)
            if found:
                for choices, score in zip(told, -weighted_scores(found), strict=True):
                    strategy.observe(choices, score)
            choices = dict(propose_untried(strategy, decisions, tried, np.random.default_rng([seed, trial])))
            waste = abs(choices["c"] - 5) + abs(choices["d"] - 2)
            told.append(choices)
            found.append((choices["a"] + choices["b"] - waste, -(2.0 ** (choices["a"] + choices["b"])) - 2.0**waste))
            tried.add(identity(decisions, choices))
        return hypervolume(found, [-20.0, -(2.0**19)])

    chance, evolution = (np.array([search(make(), seed) for seed in range(40)]) for make in (RandomSearch, Evolution))
    error = math.hypot(chance.std(), evolution.std()) / math.sqrt(40)
    assert evolution.mean() - chance.mean() > 2.5 * error  # by luck alone in 6 of 1,000
