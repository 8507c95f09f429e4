"""The network of the same size that begins with random weights."""

import itertools
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnas.compress import AlreadyWithinTarget, ScratchControl, ScratchIsBetter, from_scratch_control, prune_channels
from kerasnas.compress.channels import fine_tuning
from kerasnas.compress.channels.scratch import paired_error
from kerasnas.errors import InvalidArgument

layers = keras.layers


def _network():
    stack = [layers.Normalization(), layers.Dense(12, name="a"), layers.BatchNormalization(), layers.ReLU()]
    frozen = layers.Dense(6, trainable=False, name="frozen")
    model = keras.Sequential([keras.Input((4,)), *stack, frozen, layers.Dense(2, activation="softmax")])
    model.layers[0].adapt(np.random.default_rng(1).normal(3, 2, (64, 4)))
    return model


@pytest.fixture
def task():
    """Points on both sides of a plane."""
    x = np.random.default_rng(0).normal(3, 2, (300, 4)).astype("float32")
    return x, (x.sum(axis=1) > 12).astype(int)


def test_it_is_trained_from_other_weights_for_as_long_and_told_apart(task):
    x, y = task
    model = _network()
    small = prune_channels(model, x[:200], y[:200], ratio=0.5, epochs=1, learning_rate=1e-6, seed=0)  # learns nothing
    before = small.get_weights()
    held_out = (x[200:], y[200:])
    control = from_scratch_control(small, x[:200], y[:200], held_out, epochs=12, learning_rate=0.03, seed=3)
    assert [w.shape for w in control.model.weights] == [w.shape for w in small.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, small.get_weights(), strict=True))
    for name in ("frozen", model.layers[0].name):  # what is not trained
        for mine, theirs in zip(control.model.get_layer(name).weights, small.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    right = control.model.predict(x[200:], verbose=0).argmax(axis=1) == y[200:]
    assert control.accuracy == right.mean() > 0.85
    assert control.pruned_accuracy == (small.predict(x[200:], verbose=0).argmax(axis=1) == y[200:]).mean()
    assert control.scratch_wins
    assert "take control.model" in str(control)
    again = from_scratch_control(small, x[:200], y[:200], held_out, epochs=12, learning_rate=0.03, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(control.model.get_weights(), again.model.get_weights(), strict=True))
    # Against itself, trained once more from where it came: nothing to be gained.
    even = from_scratch_control(control.model, x[:200], y[:200], held_out, epochs=1, learning_rate=1e-6, seed=3)
    assert not even.scratch_wins


@pytest.mark.parametrize(
    ("gain", "error", "told"),
    [
        (0.004, 0.0034, "luck can do"),
        (-0.004, 0.0034, "luck can do"),
        (0.0, 0.0, "luck can do"),
        (0.01, 0.0034, "pruning is worth it"),
        (-0.01, 0.0034, "FROM SCRATCH IS BETTER"),
    ],
)
def test_only_what_is_shown_is_claimed(gain, error, told):
    control = ScratchControl(_network(), 0.9, 0.9 + gain, error, 1000, 1.0)
    claims = ("luck can do; neither is shown to be better", "pruning is worth it", "FROM SCRATCH IS BETTER")
    assert [claim for claim in claims if claim in str(control)] == [claim for claim in claims if told in claim]
    assert control.to_dict()["is_told"] == ("luck" not in told)


def test_the_clock_ends_the_training(task, monkeypatch):
    x, y = task
    network, ticks = _network(), itertools.count()
    small = prune_channels(network, ratio=0.5)
    # A second passes whenever the clock is looked at, twice a step: what else this machine does is of no account.
    monkeypatch.setattr(fine_tuning, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    for seconds, settings in ((2, {}), (30, {"teacher": network, "distill": 0.5})):
        before = next(ticks)
        from_scratch_control(small, x, y, (x, y), seconds=seconds, **settings)
        assert seconds <= next(ticks) - before - 1 <= seconds + 3


def test_what_was_not_pruned_is_not_judged(task):
    x, y = task
    network = _network()
    with pytest.warns(AlreadyWithinTarget):
        same = prune_channels(network, macs=1e9)
    with pytest.warns(AlreadyWithinTarget):
        whole = prune_channels(network, x, y, ratio=0.05, epochs=1)  # of 12 channels that is none
    for model, settings in ((same, {}), (whole, {}), (network, {"teacher": network})):
        with pytest.raises(InvalidArgument, match="none was removed: there is nothing to compare"):
            from_scratch_control(model, x, y, (x, y), epochs=1, **settings)


def test_pruning_tells_if_scratch_wins(task, capsys):
    x, y = task
    held_out, settings = (x[200:], y[200:]), {"ratio": 0.5, "epochs": 40, "learning_rate": 0.03, "seed": 0}
    dead = keras.Sequential([keras.Input((4,)), layers.Dense(12, "relu"), layers.Dense(2, activation="softmax")])
    dead.layers[0].bias.assign(np.full(12, -1e4))  # no unit ever fires: what is kept is worth nothing
    with pytest.warns(ScratchIsBetter, match="FROM SCRATCH IS BETTER"):
        prune_channels(dead, x[:200], y[:200], held_out=held_out, **settings)
    able = prune_channels(_network(), x[:200], y[:200], **settings)
    prune_channels(able, x[:200], y[:200], held_out=held_out, **settings | {"learning_rate": 1e-6, "epochs": 1, "verbose": 2})
    assert "pruning is worth it" in capsys.readouterr().out
    for wrong in ({"epochs": 0}, {"x": None, "y": None}):
        with pytest.raises(InvalidArgument, match="leave out held_out"):
            prune_channels(**{"model": dead, "x": x, "y": y, "held_out": held_out} | wrong)


def test_functions_without_a_name_are_kept(task):
    x, y = task
    times = 3.0
    inner = keras.Sequential([keras.Input((8,)), layers.Lambda(lambda v: v * times, output_shape=(8,))])
    stack = [layers.Dense(6, "relu"), layers.Dense(8), inner, layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((4,)), *stack])
    small = prune_channels(model, ratio=0.5)
    control = from_scratch_control(small, x, y, (x, y), epochs=1, learning_rate=1e-6, seed=0)
    np.testing.assert_array_equal(control.model.layers[2](np.ones((1, 8))), np.full((1, 8), times))
    assert control.pruned_accuracy == (small.predict(x, verbose=0).argmax(axis=1) == y).mean()


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ((np.zeros((3, 4)), np.array([0, 1, 2])), "from 0 to 1"),
        ((np.zeros((3, 5)), np.array([0, 1, 1])), "shape"),
        ((np.zeros((3, 4)), np.array([0, 1, 1]), np.ones(3)), "inputs and labels, got tuple"),
        (np.zeros((2, 4)), "inputs and labels, got ndarray"),
        ((tf.data.Dataset.from_tensors((np.zeros((3, 4)), np.array([0, 1, 1]))), None), "got a tf.data.Dataset"),
    ],
)
def test_held_out_samples_that_cannot_judge_are_refused_before_the_training(task, held_out, message, monkeypatch):
    module = sys.modules["kerasnas.compress.channels.prune_channels"]  # the package has the function by that name
    monkeypatch.setattr(module, "fine_tune", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(InvalidArgument, match=message):
        prune_channels(_network(), *task, ratio=0.5, epochs=1, held_out=held_out)


def test_the_error_of_a_paired_difference():
    one, other = np.array([1, 1, 1, 0], bool), np.array([1, 0, 1, 1], bool)
    # One more disagreement in each direction: shares of 2 and 2 of 6 (Bonett and Price 2012, equation 5).
    assert paired_error(one, other) == pytest.approx(np.sqrt((2 + 2 - 0) / 6 / 6))


@pytest.mark.parametrize("samples", [15, 30, 500])
def test_no_disagreement_on_few_samples_does_not_show_that_there_is_none(samples):
    right = np.ones(samples, bool)
    # The rule of three: of a true rate of 3 / n none is seen in 1 of 20 times.
    assert 1.96 * paired_error(right, right) == pytest.approx(3 / samples, rel=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "either epochs or seconds"),
        ({"epochs": 1, "seconds": 1.0}, "either epochs or seconds"),
        ({"epochs": 0}, "at least 1, got 0"),
        ({"seconds": -1.0}, "seconds > 0, got -1"),
        ({"epochs": 1, "distill": 0.5}, "with a teacher"),
        ({"epochs": 1, "held_out": (np.zeros((3, 4)), np.array([0, 1, 2]))}, "from 0 to 1"),
        ({"epochs": 1, "held_out": (np.zeros((3, 5)), np.array([0, 1, 1]))}, "shape"),
    ],
)
def test_mistakes(change, message, task):
    settings = {"held_out": task, **change}
    with pytest.raises(InvalidArgument, match=message):
        from_scratch_control(_network(), *task, **settings)
