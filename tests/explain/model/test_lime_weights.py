import sys

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument, MissingExtra
from kerasnas.explain.model.cell_grid import cell_grid
from kerasnas.explain.model.lime_weights import lime_weights

layers = keras.layers


def cell_sums(values, cells):
    return np.bincount(cell_grid(*values.shape, cells).reshape(-1), values.reshape(-1))


@pytest.fixture
def linear(rng):
    """A linear score, and its weights."""
    weights = rng.standard_normal((9, 12, 2))
    return lambda x: np.stack([(x * weights).sum(axis=(1, 2, 3)), np.full(len(x), -50.0)], axis=1), weights


def test_on_a_linear_score_they_are_what_the_segments_add(linear, rng):
    score, weights = linear
    images = rng.standard_normal((2, 9, 12, 2)).astype("float32")
    found = lime_weights(score, images, target=0, segments=3, samples=3000, baseline=0.25)
    for image, values in zip(images, found.values, strict=True):
        expected = cell_sums((weights * (image - 0.25)).sum(axis=-1), 3)
        # The penalty of the ridge regression draws them towards zero by less than a hundredth.
        got = [values[cell_grid(9, 12, 3) == cell] for cell in range(9)]
        assert all(np.ptp(cell) == 0 for cell in got)
        np.testing.assert_allclose([cell[0] for cell in got], expected, rtol=0.02, atol=0.02 * np.abs(expected).max())
    assert min(found.details["fit"]) > 0.999
    assert found.details["segment_count"] == [9, 9]


def test_they_are_the_weighted_ridge_regression_of_the_scores(rng):
    asked = []

    def score(x):
        asked.append(x.copy())
        return np.stack([np.abs(x[:, 0, 0, 0] - x[:, 1, 1, 0]) + x[:, 1, 0, 0] ** 2, np.full(len(x), -5.0)], axis=1)

    image = np.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    found = lime_weights(score, image[None], target=0, segments=2, samples=60, baseline=0.0)
    seen = (np.concatenate(asked[1:]).reshape(-1, 4) != 0).astype(float)
    assert np.all(seen[0] == 1)
    answers = score(seen.reshape(-1, 2, 2, 1) * image)[:, 0]
    norms = np.sqrt(seen.sum(axis=1))
    distance = 1 - np.divide(norms, 2.0)  # cosine to the whole image: sum / (norm * 2)
    trust = np.sqrt(np.exp(-(distance**2) / 0.25**2))
    centred = seen - np.average(seen, axis=0, weights=trust)
    lhs = centred.T @ (trust[:, None] * centred) + np.eye(4)
    expected = np.linalg.solve(lhs, centred.T @ (trust * (answers - np.average(answers, weights=trust))))
    np.testing.assert_allclose(found.values[0].reshape(-1), expected, rtol=1e-4, atol=1e-5)
    left = answers - np.average(answers, weights=trust) - centred @ expected
    spread = answers - np.average(answers, weights=trust)
    assert found.details["fit"][0] == pytest.approx(1 - (trust * left**2).sum() / (trust * spread**2).sum(), abs=1e-4)


def test_superpixels_follow_the_edges_and_mark_the_planted_patch():
    image = np.zeros((24, 24, 3), "float32")
    image[5:14, 9:20] = [1.0, 0.2, 0.1]

    def score(x):
        return np.stack([x[:, 5:14, 9:20, 0].mean(axis=(1, 2)), np.full(len(x), -1.0)], axis=1)

    inside = np.zeros((24, 24), bool)
    inside[5:14, 9:20] = True
    for scale in (1, 255):  # whatever the units
        values = lime_weights(
            lambda x, scale=scale: score(x / scale), scale * image[None], target=0, segments="slic", baseline=0.0
        ).values[0]
        assert values[inside].min() > 5 * np.abs(values[~inside]).max()


@given(labels=st.lists(st.integers(-3, 200), min_size=16, max_size=16))
def test_a_function_may_number_its_segments_in_any_way(labels):
    names = np.array(labels).reshape(4, 4)
    found = lime_weights(
        lambda x: np.stack([x.sum(axis=(1, 2, 3)), np.zeros(len(x)) - 99], axis=1),
        np.ones((1, 4, 4, 1)),
        target=0,
        segments=lambda image: names,
        samples=400,
        baseline=0.0,
    )
    sizes = dict(zip(*np.unique(names, return_counts=True), strict=True))
    expected = np.vectorize(sizes.get)(names)
    if len(sizes) > 1:  # one segment is always seen or always hidden: half of the samples have a distance of 1
        np.testing.assert_allclose(found.values[0], expected, rtol=0.15, atol=0.3)
    assert found.details["segment_count"] == [len(sizes)]


def test_a_model_its_function_and_single_images_are_alike_and_it_is_the_same_again(cnn, rng):
    model, images = cnn(head="linear"), rng.random((2, 12, 12, 3)).astype("float32")
    found = lime_weights(model, images, target=[1, 3], segments=3, samples=60)
    box = lime_weights(lambda x: model.predict(x, verbose=0), images, target=[1, 3], segments=3, samples=60)
    np.testing.assert_allclose(found.values, box.values, atol=1e-5)
    alone = lime_weights(model, images[1:], target=3, segments=3, samples=60)
    np.testing.assert_allclose(alone.values[0], found.values[1], atol=1e-6)
    np.testing.assert_array_equal(found.explained.again(model, images, target=found.targets).values, found.values)
    other = lime_weights(model, images, target=[1, 3], segments=3, samples=60, seed=1)
    assert np.any(other.values != found.values)


def test_nothing_is_printed(linear, capfd):
    lime_weights(linear[0], np.ones((1, 9, 12, 2)), target=0, segments=2, samples=20)
    assert capfd.readouterr() == ("", "")


def test_a_sigmoid_unit_has_two_classes_of_opposite_sign(cnn, rng):
    model, images = cnn(classes=1, head="sigmoid"), rng.random((1, 12, 12, 3)).astype("float32")
    for_one, for_zero = (lime_weights(model, images, target=one, segments=2, samples=30).values for one in (1, 0))
    np.testing.assert_allclose(for_one, -for_zero, atol=1e-6)


def test_without_lime(cnn, monkeypatch):
    monkeypatch.setitem(sys.modules, "lime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kerasnas\[explain\]'"):
        lime_weights(cnn(), np.zeros((1, 12, 12, 3)))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"segments": 0}, "segments.*from 1 to 9"),
        ({"segments": 10}, "segments"),
        ({"segments": True}, "segments"),
        ({"segments": "quick"}, "segments"),
        ({"segments": lambda image: np.zeros((3, 3), int)}, r"\(9, 12\)"),
        ({"segments": lambda image: np.zeros((9, 12))}, "integers"),
        ({"samples": 1}, "samples"),
        ({"samples": 50.0}, "samples"),
        ({"baseline": "black"}, "baseline"),
    ],
)
def test_it_refuses(linear, settings, match):
    with pytest.raises(InvalidArgument, match=match):
        lime_weights(linear[0], np.zeros((1, 9, 12, 2)), **settings)
