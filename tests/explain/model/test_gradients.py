"""Gradient methods against closed forms."""

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import gradient_x_input, integrated_gradients, smooth_grad, vanilla_gradients

layers = keras.layers
ALL = pytest.mark.parametrize("explain", [vanilla_gradients, gradient_x_input, integrated_gradients, smooth_grad])


@pytest.fixture
def linear(rng):
    """A linear model, and the weights of its class 1, shape (4, 6, 2)."""
    model = keras.Sequential([keras.Input((4, 6, 2)), layers.Flatten(), layers.Dense(3, activation="softmax", name="scores")])
    weights = rng.standard_normal((48, 3)).astype("float32")
    model.get_layer("scores").set_weights([weights, np.zeros(3, "float32")])
    return model, weights[:, 1].reshape(4, 6, 2).astype("float64")


@pytest.fixture
def product():
    """A score that is the product of the first two pixels; a third one does nothing."""
    start = keras.Input((1, 3, 1))
    pixels = layers.Flatten()(start)
    return keras.Model(start, keras.ops.concatenate([pixels[:, :1] * pixels[:, 1:2], 0 * pixels[:, :1]], axis=1))


def test_on_a_linear_model_they_are_its_weights(linear, rng):
    model, weights = linear
    images = rng.standard_normal((3, 4, 6, 2)).astype("float32")
    steep = np.broadcast_to(np.abs(weights).max(axis=-1), (3, 4, 6))
    np.testing.assert_allclose(vanilla_gradients(model, images, target=1).values, steep, atol=1e-6)
    np.testing.assert_allclose(smooth_grad(model, images, target=1, noise=2.0).values, steep, atol=1e-5)
    shares = (weights * images).sum(axis=-1)
    np.testing.assert_allclose(gradient_x_input(model, images, target=1).values, shares, atol=1e-5)
    shares = (weights * (images - 0.25)).sum(axis=-1)
    np.testing.assert_allclose(integrated_gradients(model, images, target=1, baseline=0.25, steps=1).values, shares, atol=1e-5)


def test_integrated_gradients_share_a_product_equally_and_give_what_does_nothing_nothing(product):
    images = np.array([[[[3.0], [2.0], [7.0]]], [[[-1.0], [4.0], [5.0]]]], "float32")
    found = integrated_gradients(product, images, target=0, baseline=0.0)
    np.testing.assert_allclose(found.values, [[[3, 3, 0]], [[-2, -2, 0]]], atol=1e-5)
    assert found.values[0, 0, 2] == 0
    np.testing.assert_allclose(found.details["completeness_gap"], 0, atol=1e-5)


