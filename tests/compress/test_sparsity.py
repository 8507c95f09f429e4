"""Pruning keeps its promise in each kernel, and touches nothing else."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kerasnas.compress import prune, sparsity_report
from kerasnas.compress.sparsity import _schedule, _zero_in_groups, _zero_smallest
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.errors import InvalidArgument, KerasNASError

layers = keras.layers

# Saving and quantising in Keras convert its variables with np.array, which NumPy 2 warns of.
keras_numpy2 = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def weights_of(model):
    return [weight.copy() for weight in model.get_weights()]


@keras_numpy2
def test_pruned_digits_network_is_sparse_accurate_and_smaller(trained, digits, tmp_path):
    before, (_, accuracy) = weights_of(trained), trained.evaluate(*digits[1], verbose=0)
    pruned = prune(trained, *digits[0], sparsity=0.7, epochs=6, seed=0)

    report = sparsity_report(pruned)
    assert [kernel.layer for kernel in report.kernels] == ["first", "second", "hidden", "classes"]
    assert all(0.7 <= kernel.sparsity < 0.72 for kernel in report.kernels)
    assert report.gzip_bytes < 0.5 * sparsity_report(trained).gzip_bytes
    assert report.weights_bytes == sparsity_report(trained).weights_bytes
    # 497 test images: one standard error of an accuracy near 0.93 is 0.011; 0.03 is about three.
    assert pruned.evaluate(*digits[1], verbose=0)[1] > accuracy - 0.03

    assert type(pruned) is type(trained)
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in trained.layers]
    assert pruned.optimizer.learning_rate == trained.optimizer.learning_rate
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))

    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.saving.load_model(tmp_path / "pruned.keras")
    x = digits[1][0][:8]
    np.testing.assert_array_equal(loaded(x, training=False), pruned(x, training=False))
    assert sparsity_report(loaded) == report


def test_without_learning_it_is_magnitude_thresholding(dense_model):
    model, x, y = dense_model
    pruned = prune(model, x, y, sparsity=0.6, learning_rate=1e-12)
    for layer, copy in zip(model.layers, pruned.layers, strict=True):
        kernel, bias = layer.get_weights()
        wanted = -(-kernel.size * 6 // 10)
        limit = np.sort(np.abs(kernel).ravel())[wanted]
        np.testing.assert_allclose(copy.get_weights()[0], np.where(np.abs(kernel) < limit, 0, kernel), atol=1e-9)
        np.testing.assert_allclose(copy.get_weights()[1], bias, atol=1e-9)


def test_same_seed_same_weights():
    noisy = [layers.GaussianNoise(0.1), layers.Dense(9), layers.Dropout(0.3)]
    model = keras.Sequential([layers.Input((6,)), *noisy, layers.Dense(3)])
    x, y = np.random.default_rng(0).normal(size=(90, 6)), np.arange(90) % 3
    trained = []
    for seed in (4, 4, 5):
        keras.utils.set_random_seed(len(trained))  # TensorFlow's own seed counts for nothing
        trained.append(prune(model, x, y, seed=seed, epochs=2).get_weights())
    first, second, other = trained
    prune(model, x, y, seed=-1, epochs=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_prune_leaves_the_global_random_state_alone(dense_model):
    model, x, y = dense_model
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    prune(model, x, y, epochs=1, seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@settings(max_examples=4)
@given(sparsity=st.floats(0.001, 0.999), rows=st.integers(1, 40))
def test_any_sparsity_is_reached_and_no_kernel_vanishes(sparsity, rows):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(4), layers.Dense(2)])
    pruned = prune(model, np.ones((rows, 3)), np.zeros(rows, int), sparsity=sparsity, epochs=1, batch_size=8)
    for kernel in sparsity_report(pruned).kernels:
        assert kernel.zeros < kernel.weights
        assert kernel.sparsity >= min(sparsity, 1 - 1 / kernel.weights) - 1e-6


@given(
    hnp.arrays("float32", hnp.array_shapes(max_dims=4, max_side=6), elements=st.floats(-9, 9, width=32)),
    st.floats(0.001, 0.999),
)
def test_zero_smallest_keeps_the_largest(values, sparsity):
    original = values.copy()
    result = _zero_smallest(values, sparsity)
    np.testing.assert_array_equal(values, original)
    kept = result != 0
    assert np.array_equal(result[kept], values[kept])
    assert np.mean(~kept) >= min(sparsity, 1 - 1 / values.size) - 1e-6
    assert kept.any() == bool(np.any(values != 0))
    if kept.any() and not kept.all():
        assert np.abs(values[kept]).min() >= np.abs(values[~kept]).max()
    np.testing.assert_array_equal(_zero_smallest(result, sparsity), result)
    assert not np.signbit(result[result == 0]).any()


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 88, 1001])
def test_schedule_ends_on_the_target_with_half_of_the_steps_left(steps):
    schedule = _schedule(load_tfmot(), 0.8, steps)
    updates = [step for step in range(1, steps + 1) if bool(schedule(np.int64(step))[0])]
    assert updates[-1] <= max(1, steps / 2)
    assert float(schedule(np.int64(updates[-1]))[1]) == pytest.approx(0.8)
    t = updates[0] / updates[-1]
    assert float(schedule(np.int64(updates[0]))[1]) == pytest.approx(0.8 * (1 - (1 - t) ** 3), abs=1e-6)


def groups_of(kernel, length):
    """Return groups of consecutive inputs, shape (groups, length), as somebody else would cut them."""
    rows = kernel.transpose(*[axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2], kernel.ndim - 2)
    whole = rows.shape[-1] // length
    return np.stack([row[i * length : (i + 1) * length] for row in rows.reshape(-1, rows.shape[-1]) for i in range(whole)])


@pytest.mark.parametrize("pattern", [(2, 4), (1, 3)])
def test_a_pattern_zeroes_its_share_of_each_group_of_inputs(trained, digits, pattern):
    zeros, length = pattern
    accuracy = trained.evaluate(*digits[1], verbose=0)[1]
    pruned = prune(trained, *digits[0], pattern=pattern, epochs=2, seed=0)
    for name in ("second", "hidden", "classes"):
        groups = groups_of(pruned.get_layer(name).kernel.numpy(), length)
        assert np.all(np.sum(groups == 0, axis=1) == zeros)
    assert np.all(pruned.get_layer("first").kernel.numpy() != 0)  # one input: there are no groups
    assert pruned.evaluate(*digits[1], verbose=0)[1] > accuracy - 0.03
    assert sparsity_report(pruned).gzip_bytes < 0.85 * sparsity_report(trained).gzip_bytes


def test_a_pattern_takes_the_smallest_of_each_group():
    model = keras.Sequential([layers.Input((6,)), layers.Dense(2)])
    kernel = np.array([[4, -1], [-3, 2], [2, 3], [1, -4], [0.5, 0.1], [0.2, 0.3]], "float32")
    model.layers[0].kernel.assign(kernel)
    pruned = prune(model, np.ones((8, 6)), np.zeros(8, int), pattern=(2, 4), learning_rate=1e-12, epochs=1)
    expected = np.array([[4, 0], [-3, 0], [0, 3], [0, -4], [0.5, 0.1], [0.2, 0.3]], "float32")
    np.testing.assert_allclose(pruned.layers[0].kernel, expected, atol=1e-6)  # two left over are no group


@given(
    hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=4, max_side=7), elements=st.floats(-9, 9, width=32)),
    st.integers(2, 5).flatmap(lambda n: st.tuples(st.integers(1, n - 1), st.just(n))),
)
def test_zero_in_groups(values, pattern):
    zeros, length = pattern
    result = _zero_in_groups(values, *pattern)
    if values.shape[-2] < length:
        np.testing.assert_array_equal(result, values)
        return
    before, after = groups_of(values, length), groups_of(result, length)
    assert np.all(np.sum(after == 0, axis=1) >= zeros)
    kept = after != 0
    assert np.array_equal(after[kept], before[kept])
    largest_lost = np.where((after == 0) & (before != 0), np.abs(before), 0).max(axis=1)
    assert np.all(largest_lost <= np.where(kept, np.abs(before), np.inf).min(axis=1))
    np.testing.assert_array_equal(_zero_in_groups(result, *pattern), result)


def test_constant_schedule_prunes_at_once():
    schedule = _schedule(load_tfmot(), 0.8, 100, "constant")
    assert [float(schedule(np.int64(step))[1]) for step in (1, 20, 90)] == pytest.approx([0.8] * 3)
    model = keras.Sequential([layers.Input((6,)), layers.Dense(30)])
    pruned = prune(model, np.ones((9, 6)), np.zeros(9, int), sparsity=0.6, schedule="constant", epochs=1)
    assert 0.6 <= sparsity_report(pruned).sparsity < 0.62


def test_constant_kernels_are_pruned_too():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(8, kernel_initializer="ones", trainable=False)])
    pruned = prune(model, np.ones((8, 4)), np.zeros(8, int), sparsity=0.5, epochs=1)
    assert sparsity_report(pruned).sparsity == 0.5


OUTPUTS = {
    "softmax, integers": ("softmax", 3, np.arange(12) % 3, None),
    "logits, integers": (None, 3, np.arange(12) % 3, None),
    "softmax, column": ("softmax", 3, (np.arange(12) % 3)[:, None], None),
    "softmax, one-hot": ("softmax", 3, np.eye(3)[np.arange(12) % 3], None),
    "sigmoid, binary": ("sigmoid", 1, np.arange(12) % 2, None),
    "sigmoid, booleans": ("sigmoid", 1, np.arange(12) % 2 == 0, None),
    "compiled one-hot, integers": ("softmax", 3, np.arange(12) % 3, "categorical_crossentropy"),
    "compiled object, integers": (None, 3, np.arange(12) % 3, keras.losses.CategoricalCrossentropy(from_logits=True)),
    "compiled sparse, one-hot": ("softmax", 3, np.eye(3)[np.arange(12) % 3], "sparse_categorical_crossentropy"),
    "regression": (None, 2, np.ones((12, 2)), "mse"),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_loss_follows_the_model_or_the_labels(case):
    activation, units, y, loss = OUTPUTS[case]
    model = keras.Sequential([layers.Input((4,)), layers.Dense(units, activation=activation)])
    if loss is not None:
        model.compile(loss=loss)
    pruned = prune(model, np.ones((12, 4)), y, epochs=1)
    assert pruned.compiled == model.compiled
    assert sparsity_report(pruned).sparsity >= 0.5


def test_inferred_loss_learns():
    x = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
    y = (x[:, 0] > x[:, 1]).astype(int)
    model = keras.Sequential([layers.Input((2,)), layers.Dense(16, activation="relu"), layers.Dense(2)])
    pruned = prune(model, x, y, sparsity=0.3, epochs=20, learning_rate=0.02, seed=0)
    assert np.mean(np.argmax(pruned(x), axis=1) == y) > 0.95


def test_datasets(dense_model):
    import tensorflow as tf

    model, x, y = dense_model
    model.compile("sgd", "categorical_crossentropy")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    assert sparsity_report(prune(model, data, sparsity=0.6)).sparsity >= 0.6
    with pytest.raises(InvalidArgument, match="y=None"):
        prune(model, data, y)
    with pytest.raises(InvalidArgument, match="known length"):
        prune(model, data.repeat())


def replaced(array, index, value):
    array = np.array(array, dtype=float)
    array.flat[index] = value
    return array


MISTAKES = {
    "sparsity 0": (lambda x, y: (x, y, {"sparsity": 0}), "sparsity in"),
    "sparsity 1": (lambda x, y: (x, y, {"sparsity": 1.0}), "sparsity in"),
    "sparsity NaN": (lambda x, y: (x, y, {"sparsity": float("nan")}), "sparsity in"),
    "schedule": (lambda x, y: (x, y, {"schedule": "linear"}), "schedule of polynomial, constant"),
    "pattern": (lambda x, y: (x, y, {"pattern": (4, 2)}), "0 < m < n"),
    "pattern and sparsity": (lambda x, y: (x, y, {"pattern": (2, 4), "sparsity": 0.8}), "no sparsity beside"),
    "pattern without groups": (lambda x, y: (x, y, {"pattern": (4, 8)}), "at least 8 inputs"),
    "a word for sparsity": (lambda x, y: (x, y, {"sparsity": "half"}), r"sparsity in \(0, 1\), got 'half'"),
    "epochs": (lambda x, y: (x, y, {"epochs": 0}), "epochs"),
    "batch_size": (lambda x, y: (x, y, {"batch_size": 2.5}), "batch_size"),
    "learning_rate": (lambda x, y: (x, y, {"learning_rate": 0}), "learning_rate"),
    "lengths": (lambda x, y: (x, y[:-1], {}), "one label per input"),
    "no labels": (lambda x, _: (x, None, {}), "labels y"),
    "empty": (lambda x, y: (x[:0], y[:0], {}), "at least one row"),
    "NaN in x": (lambda x, y: (replaced(x, 3, np.nan), y, {}), "finite numbers in x"),
    "NaN in y": (lambda x, y: (x, replaced(y, 3, np.nan), {}), "finite numbers in y"),
    "shape": (lambda x, y: (x[:, :5], y, {}), "inputs of shape"),
    "text": (lambda x, y: (x, y.astype(str), {}), "Expected numbers in y"),
    "label too large": (lambda x, y: (x, y + 1, {}), r"labels in \[0, 3\)"),
    "label negative": (lambda x, y: (x, y - 1, {}), r"labels in \[0, 3\)"),
    "one-hot of other width": (lambda x, y: (x, np.eye(4)[y], {}), "Expected integer classes"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named_before_any_training(case, dense_model):
    change, message = MISTAKES[case]
    model, x, y = dense_model
    x, y, options = change(x, y)
    with pytest.raises(InvalidArgument, match=message):
        prune(model, x, y, **options)


@keras_numpy2
def test_models_that_do_not_fit_are_named(dense_model, monkeypatch):
    model, x, y = dense_model
    with pytest.raises(InvalidArgument, match="Keras 3"):
        prune("model", x, y)
    with pytest.raises(InvalidArgument, match="built"):
        prune(keras.Sequential([layers.Dense(3)]), x, y)
    with pytest.raises(InvalidArgument, match="none to prune"):
        prune(keras.Sequential([layers.Input((6,)), layers.ReLU()]), x, y)
    a, b = layers.Input((6,)), layers.Input((6,))
    with pytest.raises(InvalidArgument, match="one input"):
        prune(keras.Model([a, b], layers.Dense(3)(a + b)), x, y)
    with pytest.raises(InvalidArgument, match="softmax, sigmoid or linear"):
        prune(keras.Sequential([layers.Input((6,)), layers.Dense(3, activation="relu")]), x, y)
    quantised = keras.Sequential([layers.Input((6,)), layers.Dense(3, activation="softmax")])
    quantised.layers[0].quantize("int8")
    with pytest.raises(InvalidArgument, match="quantised"):
        prune(quantised, x, y)
    with pytest.raises(InvalidArgument, match="built"):
        sparsity_report(keras.Sequential([layers.Dense(3)]))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InvalidArgument, match="KERAS_BACKEND=tensorflow"):
        prune(model, x, y)


def test_a_copy_that_differs_is_refused(dense_model, forgetful):
    _, x, y = dense_model
    model = keras.Sequential([layers.Input((6,)), forgetful, layers.Dense(3, activation="softmax")])
    with pytest.raises(KerasNASError, match="differs by"):
        prune(model, x, y)


def test_divergence_is_named(dense_model):
    _, x, y = dense_model
    model = keras.Sequential([layers.Input((6,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(KerasNASError, match="diverged"):
        prune(model, x, np.eye(3)[y] * 1e30)  # squared, more than a float32 can hold


def test_report_counts_in_closed_form():
    model = keras.Sequential([layers.Input((2,)), layers.Dense(4), layers.Dense(1)])
    model.layers[0].kernel.assign([[0, 1, 0, 2], [0, 0, 3, 0]])
    report = sparsity_report(model)
    assert [(kernel.weights, kernel.zeros) for kernel in report.kernels] == [(8, 5), (4, 0)]
    assert report.kernels[0].distinct == 4
    assert "5 of 12 weights in kernels that can be pruned are zero (42%), at most 4 values in a kernel" in str(report)
    assert report.sparsity == 5 / 12
    assert report.weights_bytes == 4 * (8 + 4 + 4 + 1)
