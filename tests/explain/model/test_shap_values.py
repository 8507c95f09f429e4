import sys

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument, MissingExtra
from kerasnas.explain.model.cell_grid import cell_grid
from kerasnas.explain.model.shap_values import shap_values

layers = keras.layers


def cell_sums(values, cells):
    return np.bincount(cell_grid(*values.shape, cells).reshape(-1), values.reshape(-1))


@pytest.fixture
def weights(rng):
    return rng.standard_normal((9, 12, 2))


def test_on_a_linear_score_one_order_is_exact(weights, rng):
    images = rng.standard_normal((2, 9, 12, 2)).astype("float32")
    calls = []

    def linear(x):
        calls.append(len(x))
        return np.stack([(x * weights).sum(axis=(1, 2, 3)), np.zeros(len(x)) - 5], axis=1)

    found = shap_values(linear, images, target=0, cells=3, evaluations=19, baseline=0.25)
    for image, values in zip(images, found.values, strict=True):
        expected = cell_sums((weights * (image - 0.25)).sum(axis=-1), 3)
        np.testing.assert_allclose(cell_sums(values, 3), expected, atol=1e-4)
        assert len(np.unique(values)) == 9  # the same in the whole cell
    assert max(found.details["completeness_gap"]) < 1e-4
    # The check of the answers, one order and the two ends for each image.
    assert sum(calls) == 2 + 2 * (19 + 2)


def test_pairs_of_cells_share_their_product_equally():
    # Shapley values of z0 z1 + 3 z2: a half, a half, 3, and nothing for the rest.
    def score(x):
        z = x[:, [0, 0, 2, 2], [0, 2, 0, 2], 0]
        return np.stack([z[:, 0] * z[:, 1] + 3 * z[:, 2], np.full(len(x), -1.0)], axis=1)

    values = shap_values(score, np.ones((1, 4, 4, 1)), target=0, cells=2, evaluations=9, baseline=0.0).values[0]
    np.testing.assert_allclose(cell_sums(values, 2), [0.5, 0.5, 3, 0], atol=1e-6)


def test_three_cells_share_their_product_and_the_error_falls_with_the_orders():
    def score(x):
        z = x[:, [0, 0, 1], [0, 1, 0], 0]
        return np.stack([z.prod(axis=1), np.full(len(x), -1.0)], axis=1)

    def errors(evaluations):
        found = [
            cell_sums(
                shap_values(
                    score, np.ones((1, 2, 2, 1)), target=0, cells=2, evaluations=evaluations, baseline=0.0, seed=seed
                ).values[0],
                2,
            )
            for seed in range(20)
        ]
        np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-6)
        return np.abs(np.array(found) - [1 / 3, 1 / 3, 1 / 3, 0]).mean()

    one, many = errors(9), errors(9 * 64)
    assert many < one / 3  # an eighth, in the mean


def test_a_background_is_the_mean_over_its_images(weights, rng):
    images, background = rng.random((1, 9, 12, 2)), rng.random((4, 9, 12, 2)).astype("float32")

    def squares(x):
        return np.stack([(weights * x**2).sum(axis=(1, 2, 3)), np.full(len(x), -9.0)], axis=1)

    found = shap_values(squares, images, target=0, cells=3, evaluations=19, background=background)
    expected = cell_sums((weights * (images[0] ** 2 - (background**2).mean(axis=0))).sum(axis=-1), 3)
    np.testing.assert_allclose(cell_sums(found.values[0], 3), expected, atol=1e-4)
    assert found.details["background"] == 4
    assert found.details["baseline"] is None


def test_a_model_its_function_and_single_images_are_alike_and_it_is_the_same_again(cnn, rng):
    model, images = cnn(head="linear"), rng.random((2, 12, 12, 3)).astype("float32")
    found = shap_values(model, images, target=[1, 3], cells=3, evaluations=40)
    assert found.details["orders"] == 2
    assert found.details["evaluations"] == 38
    box = shap_values(lambda x: model.predict(x, verbose=0), images, target=[1, 3], cells=3, evaluations=40)
    np.testing.assert_allclose(found.values, box.values, atol=1e-5)
    alone = shap_values(model, images[1:], target=3, cells=3, evaluations=40)
    np.testing.assert_allclose(alone.values[0], found.values[1], atol=1e-6)
    np.testing.assert_array_equal(found.explained.again(model, images, target=found.targets).values, found.values)
    other = shap_values(model, images, target=[1, 3], cells=3, evaluations=40, seed=1)
    assert np.any(other.values != found.values)


def test_it_leaves_the_generator_of_numpy_and_training_as_they_were(cnn, rng):
    from tensorflow.python.framework import ops

    model, images = cnn(), rng.random((4, 12, 12, 3)).astype("float32")
    before = [np.copy(weight) for weight in model.get_weights()]
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    shap_values(model, images[:1], cells=2, evaluations=9)
    np.testing.assert_array_equal(np.random.random(3), expected)  # noqa: NPY002
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert not [name for name in ops.gradient_registry.list() if name.startswith("shap_")]
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(images, np.array([0, 1, 2, 3]), verbose=0)
    assert any(np.any(weight != old) for weight, old in zip(model.get_weights(), before, strict=True))


def test_without_shap(cnn, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kerasnas\[explain\]'"):
        shap_values(cnn(), np.zeros((1, 12, 12, 3)), cells=2)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"cells": 0}, "cells"),
        ({"cells": 13}, "from 1 to 12"),
        ({"cells": 2.0}, "cells"),
        ({"cells": True}, "cells"),
        ({"cells": (4, 4)}, "cells"),
        ({"evaluations": 128}, "at least 129"),
        ({"evaluations": 1000.0}, "evaluations"),
        ({"baseline": "black"}, "baseline"),
        ({"background": np.zeros((2, 5, 5, 3))}, "background"),
        ({"background": np.zeros((2, 12, 12, 3)), "baseline": 0.0}, "came both"),
    ],
)
def test_it_refuses(cnn, settings, match):
    with pytest.raises(InvalidArgument, match=match):
        shap_values(cnn(), np.zeros((1, 12, 12, 3)), **settings)
