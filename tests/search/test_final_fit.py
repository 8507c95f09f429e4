"""Training the winner: one network, the best of several, an ensemble."""

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import MnasNetReward
from kerasnas.oracles import RandomOracle
from kerasnas.report.trial_rows import trial_rows
from kerasnas.search import final_fit as final_fit_module
from kerasnas.search.final_fit import final_fit

SETTINGS = {"epochs": 3, "batch_size": 16}


@pytest.fixture
def searched(make, small, points):
    def search(**kwargs):
        tuner = make(small(), **({"objective": "val_accuracy", "max_trials": 4} | kwargs))
        tuner.search(*points, validation_data=points, epochs=3, verbose=0)
        return tuner, points

    return search


def test_the_winner_is_the_best_trial_trained_on_everything(searched):
    tuner, points = searched()
    final = final_fit(tuner, points, points, **SETTINGS)
    assert final.best == tuner.record().best
    assert final.weights == {final.best.trial_id: 1.0}
    assert final.epochs == len(final.history["loss"]) == 3
    assert final.refitted == {}
    again = final_fit(tuner, points, points, **SETTINGS)
    for a, b in zip(final.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(a, b)  # the seed of the search decides


def test_finalists_are_trained_once_more_and_compared_by_both_scores(searched):
    tuner, points = searched()
    final = final_fit(tuner, points, points, finalists=3, **SETTINGS)
    record = tuner.record()
    ranked = sorted(record.completed, key=lambda t: -t.score)
    assert set(final.refitted) == {t.trial_id for t in ranked[:3]}
    assert all(final.refitted[t.trial_id][0] == t.score for t in ranked[:3])
    best = max(final.refitted, key=lambda trial_id: np.mean(final.refitted[trial_id]))
    assert np.mean(final.refitted[final.best.trial_id]) == np.mean(final.refitted[best])


def test_finalists_are_compared_by_a_reward_and_not_by_several_objectives(searched):
    tuner, points = searched(objective=MnasNetReward("val_accuracy", cost="parameters", target=100.0))
    final = final_fit(tuner, points, points, finalists=2, **SETTINGS)
    for trial in tuner.record().ranked[:2]:
        first, again = final.refitted[trial.trial_id]
        assert first == trial.score
        discount = (trial.metrics["parameters"] / 100.0) ** -0.07
        assert 0 < again <= discount + 1e-9
        assert (again / discount * len(points[0])) % 1 == pytest.approx(0, abs=1e-3) or (
            again / discount * len(points[0])
        ) % 1 == pytest.approx(1, abs=1e-3)  # so many points are right
    objectives = [kt.Objective("val_accuracy", "max"), kt.Objective("parameters", "min")]
    tuner, points = searched(objective=objectives, project_name="several")
    with pytest.raises(InvalidArgument, match="one objective to compare 2 finalists"):
        final_fit(tuner, points, points, finalists=2, **SETTINGS)


def test_an_ensemble_is_the_weighted_mean_of_its_members(searched):
    tuner, points = searched()
    final = final_fit(tuner, points, points, ensemble=3, **SETTINGS)
    assert sum(final.weights.values()) == pytest.approx(1.0)
    assert final.weights[final.best.trial_id] == max(final.weights.values())
    probabilities = final.model.predict(points[0], verbose=0)
    assert probabilities.shape == (len(points[0]), 2)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.fixture
def twins(make, points):
    """A search of which two trials differ in a value that their networks do not use; the oracle does not know that."""

    class Deep(kt.HyperModel):
        def build(self, hp):
            units, depth = hp.Choice("units", [8, 9]), hp.Int("depth", 1, 2)
            hidden = [keras.layers.Dense(units, "relu")]
            hidden += [keras.layers.Dense(hp.Choice("more", [4, 5])) for _ in range(depth - 1)]
            model = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(2, "softmax")])
            model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model

    tried = [{"depth": 1, "units": 8, "more": 4}, {"depth": 1, "units": 8, "more": 5}, {"depth": 2, "units": 9, "more": 4}]

    class Told(kt.oracles.RandomSearchOracle):
        def populate_space(self, trial_id):
            return {"status": kt.engine.trial.TrialStatus.RUNNING, "values": tried[int(trial_id)]}

    tuner = make(Deep(), oracle=Told, objective="val_accuracy", max_trials=3)
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    return tuner


