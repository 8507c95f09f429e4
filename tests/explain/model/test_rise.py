import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import rise

layers = keras.layers


@pytest.fixture
def quadrant():
    """A linear score: the mean of the upper left quarter of a 16x16 image, minus that of the lower right one."""
    weights = np.zeros((16, 16), "float32")
    weights[:8, :8], weights[8:, 8:] = 1 / 64, -1 / 64

    def scores(x):
        score = (x[..., 0] * weights).sum(axis=(1, 2))
        return np.stack([score, 2 + score], axis=1)

    return scores


def test_it_tells_how_much_higher_the_score_is_when_a_pixel_is_seen(quadrant):
    images = np.ones((1, 16, 16, 1), "float32")
    found = rise(quadrant, images, target=0, masks=4000, cells=2, baseline=0.0, keep=0.3).values[0]
    # Seeing a pixel goes with seeing about its cell: a score of 1 where the cell is the quarter, less between cells.
    assert found[:8, :8].mean() == pytest.approx(-found[8:, 8:].mean(), rel=0.1)
    assert 0.3 < found[:8, :8].max() <= 1.05
    # The other quarters are not read; what is left of them is chance and cells that reach over the edge.
    assert abs(found[0, 15]) < 0.05
    assert abs(found[15, 0]) < 0.05


def test_it_is_equation_6_of_its_own_masks_minus_that_of_what_they_hide(rng):
    weights, seen = rng.normal(size=(9, 12)), []

    def score(x):
        seen.append(x[..., 0].astype("float64"))
        return np.stack([7 + np.abs((x[..., 0] * weights).sum(axis=(1, 2))), np.full(len(x), -9.0)], axis=1)

    found = rise(score, np.ones((1, 9, 12, 1)), target=0, masks=300, cells=3, baseline=0.0).values[0]
    masks = np.concatenate(seen[1:])  # images of ones on black are the masks; first, the images are asked for
    assert masks.shape == (300, 9, 12)
    assert 0 <= masks.min() < masks.max() <= 1
    scores = 7 + np.abs((masks * weights).sum(axis=(1, 2)))
    kept = np.tensordot(scores, masks, axes=1) / masks.sum(axis=0)
    lost = np.tensordot(scores, 1 - masks, axes=1) / (1 - masks).sum(axis=0)
    np.testing.assert_allclose(found, kept - lost, rtol=1e-4, atol=1e-5)


def test_its_error_falls_with_the_number_of_masks(quadrant):
    images = np.ones((1, 16, 16, 1), "float32")
    corners = [
        [rise(quadrant, images, target=0, masks=n, cells=2, baseline=0.0, seed=seed).values[0, 0, 15] for seed in range(12)]
        for n in (50, 800)
    ]
    few, many = (np.std(values) for values in corners)
    assert many < few / 2  # a quarter, in the mean


def test_what_is_hidden_is_the_baseline():
    images = np.full((1, 8, 8, 1), 5.0, "float32")
    seen = []
    rise(lambda x: (seen.append(x), np.zeros((len(x), 2)))[1], images, target=0, masks=20, baseline=5.0)
    assert np.all(np.concatenate(seen) == 5.0)


def test_a_model_and_its_function_and_single_images_are_alike(cnn, rng):
    model, images = cnn(head="linear"), rng.random((2, 12, 12, 3)).astype("float32")
    explained = rise(model, images, target=[1, 3], masks=60)
    box = rise(lambda x: model.predict(x, verbose=0), images, target=[1, 3], masks=60)
    assert (explained.details["score"], box.details["score"]) == ("output", "output")
    np.testing.assert_allclose(explained.values, box.values, atol=1e-5)
    np.testing.assert_allclose(rise(model, images[1:], target=3, masks=60).values[0], explained.values[1], atol=1e-5)


def test_it_is_the_same_again_and_another_with_another_seed(quadrant, rng):
    images = rng.random((2, 16, 16, 1))
    first = rise(quadrant, images, masks=30, target=1)
    np.testing.assert_array_equal(first.explained.again(quadrant, images, target=first.targets).values, first.values)
    assert np.any(rise(quadrant, images, masks=30, target=1, seed=1).values != first.values)


@pytest.mark.parametrize(
    "settings", [{"masks": 1}, {"masks": 2.0}, {"cells": 0}, {"cells": 17}, {"keep": 0.0}, {"keep": 1.0}, {"keep": "half"}]
)
def test_it_refuses(quadrant, settings):
    with pytest.raises(InvalidArgument, match=r"Expected (masks|cells|keep)"):
        rise(quadrant, np.zeros((1, 16, 16, 1)), **settings)