def test_integrated_gradients_add_up_to_the_rise_of_the_score(cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    few, many = (integrated_gradients(model, images, target=2, baseline=0.5, steps=steps) for steps in (1, 128))
    head = model.layers[-1]
    scores = keras.Model(model.inputs, head.input).predict([images, np.full_like(images, 0.5)][0], verbose=0)
    neutral = keras.Model(model.inputs, head.input).predict(np.full_like(images, 0.5), verbose=0)
    rise = (scores - neutral) @ head.get_weights()[0][:, 2]
    np.testing.assert_allclose(many.values.sum(axis=(1, 2)), rise, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(few.details["completeness_gap"], np.abs(few.values.sum(axis=(1, 2)) - rise), atol=1e-4)
    assert np.mean(many.details["completeness_gap"]) < np.mean(few.details["completeness_gap"])


def test_integrated_gradients_of_a_polynomial_are_complete_and_exact(rng):
    """Of a sum of a x^4 + b x y, they are a (x^4 - c^4) + b (x y - c^2) / 2 each way; three points are exact up to x^5."""
    start = keras.Input((4, 6, 1))
    x = layers.Flatten()(start)
    a, b = rng.normal(size=24).astype("float32"), rng.normal(size=12).astype("float32")
    left, right = x[:, :12], x[:, 12:]
    score = keras.ops.sum(x**4 * a, axis=1, keepdims=True) + keras.ops.sum(left * right * b, axis=1, keepdims=True)
    images, c = rng.normal(size=(3, 4, 6, 1)).astype("float32"), 0.5
    found = integrated_gradients(
        keras.Model(start, keras.ops.concatenate([-score, score], axis=1)), images, target=1, baseline=c, steps=3
    )
    flat = images.reshape(3, 24).astype("float64")
    pairs = b * (flat[:, :12] - c) * (flat[:, 12:] - c) / 2  # the product of the two ways is shared equally
    expected = a * (flat**4 - c**4)
    expected[:, :12] += pairs + b * c * (flat[:, :12] - c)
    expected[:, 12:] += pairs + b * c * (flat[:, 12:] - c)
    np.testing.assert_allclose(found.values.reshape(3, 24), expected, rtol=1e-4, atol=1e-4)
    rise = (a * (flat**4 - c**4)).sum(axis=1) + (b * (flat[:, :12] * flat[:, 12:] - c**2)).sum(axis=1)
    np.testing.assert_allclose(found.details["score_rise"], rise, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.details["completeness_gap"], 0, atol=1e-4)


def test_without_noise_smooth_grad_is_the_gradient(cnn, rng):
    model, images = cnn(), rng.random((2, 12, 12, 3)).astype("float32")
    smooth, plain = smooth_grad(model, images, target=0, noise=0.0, samples=3), vanilla_gradients(model, images, target=0)
    np.testing.assert_allclose(smooth.values, plain.values, rtol=1e-4, atol=1e-6)


def test_the_noise_of_smooth_grad_is_relative_to_the_range_of_the_image(rng):
    start = keras.Input((2, 2, 1))
    squares = layers.Flatten()(keras.ops.square(start))  # d/dx = 2 x: the mean over noise is 2 (x + mean noise)
    model, images = keras.Model(start, squares), np.array([[[[0.0], [1.0]], [[2.0], [4.0]]]], "float32")
    noise = np.random.default_rng(5).standard_normal((10, 2, 2, 1)).mean(axis=0)
    found = smooth_grad(model, images, target=3, noise=0.5, samples=10, seed=5).values[0]
    np.testing.assert_allclose(found[1, 1], 2 * abs(4 + 0.5 * 4 * noise[1, 1, 0]), rtol=1e-5)
    assert np.all(found[:1] == 0)


@ALL
def test_a_batch_equals_single_images_and_the_target_of_each(explain, cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    together = explain(model, images, target=[2, 0, 2])
    for index, target in enumerate([2, 0, 2]):
        alone = explain(model, images[index : index + 1], target=target)
        np.testing.assert_allclose(together.values[index], alone.values[0], rtol=1e-3, atol=1e-5)
    again = together.explained.again(model, images, target=together.targets)
    np.testing.assert_array_equal(again.values, together.values)


def test_a_score_without_a_gradient(rng):
    start = keras.Input((4, 4, 1))
    model = keras.Model(start, keras.ops.cast(layers.Flatten()(start) > 0.5, "float32"))
    with pytest.raises(InvalidArgument, match=r"gradient.*occlusion or RISE"):
        vanilla_gradients(model, rng.random((1, 4, 4, 1)), target=0)


def test_a_model_of_whole_numbers_has_no_gradient_and_says_so(rng):
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(keras.layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    with pytest.raises(InvalidArgument, match="came one that takes uint8, whole numbers"):
        vanilla_gradients(model, rng.integers(0, 256, (2, 6, 6, 1)).astype("uint8"))


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"steps": 2.5}, {"steps": True}, {"baseline": "black"}, {"baseline": np.nan}]
)
def test_integrated_gradients_refuse(linear, settings):
    with pytest.raises(InvalidArgument, match=r"Expected (steps|baseline)"):
        integrated_gradients(linear[0], np.zeros((1, 4, 6, 2)), **settings)


@pytest.mark.parametrize("settings", [{"samples": 0}, {"samples": "many"}, {"noise": -0.1}, {"noise": np.inf}, {"noise": None}])
def test_smooth_grad_refuses(linear, settings):
    with pytest.raises(InvalidArgument, match=r"Expected (samples|noise)"):
        smooth_grad(linear[0], np.zeros((1, 4, 6, 2)), **settings)