def test_a_network_is_a_finalist_or_a_member_once_and_each_member_has_its_seed(twins, points, monkeypatch):
    trained = []

    def untrained(self, trial, data, *, epochs, seed, **kwargs):
        trained.append((trial.values["units"], seed))
        model = twins.load_model(twins.oracle.get_trial(trial.trial_id))
        return model, {"val_accuracy": [trial.score]}

    monkeypatch.setattr(final_fit_module._Fit, "__call__", untrained)
    monkeypatch.setattr(final_fit_module, "greedy_selection", lambda outputs, *_, **__: [1 / len(outputs)] * len(outputs))
    final = final_fit(twins, points, points, finalists=3, ensemble=3, **SETTINGS)
    assert [trial.unused for trial in twins.record().trials] == [("more",), ("more",), ()]
    assert len(final.refitted) == len(final.weights) == 2
    assert sorted(units for units, _ in trained) == [8, 8, 9, 9]
    assert [seed for _, seed in trained] == [1, 1, 0, 2]  # the finalists, then the members


def test_an_inherited_network_is_gone_on_with(searched):
    tuner, points = searched(inherit=True, seed=1)
    record = tuner.record()
    assert any(t.inherited for t in record.trials)
    final = final_fit(tuner, points, points, **SETTINGS)
    assert np.isfinite(final.history["loss"]).all()


@pytest.mark.parametrize("setting", ["finalists", "ensemble"])
@pytest.mark.parametrize("number", [0, 4])
def test_no_more_than_weights_are_kept_of(setting, number, searched):
    tuner, points = searched()
    with pytest.raises(InvalidArgument, match=f"`{setting}` from 1 to 3.*got {number}"):
        final_fit(tuner, points, points, **SETTINGS, **{setting: number})


@pytest.mark.parametrize("oracle", [RandomOracle, kt.oracles.RandomSearchOracle])
def test_of_equals_those_whose_weights_are_kept_are_averaged(make, small, points, oracle):
    def even(y_true, y_pred):
        return keras.ops.zeros_like(y_pred[:, 0])

    class Even(small):
        def build(self, hp):
            model = super().build(hp)
            model.compile("sgd", "sparse_categorical_crossentropy", metrics=[even])
            return model

    objective = kt.Objective("val_even", "max")
    tuner = make(Even(), oracle=oracle, objective=objective, max_trials=5, keep_checkpoints=2, tensorboard=True)
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    record = tuner.record()
    cheapest = sorted(record.trials, key=lambda t: t.values["units"])
    assert cheapest != list(record.trials)
    assert list(record.ranked) == cheapest == [row["trial"] for row in trial_rows(record)]
    final = final_fit(tuner, points, points, epochs=1, batch_size=16, ensemble=2)
    assert set(final.weights) <= {t.trial_id for t in cheapest[:2]}
    assert tuner.tensorboard._incumbent == record.best.trial_id


def test_a_larger_ensemble_of_a_search_that_kept_fewer_weights(searched):
    searched()
    tuner, points = searched(keep_checkpoints=4)  # the search is resumed, and has ended
    final = final_fit(tuner, points, points, ensemble=4, **SETTINGS)
    assert set(final.weights) <= {trial.trial_id for trial in tuner.record().ranked[:3]}
    with pytest.raises(InvalidArgument, match="only those of the best trials are kept"):
        tuner.get_best_models(4)


def test_an_ensemble_of_single_units(make, small, points):
    class Single(small):
        def build(self, hp):
            units, layers = hp.Int("units", 2, 40), keras.layers
            model = keras.Sequential([keras.Input((2,)), layers.Dense(units, "relu"), layers.Dense(1, "sigmoid")])
            model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
            return model

    tuner = make(Single(), objective="val_accuracy", max_trials=3)
    tuner.search(*points, validation_data=points, epochs=3, verbose=0)
    final = final_fit(tuner, points, points, ensemble=3, **SETTINGS)
    assert final.model.output_shape == (None, 1)
    assert sum(final.weights.values()) == pytest.approx(1.0)


def test_a_fit_of_ones_own_that_takes_no_verbose_makes_the_final_training_too(make, small, points, capsys):
    class Own(kt.HyperModel):
        def build(self, hp):
            return small().build(hp)

        def fit(self, hp, model, x, y, validation_data=None, epochs=1, batch_size=32, callbacks=None):
            return model.fit(x, y, validation_data=validation_data, epochs=epochs, batch_size=batch_size, callbacks=callbacks)

    tuner = make(Own(), objective="val_accuracy", max_trials=1)
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    final = final_fit(tuner, points, points, **SETTINGS)
    assert len(final.history["loss"]) == final.epochs == 1
    assert capsys.readouterr().out == ""
