"""What is known of a network before it is trained, and at which price."""

import json
import platform

import keras
import keras_tuner as kt
import pytest
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import MnasNetReward
from kerasnas.oracles import RandomOracle
from kerasnas.search import NASTuner, latency


def build(hp):
    """1,000 tanh for each unit."""
    hidden = layers.Dense(1000 * hp.Int("units", 1, 400), "tanh", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), hidden, layers.Dropout(hp.Float("rate", 0, 0.5)), layers.Dense(2)])
    model.compile(keras.optimizers.SGD(hp.Float("lr", 1e-3, 1e-1)), "mse", metrics=["accuracy"])
    return model


def ms(units):
    """Return the latency on a machine that is as fast as those that the prior is from."""
    return 2 * 2.2e-3 + 1000 * units * (1.3e-6 + 4 * 2.6e-8)


LIMIT = {"latency_ms": ms(50)}


@pytest.fixture
def measured(monkeypatch):
    """The units of what was measured, in order."""
    calls = []

    def measure(model):
        calls.append(model.layers[0].units // 1000)
        return ms(calls[-1])

    monkeypatch.setattr(latency, "measure_latency", measure)
    return calls


@pytest.fixture
def screening(tmp_path):
    def make(objective="val_loss", hypermodel=build, **settings):
        oracle = RandomOracle(objective=objective, max_trials=2, seed=0)
        return NASTuner(hypermodel, oracle, directory=tmp_path, project_name="p", **settings)._screening

    return make


def hp(units, **values):
    made = kt.HyperParameters()
    made.values = {"units": units, **values}
    return made


def test_the_same_network_is_measured_once_however_it_is_trained(screening, measured):
    screen = screening(limits=LIMIT)
    assert screen(hp(50)) is screen(hp(50, lr=0.05)) is screen(hp(50, rate=0.25)) is None
    assert screen.known(hp(50, lr=0.05)).costs["latency_ms"] == ms(50)
    assert measured == [50]


def test_a_latency_that_is_an_objective_is_measured_once_too(screening, measured):
    screen = screening(MnasNetReward("val_accuracy"))
    assert screen.known(hp(50)).costs["latency_ms"] == screen.known(hp(50, lr=0.05)).costs["latency_ms"] == ms(50)
    assert measured == [50]


def test_without_need_nothing_is_measured(screening, measured):
    screen = screening(limits={"parameters": 5100})
    assert "latency_ms" not in screen.known(hp(1)).costs
    assert screen(hp(1)) is None
    assert screen(hp(2)) is not None
    assert measured == []


def test_what_is_expected_to_be_far_too_slow_is_not_measured_but_for_one_in_ten(screening, measured):
    screen = screening(limits=LIMIT)
    for units in (20, 40, 60):
        screen(hp(units))
    assert measured == [20, 40, 60]
    rejections = [screen(hp(units)) for units in range(100, 120)]
    assert sum("expected" in each.reason for each in rejections) == 18
    assert len(measured) == 3 + 2
    for each, units in zip(rejections, range(100, 120), strict=True):
        assert each.excess[0] == pytest.approx(ms(units) / ms(50), rel=0.01)
    assert "expected" not in screen(hp(52)).reason  # too near for a guess
    assert measured[-1] == 52


def test_expectations_that_were_wrong_are_relied_on_less(screening, monkeypatch):
    """Latencies that follow nothing that is known: everything is measured, so that what is fast is found."""
    calls = []
    monkeypatch.setattr(latency, "measure_latency", lambda model: calls.append(1) or (10.0 if len(calls) % 2 else 0.1))
    screen = screening(limits={"latency_ms": 1.0})
    for units in range(1, 40):
        screen(hp(units))
    assert len(calls) > 30


def test_other_limits_that_are_exceeded_spare_the_measurement(screening, measured):
    screen = screening(limits={"latency_ms": ms(60), "parameters": 400_000})
    assert screen(hp(100)).reason == "500,002 parameters; at most 400,000 are allowed"
    assert measured == []
    for units in (20, 40, 60):
        assert screen(hp(units)) is None
    rejection = screen(hp(101))
    assert "505,002 parameters" in rejection.reason
    assert "ms of latency expected" in rejection.reason
    assert measured == [20, 40, 60]


def test_a_resumed_search_goes_by_the_same_latencies(screening, measured, monkeypatch):
    screen = screening(limits=LIMIT)
    for units in (20, 40, 60):
        screen(hp(units))
    before = screen(hp(200))
    assert "expected" in before.reason
    resumed = screening(limits=LIMIT)
    assert resumed(hp(200)) == before
    assert resumed(hp(60, lr=0.05)).excess[0] == ms(60) / ms(50)
    assert measured == [20, 40, 60]
    # Those of another machine tell nothing.
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    screening(limits=LIMIT)(hp(60))
    assert measured == [20, 40, 60, 60]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_of_latencies_is_said_and_written_anew(content, screening, measured, tmp_path):
    screening(limits=LIMIT)
    file = tmp_path / "p" / "latencies.json"
    file.write_text(content)
    with pytest.warns(UserWarning, match=r"latencies\.json"):
        screen = screening(limits=LIMIT)
    assert screen(hp(20)) is None
    assert len(json.loads(file.read_text())["measured"]) == 1


def test_of_a_file_with_odd_rows_the_others_count(screening, measured, tmp_path):
    screening(limits=LIMIT)(hp(20))
    file = tmp_path / "p" / "latencies.json"
    content = json.loads(file.read_text())
    odd = [[1, 2], "row", 5, [1, 2, 3, None, -1.0], [1, "2", 3, "a", 0.5], [1, 2, 3, 4, 0.5]]
    file.write_text(json.dumps(content | {"measured": [*odd, *content["measured"]]}))
    assert screening(limits=LIMIT)(hp(20)) is None
    assert measured == [20]
    file.write_text(json.dumps(content | {"measured": {}}))
    assert screening(limits=LIMIT)(hp(20)) is None
    assert measured == [20, 20]


class Odd(layers.Layer):
    """Has a configuration that JSON cannot hold."""

    def call(self, x):
        return x

    def get_config(self):
        return {"a": 1, 2: object()}


def test_a_layer_with_an_odd_configuration_is_neither_rejected_nor_taken_for_another(screening, measured):
    def odd(hp):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1000 * hp.Int("units", 1, 400)), Odd(), layers.Dense(2)])
        model.compile("sgd", "mse")
        return model

    assert screening(hypermodel=odd)(hp(5)) is None
    screen = screening(hypermodel=odd, limits={"latency_ms": 1.0}, overwrite=True)
    assert screen(hp(5)) is screen(hp(5, lr=0.5)) is None
    assert measured == [5, 5]


