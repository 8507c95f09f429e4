"""Which values a network is made of: those that its HyperModel asked for."""

import keras
import keras_tuner as kt
import pytest

from kerasnas.explain.search import ablation_path, account, beliefs, counterfactuals
from kerasnas.record import SearchRecord
from kerasnas.search.asked import asked


@pytest.fixture
def space():
    class Layers(kt.HyperModel):
        """One to three layers, as KerasTuner's guide writes it; best with one. What `fit` asks for counts, too."""

        default = 3

        def build(self, hp):
            model = keras.Sequential([keras.Input((2,))])
            for i in range(hp.Int("layers", 1, 3, default=self.default)):
                model.add(keras.layers.Dense(hp.Int(f"units_{i}", 1, 9, default=2)))
            hp.Int("batch", 1, 64)
            model.compile("sgd", "mse")
            return model

        def fit(self, hp, model, *args, **kwargs):
            return {"score": 10.0 - 5 * hp.get("layers") + 0.1 * hp["units_0"]}

    return Layers()  # a class of its own, which the process of a trial is sent whole


def test_a_network_is_not_explained_by_layers_that_it_lacks(make, space):
    tuner = make(space, max_trials=12)
    tuner.search(verbose=0)
    record = SearchRecord.load(tuner.project_dir)
    for trial in record.trials:
        assert set(trial.unused) == {f"units_{i}" for i in range(trial.values["layers"], 3)} & set(trial.values)
        assert {record.configuration(trial)[name] for name in trial.unused} <= {2}
    best = record.best
    assert best.values["layers"] == 1
    assert set(best.unused) == {"units_1", "units_2"}
    assert {item.name for item in counterfactuals(record).items} == {"layers", "units_0", "batch"}
    assert not {"units_1", "units_2"} & {name for step in ablation_path(record).steps for name in step.changes}
    assert set(beliefs(record).winner) == {"layers", "units_0", "batch"}
    predicted = [one for one in account(record) if {"steps", "worst"} & set(one.evidence)]
    assert not any("units_1" in one.text for one in predicted)


@pytest.mark.slow
def test_the_process_of_a_trial_tells_it_too(make, space):
    tuner = make(space, max_trials=3, isolate=True)
    tuner.search(verbose=0)
    for trial in tuner.record().trials:
        assert set(trial.unused) == {f"units_{i}" for i in range(trial.values["layers"], 3)} & set(trial.values)


@pytest.mark.slow
def test_what_a_trial_in_its_own_process_discovers_is_searched(make, space):
    space.default = 1
    tuner = make(space, max_trials=12, isolate=True)
    tuner.search(verbose=0)
    deep = [trial for trial in tuner.record().trials if trial.values["layers"] > 1]
    assert len({trial.values["units_1"] for trial in deep if "units_1" in trial.values}) > 1


@pytest.mark.slow
def test_nor_is_it_lost_where_the_trial_fails(make, space):
    class Fails(type(space)):
        def fit(self, hp, model, *args, **kwargs):
            if hp.Int("late", 1, 99) == 1:  # at first its default
                raise ValueError("not with 1")
            return {"score": 1.0}

    tuner = make(Fails(), max_trials=3, isolate=True)
    tuner.search(verbose=0)
    statuses = [(trial.status, trial.values.get("late")) for trial in tuner.record().trials]
    assert statuses[0] == ("FAILED", 1)
    assert {status for status, _ in statuses[1:]} == {"COMPLETED"}


def test_what_is_asked_for_is_noted_while_the_block_lasts():
    hp, names = kt.HyperParameters(), []
    with asked(hp, names):
        hp.Int("a", 1, 3)
        with hp.name_scope("inner"):
            hp.Choice("b", ["x", "y"])
            assert hp.get("b") == "x"
        assert hp["a"] == 1
    hp.Float("c", 0.0, 1.0)
    assert names == ["a", "inner/b"]
    assert hp.copy().values == hp.values
