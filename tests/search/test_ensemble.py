"""Ensembles against the mean of their members, and their choice against brute force."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.compress import prune
from kerasnas.errors import InvalidArgument
from kerasnas.explain import grad_cam
from kerasnas.export import to_onnx
from kerasnas.search.ensemble import average, greedy_selection

layers = keras.layers


def sequential(filters=3):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(filters, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(4, activation="softmax", name="scores"),
        ],
        name="small",
    )


def branched():
    """Shared and nested layers, an operation, and a layer that derives values from its weights."""
    start = keras.Input((8, 8, 1), name="pixels")
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(1).normal(3, 2, (20, 8, 8, 1)))
    shared = layers.Conv2D(2, 3, padding="same", name="conv")
    block = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(2, 1, name="conv")], name="block")
    x = shared(norm(start))
    x = keras.ops.relu(layers.Add(name="merge")([block(x, training=False), shared(keras.ops.mean(x, axis=-1, keepdims=True))]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(start, layers.Dense(4, activation="softmax", name="scores")(x), name="branched")


@pytest.fixture
def members():
    keras.utils.set_random_seed(3)
    models = [sequential(), branched(), sequential(5)]
    rng = np.random.default_rng(0)
    for model in models:
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
    models[0].compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return models


@pytest.fixture
def images():
    return np.random.default_rng(5).normal(size=(6, 8, 8, 1)).astype("float32")


def outputs(models, x):
    return np.stack([model.predict(x, verbose=0) for model in models])


@pytest.mark.parametrize("weights", [None, [1, 1, 2], [0.5, 0.0, 0.25], [0, 3, 0]])
def test_it_is_the_weighted_mean(members, images, weights):
    expected = np.average(outputs(members, images), axis=0, weights=weights)
    (got,) = outputs([average(members, weights=weights)], images)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-5)


def test_one_model_is_copied(members, images):
    ensemble = average(members[1:2], name="alone")
    assert ensemble.name == "alone"
    np.testing.assert_allclose(*outputs([ensemble, members[1]], images), atol=1e-6)


def test_a_member_may_come_twice(members, images):
    (got,) = outputs([average([members[0], members[0]])], images)
    np.testing.assert_allclose(got, members[0].predict(images, verbose=0), atol=1e-6)


def test_nothing_of_the_members_is_shared_or_changed(members, images):
    def nodes(model):
        return [len(operation._inbound_nodes) + len(operation._outbound_nodes) for operation in model.operations]

    before = outputs(members, images)
    names = [[layer.name for layer in model.layers] for model in members]
    edges = nodes(members[1])
    ensemble = average(members)
    assert not {id(v) for v in ensemble.variables} & {id(v) for model in members for v in model.variables}
    for variable in ensemble.trainable_variables:
        variable.assign(variable + 1)
    assert np.array_equal(outputs(members, images), before)
    assert [[layer.name for layer in model.layers] for model in members] == names
    assert nodes(members[1]) == edges


def test_names_are_unique_and_say_the_member(members):
    ensemble = average(members)
    names = [operation.name for operation in ensemble.operations]
    assert len(set(names)) == len(names)
    assert {"member_0_conv", "member_1_block", "member_2_conv"} <= set(names)
    assert len(ensemble.weights) == sum(len(model.weights) for model in members)


def test_it_is_compiled_as_the_first(members, images):
    labels = np.arange(6) % 4
    ensemble = average(members)
    loss, accuracy = ensemble.evaluate(images, labels, verbose=0)
    mean = outputs(members, images).mean(axis=0)
    assert loss == pytest.approx(-np.log(mean[np.arange(6), labels]).mean(), rel=1e-4)
    assert accuracy == pytest.approx((mean.argmax(axis=1) == labels).mean())
    assert not average(members[1:]).compiled


def test_mixed_precision_is_averaged_in_float32(images):
    models = []
    try:
        for policy in ("mixed_bfloat16", "float32"):
            keras.config.set_dtype_policy(policy)
            models.append(sequential())
    finally:
        keras.config.set_dtype_policy("float32")
    ensemble = average(models)
    assert ensemble.outputs[0].dtype == "float32"
    expected = outputs(models, images).astype("float32").mean(axis=0)
    np.testing.assert_allclose(ensemble.predict(images, verbose=0), expected, atol=1e-6)


def test_it_can_be_saved(members, images, tmp_path):
    ensemble = average(members, weights=[1, 2, 3])
    ensemble.save(tmp_path / "e.keras")
    loaded = keras.saving.load_model(tmp_path / "e.keras")
    assert np.array_equal(*outputs([ensemble, loaded], images))


def test_it_can_be_exported(members, images, tmp_path):
    file = to_onnx(average(members, weights=[1, 2, 3]), tmp_path / "e.onnx", x=images)  # raises if ONNX computes otherwise
    assert file.path.exists()


def test_it_can_be_explained(members, images):
    members = [members[0], members[2]]
    ensemble = average(members)
    parts = []
    for index in (0, 1):
        map_ = grad_cam(ensemble, images, target=2, layer=f"member_{index}_conv").values
        assert map_.shape == (6, 8, 8)
        parts.append(map_)
    assert max(part.max() for part in parts) > 0
    assert np.isfinite(grad_cam(ensemble, images).values).all()


@pytest.mark.slow
def test_it_can_be_pruned(members, images):
    pruned = prune(average(members), images, np.arange(6) % 4, sparsity=0.5, epochs=1, seed=0)
    for name in ("member_0_conv", "member_1_conv", "member_2_scores"):
        kernel = pruned.get_layer(name).kernel.numpy()
        assert (kernel == 0).mean() >= 0.5


def test_mistakes_are_told(members):
    other = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(7)])
    wide = keras.Sequential([keras.Input((9, 8, 1)), layers.Flatten(), layers.Dense(4)])
    left, right = keras.Input((1,)), keras.Input((1,))
    pair = keras.Model([left, right], layers.Add()([left, right]))
    for models, message in [
        ([], "at least one model"),
        ([members[0], other], r"\(None, 4\).*\(None, 7\)"),
        ([members[0], wide], r"\(None, 8, 8, 1\).*\(None, 9, 8, 1\)"),
        ([keras.Sequential([layers.Dense(1)])], "built"),
        ([3], "built"),
        ([pair], "2 and 1"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            average(models)
    for weights in ([1, 2], [1, 2, np.nan], [1, -1, 1], [0, 0, 0], [np.inf, 1, 1]):
        with pytest.raises(InvalidArgument, match="weights"):
            average(members, weights=weights)


def test_a_layer_that_cannot_be_copied_is_named(members):
    class Odd(layers.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor()

    odd = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), Odd(lambda: 2.0), layers.Dense(4)], name="oddity")
    with pytest.raises(InvalidArgument, match="oddity"):
        average([odd])


# -- greedy selection --


def score(predictions, labels, weights, metric):
    mean = np.tensordot(weights, predictions, axes=1)
    if metric == "accuracy":
        return (mean.argmax(axis=1) == labels).mean()
    return np.log(np.clip(mean[np.arange(len(labels)), labels], 1e-7, 1)).mean()


def by_hand(predictions, labels, size, metric):
    """Every ensemble on the greedy way, found by trying all additions at each step; the first of the best."""
    chosen, way = [], []
    for _ in range(size):
        trials = [
            (score(predictions, labels, np.bincount([*chosen, i], minlength=len(predictions)) / (len(chosen) + 1), metric), -i)
            for i in range(len(predictions))
        ]
        best, index = max((round(value, 12), index) for value, index in trials)
        chosen.append(-index)
        way.append((best, list(chosen)))
    top = max(value for value, _ in way)
    members = next(members for value, members in way if value == top)
    return np.bincount(members, minlength=len(predictions)) / len(members)


cases = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 3), st.integers(1, 5), st.integers(0, 2**32 - 1))


@settings(max_examples=60)
@given(cases, st.sampled_from(["accuracy", "loss"]))
def test_selection_is_greedy_and_never_worse_than_the_best_model(case, metric):
    k, n, classes, size, seed = case
    rng = np.random.default_rng(seed)
    predictions, labels = rng.dirichlet(np.ones(classes), (k, n)), rng.integers(0, classes, n)
    weights = greedy_selection(predictions, labels, size=size, metric=metric)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, by_hand(predictions, labels, size, metric))
    got = score(predictions, labels, weights, metric)
    assert got >= max(score(predictions, labels, one, metric) for one in np.eye(k)) - 1e-12
    # No ensemble of that size, with replacement, may be better than all of them together say.
    every = [np.bincount(c, minlength=k) / len(c) for r in range(1, size + 1) for c in itertools.product(range(k), repeat=r)]
    assert got <= max(score(predictions, labels, w, metric) for w in every) + 1e-12


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_selection_of_two_is_optimal_among_pairs_with_the_best(metric):
    rng = np.random.default_rng(4)
    predictions, labels = rng.dirichlet(np.ones(3), (5, 40)), rng.integers(0, 3, 40)
    weights = greedy_selection(predictions, labels, size=2, metric=metric)
    best = max(range(5), key=lambda i: score(predictions, labels, np.eye(5)[i], metric))
    pairs = [(np.eye(5)[best] + np.eye(5)[i]) / 2 for i in range(5)]
    assert score(predictions, labels, weights, metric) == pytest.approx(
        max(score(predictions, labels, w, metric) for w in pairs)
    )


def test_models_that_complement_each_other_are_found_among_noise():
    # Models 1 and 3 are each sure where the other is unsure, and right; the others guess.
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    predictions = rng.dirichlet(np.ones(2) * 20, (5, 40))
    for model, rows in ((1, slice(0, 20)), (3, slice(20, 40))):
        predictions[model] = 0.5
        predictions[model, rows] = np.where(labels[rows, None] == np.arange(2), 0.99, 0.01)
    weights = greedy_selection(predictions, labels, size=4)
    assert weights.tolist() == [0, 0.5, 0, 0.5, 0]


def test_the_first_of_equals_is_chosen():
    same = np.full((3, 4, 2), 0.5)
    assert greedy_selection(same, [0, 1, 0, 1], size=5).tolist() == [1, 0, 0]


def test_the_weights_are_those_of_average(members, images):
    labels = np.arange(6) % 4
    predictions = outputs(members, images)
    weights = greedy_selection(predictions, labels, size=6)
    ensemble = average(members, weights=weights)
    loss, _ = ensemble.evaluate(images, labels, verbose=0)
    assert loss == pytest.approx(-score(predictions, labels, weights, "loss"), rel=1e-4)


def test_mistakes_of_a_selection_are_told():
    good = np.full((2, 3, 2), 0.5)
    for predictions, labels, options, message in [
        (good[0], [0, 1, 0], {}, "models, n, classes"),
        (good, [0, 1], {}, "labels of shape"),
        (good * 3, [0, 1, 0], {}, "probabilities"),
        (good * np.nan, [0, 1, 0], {}, "probabilities"),
        (good, [0, 1, 2], {}, "integer labels"),
        (good, [0.0, 1.0, 0.0], {}, "integer labels"),
        (good, [0, 1, 0], {"size": 0}, "size"),
        (good, [0, 1, 0], {"size": True}, "size"),
        (good, [0, 1, 0], {"metric": "auc"}, "metric"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            greedy_selection(predictions, labels, **{"size": 2} | options)
