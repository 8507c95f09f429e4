"""What a search does besides training: stops, replaces, inherits, screens."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import largest_value
from kerasnas.oracles import DynaOracle, RandomOracle, StrategyOracle
from kerasnas.search import trial_training
from kerasnas.stopping import Stop, StoppingRule, expected_final
from kerasnas.strategies import RandomSearch


class AfterEpoch(StoppingRule):
    """Stops every trial but the first after an epoch, and remembers what it was told."""

    def __init__(self):
        self.told = []

    def should_stop(self, curve, others, *, epochs):
        self.told.append((curve.copy(), [o.copy() for o in others], epochs))
        return Stop(rule="after", reason="enough", details={"chance": 0.5}) if others else None


def test_a_rule_sees_the_curves_and_stops_trials(make, small, points, capsys):
    rule = AfterEpoch()
    tuner = make(small(), objective="val_loss", max_trials=3, stopping=rule)
    tuner.search(*points, validation_data=points, epochs=4)
    record = tuner.record()
    assert [len(t.curves[0]["val_loss"]) for t in record.trials] == [4, 1, 1]
    assert [t.status for t in record.trials] == ["COMPLETED"] * 3
    first = np.array([[-v] for v in record.trials[0].curves[0]["val_loss"]])
    assert [len(curve) for curve, _, _ in rule.told] == [1, 2, 3, 1, 1]  # not after the last epoch
    assert np.allclose(rule.told[2][0], first[:3])
    assert np.allclose(rule.told[3][1][0], first)
    assert [len(others) for _, others, _ in rule.told] == [0, 0, 0, 1, 2]
    assert {epochs for _, _, epochs in rule.told} == {4}
    stopped = {name: record.trials[1].stopped[name] for name in ("rule", "reason", "details")}
    assert stopped == {"rule": "after", "reason": "enough", "details": {"chance": 0.5}}
    assert record.trials[0].stopped is None
    assert capsys.readouterr().out.count("stopped after epoch 1: enough") == 2


class Third(AfterEpoch):
    """Stops after the third epoch."""

    def should_stop(self, curve, others, *, epochs):
        return super().should_stop(curve, others, epochs=epochs) if len(curve) == 3 else None


@pytest.mark.parametrize(("objective", "sign"), [("val_loss", -1), ("val_accuracy", 1)])
def test_a_strategy_is_told_what_a_stopped_trial_would_have_come_to(objective, sign, make, small, points):
    told = []

    class Listens(RandomSearch):
        def observe(self, choices, score):
            told.append(score)

    def oracle(**kwargs):
        return StrategyOracle(Listens(), **kwargs)

    tuner = make(small(), objective=objective, max_trials=4, stopping=Third(), oracle=oracle)
    tuner.search(*points, validation_data=points, epochs=9, verbose=0)
    record = tuner.record()
    curves = [np.array([[sign * value] for value in trial.curves[0][objective]]) for trial in record.trials]
    expected = [curves[0].max()]
    for i in (1, 2, 3):
        expected.append(
            min(expected_final(curves[i], curves[:i], epochs=9)[0], largest_value(objective) if sign > 0 else np.inf)
        )
        assert record.trials[i].stopped["expected"] == pytest.approx(sign * expected[i])
        assert expected[i] >= sign * record.trials[i].score
    assert told == pytest.approx(expected)
    assert [score for _, score in record.observations] == pytest.approx(expected)
    # The score itself is what was reached.
    assert [trial.score for trial in record.trials] == pytest.approx([sign * curve.max() for curve in curves])
    # A resumed search tells the same.
    told.clear()
    make(small(), objective=objective, max_trials=4, stopping=Third(), oracle=oracle).oracle.earlier_trials()
    assert told == pytest.approx(expected)


@pytest.mark.parametrize("oracle", [RandomOracle, kt.oracles.RandomSearchOracle])
def test_a_list_of_one_objective_is_searched_as_that_objective(oracle, make, small, points):
    objective = [kt.Objective("val_accuracy", "max")]
    tuner = make(small(), objective=objective, max_trials=2, stopping=AfterEpoch(), oracle=oracle)
    tuner.search(*points, validation_data=points, epochs=3, verbose=0)
    record = tuner.record()
    assert (record.objective, record.direction) == ("val_accuracy", "max")
    assert [trial.score for trial in record.trials] == [max(trial.curves[0]["val_accuracy"]) for trial in record.trials]
    assert record.trials[1].stopped is not None
    assert all(score >= 0 for _, score in record.observations)


class EverWorse(kt.HyperModel):
    """Each network begins farther from the truth than the one before, and comes closer by a small share of that."""

    built = 0

    def build(self, hp):
        self.built += 1
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1, kernel_initializer="zeros")])
        model.layers[-1].bias.assign([10.0 * self.built])
        model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 2e-3)), "mse", metrics=["mae"], run_eagerly=True)
        return model


@pytest.mark.filterwarnings("ignore:The optimal value found:sklearn.exceptions.ConvergenceWarning")  # of two trials
@pytest.mark.parametrize(
    "oracle", [RandomOracle, DynaOracle, kt.oracles.RandomSearchOracle, kt.oracles.BayesianOptimizationOracle]
)
@pytest.mark.parametrize(
    ("name", "objective", "epochs"),
    [("asha", ["val_loss", kt.Objective("val_mae", "min")], 1), ("learning-curve", "val_loss", 2)],
)
def test_rules_by_name_stop_trials_of_every_oracle(name, objective, epochs, oracle, make, points):
    tuner = make(EverWorse(), objective=objective, max_trials=4, stopping=name, oracle=oracle)
    tuner.search(*points, validation_data=points, epochs=4, verbose=0)
    trials = tuner.record().trials
    assert [trial.status for trial in trials] == ["COMPLETED"] * 4
    assert trials[0].epochs == 4
    assert [(trial.epochs, (trial.stopped or {}).get("rule")) for trial in trials[2:]] == [(epochs, name)] * 2


def test_an_unknown_rule_is_refused(make):
    with pytest.raises(InvalidArgument, match="learning-curve"):
        make(stopping="lerning-curve")
    with pytest.raises(InvalidArgument, match="StoppingRule"):
        make(stopping=3)


# -- costs, limits, twins --


def wide(hp):
    """Twins wherever `depth` is 1: `second` is then not used."""
    units, second, depth = hp.Int("units", 1, 6), hp.Int("second", 1, 3), hp.Int("depth", 1, 2)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(units, activation="relu")])
    if depth == 2:
        model.add(layers.Dense(second, activation="relu"))
    model.add(layers.Dense(2, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_cost_of_a_network_is_a_metric_of_its_trial(make, small, points):
    tuner = make(small(), objective="val_loss", max_trials=2)
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    for trial in tuner.record().trials:
        units = trial.values["units"]
        assert trial.metrics["macs"] == 4 * units
        assert trial.metrics["parameters"] == 3 * units + 2 * (units + 1)
        assert trial.metrics["activation_bytes"] > 0


def test_no_network_is_trained_twice(make, points, capsys):
    tuner = make(wide, objective="val_loss", max_trials=100, oracle=DynaOracle)
    tuner.search(*points, validation_data=points, epochs=1)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Nothing new is left to try after 24 of 100 trials; "
        "12 proposals would have trained the same network as an earlier trial."
    )
    record = tuner.record()
    built = [(t.values["units"], t.values["second"] if t.values["depth"] == 2 else None) for t in record.trials]
    assert len(set(built)) == len(built) == 6 + 18
    twins = {r.twin for r in record.rejected}
    assert len(record.rejected) == 36 - 24
    assert all(record.trials[int(i)].values["depth"] == 1 for i in twins)


def test_a_limit_replaces_proposals_without_spending_trials(make, points):
    def cost(values):
        units, second = values["units"], values["second"]
        return 3 * units + (2 * (units + 1) if values["depth"] == 1 else second * (units + 1) + 2 * (second + 1))

    tuner = make(wide, objective="val_loss", max_trials=9, oracle=DynaOracle, limits={"parameters": 22})
    tuner.search(*points, validation_data=points, epochs=1, verbose=0)
    record = tuner.record()
    assert [t.status for t in record.trials] == ["COMPLETED"] * 9
    assert all(cost(t.values) <= 22 for t in record.trials)
    over = [r for r in record.rejected if r.twin is None]
    assert over
    assert all(cost(r.values) > 22 and "at most 22" in r.reason for r in over)


def test_other_limits_on_resume_let_proposals_in_again(make, points):
    settings = {"validation_data": points, "epochs": 1, "verbose": 0}

    def sizes(tuner):
        return {t.metrics["parameters"] for t in tuner.record().trials}

    tight = make(wide, objective="val_loss", max_trials=2, limits={"parameters": 9})
    tight.search(*points, **settings)
    rejected = {tuple(r.values.items()) for r in tight.record().rejected if r.twin is None}
    assert rejected
    assert max(sizes(tight)) <= 9
    same = make(wide, objective="val_loss", max_trials=2, limits={"parameters": 9})
    same.search(*points, **settings)
    assert {tuple(r.values.items()) for r in same.record().rejected if r.twin is None} == rejected
    free = make(wide, objective="val_loss", max_trials=100)
    free.search(*points, **settings)
    assert not [r for r in free.record().rejected if r.twin is None]
    assert len(free.record().trials) == 6 + 18  # all of them; see test_no_network_is_trained_twice


def test_limits_are_checked_at_the_door(make, fake):
    with pytest.raises(InvalidArgument, match="parameters"):
        make(fake(), limits={"paramters": 5})
    with pytest.raises(InvalidArgument, match="oracle of kerasnas"):
        make(fake(), limits={"parameters": 5}, oracle=kt.oracles.RandomSearchOracle)


# -- inheritance --


def test_a_network_begins_with_the_weights_of_a_similar_one(make, points):
    begun = []

    class First(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return First()

        def on_train_begin(self, logs=None):
            begun.append(self.model.get_weights())

    def build(hp):
        stack = [layers.Dense(hp.Int("units", 4, 5), activation="relu", name="hidden"), layers.Dense(2, name="out")]
        model = keras.Sequential([keras.Input((2,)), *stack])
        rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
        return model

    tuner = make(build, objective="val_loss", max_trials=4, inherit=True, keep_checkpoints=9, seed=2)
    tuner.search(*points, validation_data=points, epochs=2, verbose=0, callbacks=[First()])
    trials = tuner.record().trials
    assert trials[0].inherited is None
    best = {t.trial_id: tuner.load_model(tuner.oracle.get_trial(t.trial_id)).get_weights() for t in trials}
    same = 0
    for trial, weights in zip(trials[1:], begun[1:], strict=True):
        assert trial.inherited["share"] > 0.5
        donor = trials[int(trial.inherited["trial"])]
        if donor.values["units"] == trial.values["units"]:
            same += 1
            assert all(np.array_equal(a, b) for a, b in zip(weights, best[donor.trial_id], strict=True))
    assert same


@pytest.mark.parametrize(("scale", "expected"), [(1, 1.0), (100, 100.0)])
def test_no_accuracy_above_one_is_expected_unless_it_is_in_percent(scale, expected, make, small, points, monkeypatch):
    monkeypatch.setattr(trial_training, "expected_final", lambda *_, **__: (1.2 * scale, 0.1))

    def accuracy(y, predicted):
        return scale * keras.ops.ones_like(y, "float32")

    def build(hp):
        model = small().build(hp)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=[accuracy])
        return model

    tuner = make(build, objective="val_accuracy", max_trials=2, stopping=AfterEpoch())
    tuner.search(*points, validation_data=points, epochs=2, verbose=0)
    assert tuner.record().trials[1].stopped["expected"] == expected
