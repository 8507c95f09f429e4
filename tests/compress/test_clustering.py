"""Clustering leaves few values in each kernel, keeps zeros where asked to, and trains as the twin says."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.compress import cluster, prune, sparsity_report
from kerasnas.compress.clustering import _build_twin
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.errors import InvalidArgument, KerasNASError

layers = keras.layers


def test_clustered_digits_network_has_few_values_and_is_smaller(trained, digits):
    accuracy = trained.evaluate(*digits[1], verbose=0)[1]
    before = [weight.copy() for weight in trained.get_weights()]
    clustered = cluster(trained, *digits[0], clusters=16, seed=0)
    report = sparsity_report(clustered)
    assert [kernel.layer for kernel in report.kernels] == ["first", "second", "hidden", "classes"]
    assert all(2 < kernel.distinct <= 16 for kernel in report.kernels)
    assert report.gzip_bytes < 0.35 * sparsity_report(trained).gzip_bytes
    # 497 test images: one standard error of an accuracy near 0.93 is 0.011; 0.03 is about three.
    assert clustered.evaluate(*digits[1], verbose=0)[1] > accuracy - 0.03
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))
    assert [layer.name for layer in clustered.layers] == [layer.name for layer in trained.layers]
    assert not np.array_equal(clustered.get_layer("hidden").bias, trained.get_layer("hidden").bias), "the rest is trained too"


def test_zeros_stay_zero(trained, digits):
    pruned = prune(trained, *digits[0], sparsity=0.7, epochs=2, seed=0)
    clustered = cluster(pruned, *digits[0], clusters=8, preserve_sparsity=True, epochs=1, seed=0)
    for before, after in zip(prunable_kernels(pruned), prunable_kernels(clustered), strict=True):
        assert np.all(after.variable.numpy()[before.variable.numpy() == 0] == 0)
        assert np.any(after.variable.numpy() != 0)
    assert all(kernel.distinct <= 8 for kernel in sparsity_report(clustered).kernels)
    assert sparsity_report(clustered).gzip_bytes < 0.6 * sparsity_report(pruned).gzip_bytes


def test_without_it_zeros_are_not_kept():
    # What the promise is worth: the same model clustered plainly loses its zeros.
    model = keras.Sequential([layers.Input((8,)), layers.Dense(40)])
    kernel = np.random.default_rng(0).normal(size=(8, 40)) + 5
    kernel[:, ::2] = 0
    model.layers[0].kernel.assign(kernel)
    x, y = np.ones((16, 8)), np.ones((16, 40))
    model.compile(loss="mse")
    plain = cluster(model, x, y, clusters=3, learning_rate=0.1)
    kept = cluster(model, x, y, clusters=3, learning_rate=0.1, preserve_sparsity=True)
    assert np.count_nonzero(plain.layers[0].kernel.numpy()[:, ::2]) == 160
    assert np.count_nonzero(kept.layers[0].kernel.numpy()[:, ::2]) == 0


@settings(max_examples=4)
@given(clusters=st.integers(2, 40), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_no_kernel_has_more_values_than_asked_for(clusters, sizes):
    model = keras.Sequential([layers.Input((7,)), *[layers.Dense(size) for size in sizes]])
    model.compile(loss="mse")
    x, y = np.random.default_rng(0).normal(size=(8, 7)), np.ones((8, sizes[-1]))
    kernels = [kernel.variable.numpy() for kernel in prunable_kernels(model)]
    if all(len(np.unique(kernel)) <= clusters for kernel in kernels):
        with pytest.raises(InvalidArgument, match=f"more than {clusters} values"):
            cluster(model, x, y, clusters=clusters)
        return
    for kernel, before in zip(sparsity_report(cluster(model, x, y, clusters=clusters)).kernels, kernels, strict=True):
        assert kernel.distinct <= max(clusters, 1)
        assert kernel.distinct <= len(np.unique(before))


def nested_and_shared():
    inputs = layers.Input((8, 8, 1))
    conv = layers.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    inner_input = layers.Input((8, 8, 6))
    inner = keras.Model(inner_input, layers.BatchNormalization()(layers.Conv2D(6, 1, name="inner")(inner_input)))
    x = layers.Conv2D(6, 1, kernel_regularizer="l2", name="stem")(inputs)
    x = layers.Dropout(0.3)(inner(conv(inner(conv(x)))))
    x = layers.Reshape((16, 24))(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="head")(layers.Flatten()(x)))


def test_nested_and_shared_layers_are_clustered_and_the_twin_computes_with_what_is_left():
    model = nested_and_shared()
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 8, 8, 1)).astype("float32"), rng.integers(0, 5, 40)
    clustered = cluster(model, x, y, clusters=4, epochs=1, learning_rate=1e-2, seed=0)
    report = sparsity_report(clustered).kernels
    assert {"shared", "inner", "head"} <= {kernel.layer for kernel in report}
    assert len(report) == 8
    assert all(kernel.distinct <= 4 or kernel.weights == 6 for kernel in report)
    moved = [
        weight.path
        for weight, other in zip(model.weights, clustered.weights, strict=True)
        if not np.allclose(weight, other, atol=1e-6)
    ]
    assert any("moving_mean" in path for path in moved), "statistics are kept up to date"


def test_kernels_of_few_values_keep_them_and_their_zeros():
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(4, "relu"), layers.Dense(40, "relu"), layers.Dense(2, "softmax")]
    )
    model.layers[0].kernel.assign(np.round(np.random.default_rng(0).normal(size=(6, 4))))
    before = model.layers[0].kernel.numpy()
    assert len(np.unique(before)) <= 8
    assert (before == 0).any()
    x = np.random.default_rng(1).normal(size=(60, 6)).astype("float32")
    clustered = cluster(model, x, (x[:, 0] > 0).astype(int), clusters=8, preserve_sparsity=True, epochs=2, learning_rate=0.01)
    np.testing.assert_array_equal(clustered.layers[0].kernel.numpy(), before)
    assert all(kernel.distinct <= 8 for kernel in sparsity_report(clustered).kernels)


def test_the_twin_computes_with_the_clustered_kernels():
    model = nested_and_shared()
    kernels = [kernel.variable for kernel in prunable_kernels(model)]
    x = np.random.default_rng(0).random((5, 8, 8, 1)).astype("float32")
    twin, values = _build_twin(
        model, model.trainable_variables, kernels, 3, False, keras.losses.SparseCategoricalCrossentropy(), 1e-3, x[:1]
    )
    plain = model(x, training=False).numpy()
    expected = twin(x, training=False).numpy()
    assert np.abs(expected - plain).max() > 1e-4, "three values per kernel are felt"
    for kernel, clustered in zip(kernels, values(), strict=True):
        kernel.assign(clustered)
    np.testing.assert_allclose(model(x, training=False), expected, atol=1e-6)


def test_training_moves_the_values_towards_the_loss():
    # One weight of value v in every place, y = 8 v x: the best of two values is found by training alone.
    model = keras.Sequential([layers.Input((8,)), layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign(np.linspace(-1, 1, 8)[:, None])
    model.compile(loss="mse")
    x = np.random.default_rng(0).normal(size=(256, 8))
    y = x[:, :4].sum(axis=1, keepdims=True) * -2 + x[:, 4:].sum(axis=1, keepdims=True) * 3
    kernel = cluster(model, x, y, clusters=2, epochs=60, learning_rate=0.02, seed=0).layers[0].kernel.numpy()
    np.testing.assert_allclose(kernel[:, 0], [-2] * 4 + [3] * 4, atol=0.02)


def test_regularizers_of_what_is_not_clustered_are_trained_with():
    stack = [layers.Dense(32, "relu", kernel_regularizer="l2"), layers.BatchNormalization(gamma_regularizer="l2")]
    stack += [layers.Dense(3, kernel_regularizer="l2", bias_regularizer=keras.regularizers.L2(10.0)), layers.Dense(1)]
    model = keras.Sequential([layers.Input((8,)), *stack])
    model.layers[2].bias.assign([1.0, -1.0, 1.0])
    model.compile(loss="mse")
    x = np.random.default_rng(0).normal(size=(64, 8))
    clustered = cluster(model, x, x.sum(axis=1, keepdims=True), clusters=24, epochs=15, learning_rate=0.1, seed=0)
    assert [kernel.distinct <= 24 for kernel in sparsity_report(clustered).kernels] == [True] * 3
    assert np.abs(clustered.layers[2].bias.numpy()).max() < 0.1  # of so heavy a penalty little is left


def test_same_seed_same_weights(dense_model):
    model, x, y = dense_model
    first, second = (cluster(model, x, y, clusters=4, seed=3).get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 1}, ">= 2, got 1"),
        ({"clusters": 2, "preserve_sparsity": True}, ">= 3, got 2"),
        ({"clusters": 4.0}, "whole number"),
        ({"clusters": 100}, "of more than 100 values"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_mistakes(dense_model, options, message):
    model, x, y = dense_model
    with pytest.raises(InvalidArgument, match=message):
        cluster(model, x, y, **options)


def test_divergence_and_unfaithful_copies_are_named(dense_model, forgetful):
    _, x, y = dense_model
    model = keras.Sequential([layers.Input((6,)), forgetful, layers.Dense(3, activation="softmax")])
    with pytest.raises(KerasNASError, match="differs by"):
        cluster(model, x, y, clusters=4)
    model = keras.Sequential([layers.Input((6,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(KerasNASError, match="diverged"):
        cluster(model, x, np.eye(3)[y] * 1e30, clusters=4)