def test_a_model_that_cannot_be_measured_is_said_so_only_where_latency_counts(screening, monkeypatch):
    def refuse(model):
        raise InvalidArgument("no")

    monkeypatch.setattr(latency, "measure_latency", refuse)
    with pytest.raises(InvalidArgument, match="no"):
        screening(limits={"latency_ms": 1.0})(hp(5))
    screen = screening(limits={"latency_ms": 1.0, "parameters": 10}, overwrite=True)
    assert "parameters" in screen(hp(5)).reason  # rejected for free


def test_a_network_that_cannot_be_built_does_not_hide_its_twins(tmp_path):
    def fragile(hp):
        if hp.get("units") == 3:
            raise kt.errors.FailedTrialError("three units")
        return build(hp)

    oracle = RandomOracle(objective="val_loss", max_trials=9, seed=0)
    tuner = NASTuner(build, oracle, directory=tmp_path, project_name="p")
    tuner.hypermodel.build = fragile
    for number, units in enumerate((3, 5)):
        values = {"units": units, "rate": 0.1, "lr": 0.01}
        oracle.trials[str(number)] = kt.engine.trial.Trial(hp(**values), str(number))
    assert tuner._screening(hp(5, rate=0.1, lr=0.01)).twin == "1"
    assert tuner._screening(hp(6, rate=0.1, lr=0.01)) is None
