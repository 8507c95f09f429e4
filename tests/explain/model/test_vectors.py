"""What explains models of vectors, signals and words, as of images."""

import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain import (
    confusion,
    decision_boundary,
    layer_importance,
    layer_latency,
    occlusion,
    structure,
    weight_statistics,
)

layers = keras.layers
HIDDEN = np.array([[1, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]], "float32")  # the fourth unit is dead
LAST = np.array([[1, 0], [0, 3], [0, 1], [0, 0]], "float32")


@pytest.fixture
def model():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="relu", name="hidden"),
            layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    model.get_layer("hidden").set_weights([HIDDEN, np.zeros(4, "float32")])
    model.get_layer("scores").set_weights([LAST, np.zeros(2, "float32")])
    return model


@pytest.fixture
def x(rng):
    return rng.normal(size=(40, 3)).astype("float32")


def features_of(x):
    return np.maximum(x @ HIDDEN, 0)


def losses(scores, y):
    return np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]


def test_confusion(model, x, tmp_path):
    y, scores = np.arange(40) % 2, features_of(x) @ LAST
    found = confusion(model, x, y)
    predicted = scores.argmax(axis=1)
    expected = [[((y == true) & (predicted == came)).sum() for came in (0, 1)] for true in (0, 1)]
    np.testing.assert_array_equal(found.matrix, expected)
    surest = found.mistakes[0]
    wrong = np.flatnonzero(y != predicted)
    assert surest.index == wrong[losses(scores, predicted)[wrong].argmin()]
    np.testing.assert_array_equal(found.images[0], x[surest.index])
    with Image.open(found.save(tmp_path / "matrix.png")) as picture:
        assert picture.format == "PNG"


def test_layer_importance(model, x):
    features = features_of(x)
    scores = features @ LAST
    y = scores.argmin(axis=1)
    found = layer_importance(model, x, y, ways="mean", channels=True)
    assert found.loss == pytest.approx(losses(scores, y).mean(), rel=1e-5)
    assert [(row.layer, row.channel) for row in found.rows] == [("hidden", unit) for unit in range(4)]
    for unit, row in enumerate(found.rows):
        ablated = features.copy()
        ablated[:, unit] = features[:, unit].mean()
        assert row.loss_change == pytest.approx((losses(ablated @ LAST, y) - losses(scores, y)).mean(), abs=1e-5)
    assert found.rows[0].loss_change != 0


def test_decision_boundary(model, x):
    found = decision_boundary(model, x, resolution=5)
    features = features_of(x)
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    assert found.layer == "hidden"
    np.testing.assert_array_equal(found.predicted, (features @ LAST).argmax(axis=1))
    np.testing.assert_allclose(found.variance_shares, values[:2] / values.sum(), rtol=1e-4)


def test_weight_statistics_and_latency(model, x):
    found = weight_statistics(model, x)
    row = found.of("hidden", "activation")
    assert (row.units, row.dead_units, row.zero_units) == (4, 1, 1)
    assert row.mean == pytest.approx(features_of(x).mean(), rel=1e-5)
    times = layer_latency(model, x)
    assert list(times) == ["hidden", "scores"] == [row.path for row in structure(model).rows[1:]]


def test_signals_and_words(rng):
    signal = keras.Sequential(
        [
            keras.Input((9, 2)),
            layers.Conv1D(3, 2, activation="relu", name="conv"),
            layers.GlobalMaxPooling1D(name="pool"),
            layers.Dense(2),
        ]
    )
    words = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(11, 4, name="words"),
            layers.GlobalAveragePooling1D(name="pool"),
            layers.Dense(1, "sigmoid"),
        ]
    )
    y = np.arange(20) % 2
    for model, x in ((signal, rng.normal(size=(20, 9, 2))), (words, rng.integers(0, 11, size=(20, 6)))):
        answers = np.asarray(model(x.astype("float32")))
        expected = answers.argmax(axis=1) if answers.shape[1] > 1 else answers[:, 0] > 0.5
        assert confusion(model, x, y).accuracy == pytest.approx((expected == y).mean())
        assert "pool" in {row.layer for row in layer_importance(model, x, y, repeats=1).rows}
        assert decision_boundary(model, x, resolution=3).layer == "pool"
        assert weight_statistics(model, x).of("pool", "activation").mean == pytest.approx(
            np.asarray(keras.Model(model.inputs[0], model.get_layer("pool").output)(x.astype("float32"))).mean(), rel=1e-4
        )


def test_a_layer_that_gives_nothing_on_the_first_samples_is_one_all_the_same():
    rng = np.random.default_rng(0)
    stack = [layers.Dense(3, use_bias=False, name="mixed"), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((3,)), *stack])
    x = np.concatenate([np.zeros((3, 3)), rng.normal(size=(20, 3))]).astype("float32")
    assert {row.layer for row in layer_importance(model, x, np.arange(23) % 2, repeats=1).rows} >= {"mixed"}


def test_what_is_refused(model, x):
    for wrong in (x[:, :2], x[0], x[:0], np.full((4, 3), "a"), [[1], [2, 3]]):
        with pytest.raises(InvalidArgument, match=r"samples of shape \(batch, 3\)"):
            confusion(model, wrong, np.zeros(len(wrong), int))
    with pytest.raises(InvalidArgument, match="finite float32 samples; came 120"):
        confusion(model, x * np.nan, np.zeros(40, int))
    with pytest.raises(InvalidArgument, match=r"two spatial axes; of others permutation_importance, confusion, .* tell"):
        occlusion(model, x)
