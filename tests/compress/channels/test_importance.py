"""The measures of importance, each against its formula or a planted truth."""

import keras
import numpy as np
import pytest

from kerasnas.compress import channel_report, prune_channels
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.fine_tuning import loss_gradients
from kerasnas.compress.channels.importance import bn_scales, magnitudes, taylor, taylor_weights

layers = keras.layers


def scores_of(measure, model, layer, *args):
    dependencies = dependencies_of(model)
    scores = measure(model, dependencies, np.ones(dependencies.bundles.count, bool), *args)
    return scores[dependencies.bundles.of_channel[dependencies.made[layer,]]]


def test_magnitude_is_relative_to_the_layer_and_the_mean_of_tied_ones():
    x = layers.Input((2,))
    a, b = layers.Dense(3, name="a"), layers.Dense(3, name="b")
    model = keras.Model(x, layers.Dense(1)(layers.Add()([a(x), b(x)])))
    a.set_weights([np.array([[3.0, 0.0, 1.0], [4.0, 0.0, 1.0]]), np.zeros(3)])
    b.set_weights([100 * np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]), np.zeros(3)])
    rms = [np.array([np.sqrt(12.5), 0, 1]), np.array([100.0, 100, 200])]
    np.testing.assert_allclose(scores_of(magnitudes, model, "a"), sum(r / r.mean() for r in rms) / 2)


def test_bn_scale_is_gamma_and_magnitude_elsewhere():
    model = keras.Sequential(
        [layers.Input((2,)), layers.Dense(3, name="a"), layers.BatchNormalization(), layers.Dense(4, name="b"), layers.Dense(1)]
    )
    model.layers[1].gamma.assign([-2.0, 0.5, 0.5])
    np.testing.assert_allclose(scores_of(bn_scales, model, "a"), [2, 0.5, 0.5])
    np.testing.assert_allclose(scores_of(bn_scales, model, "b"), scores_of(magnitudes, model, "b"))  # the mean scale is 1


def batches_of(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x) // 2)


def measured(model, layer, x, y):
    loss = keras.losses.MeanSquaredError()
    weights = taylor_weights(dependencies_of(model))
    return scores_of(taylor, model, layer, loss_gradients(model, weights, batches_of(x, y), loss))


def test_taylor_of_a_linear_model_in_closed_form():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 4)).astype("float32"), rng.normal(size=(10, 1)).astype("float32")
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(1)])
    w, b, v, c = model.get_weights()
    parts = (x @ w + b) * v[:, 0]  # what each channel adds to the output
    error = parts.sum(axis=1, keepdims=True) + c - y
    # The loss is mean(error^2): a gate g on channel j has the gradient mean(2 error part_j) at g = 1.
    changes = [np.mean(2 * error[rows] * parts[rows], axis=0) for rows in (slice(0, 5), slice(5, 10))]
    np.testing.assert_allclose(measured(model, "hidden", x, y), np.mean(np.square(changes), axis=0), rtol=1e-4)


def test_taylor_behind_a_normalisation_is_that_of_a_gate_on_it(shake):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(10, 4)).astype("float32"), rng.normal(size=(10, 1)).astype("float32")
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, name="hidden"), layers.BatchNormalization(), layers.Dense(1)])
    shake(model)
    inner = keras.Model(model.inputs[0], model.layers[1].output)(x, training=False).numpy()
    v, c = model.layers[2].get_weights()
    parts = inner * v[:, 0]
    error = parts.sum(axis=1, keepdims=True) + c - y
    changes = [np.mean(2 * error[rows] * parts[rows], axis=0) for rows in (slice(0, 5), slice(5, 10))]
    np.testing.assert_allclose(measured(model, "hidden", x, y), np.mean(np.square(changes), axis=0), rtol=1e-4)


@pytest.mark.parametrize("importance", ["magnitude", "bn_scale", "taylor"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_planted_channels_without_use_go_first(importance, scope):
    """Half of the filters are exactly zero: without them the outputs are the same."""
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(8, 3, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    dead = rng.permutation(8)[:4]
    kernel, bias = model.layers[0].get_weights()
    kernel[..., dead] = 0
    gamma = np.where(np.isin(np.arange(8), dead), 0, 1.0)
    model.layers[0].set_weights([kernel, bias])
    model.layers[1].set_weights([gamma, np.zeros(8), np.zeros(8), np.ones(8)])
    x = rng.normal(size=(16, 6, 6, 1)).astype("float32")
    pruned = prune_channels(model, x, np.arange(16) % 3, importance=importance, scope=scope, epochs=0)
    assert channel_report(model, pruned).layers[0].kept == 4
    np.testing.assert_allclose(pruned(x), model(x), rtol=1e-4, atol=1e-5)
