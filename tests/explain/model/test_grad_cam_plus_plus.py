import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import grad_cam, grad_cam_plus_plus

layers = keras.layers


@pytest.fixture
def linear_head(rng):
    """A convolution, the mean over positions, linear scores: every gradient is known."""
    start = keras.Input((6, 8, 2))
    features = layers.Conv2D(5, 3, padding="same", activation="relu", name="features")(start)
    scores = layers.Dense(3, activation="softmax", name="scores")(layers.GlobalAveragePooling2D()(features))
    return keras.Model(start, scores), keras.Model(start, features)


def test_on_a_linear_head_it_is_the_closed_form(linear_head, rng):
    model, inner = linear_head
    images = rng.standard_normal((3, 6, 8, 2)).astype("float32")
    maps, kernel = inner.predict(images, verbose=0).astype("float64"), model.get_layer("scores").get_weights()[0]
    slope = kernel[:, 1] / 48  # the same at all 48 positions
    total = maps.sum(axis=(1, 2))
    helps = np.maximum(slope, 0)
    weights = 48 * helps / (2 + total * helps)  # equation 19 where g > 0: g^2 / (2 g^2 + sum(A) g^3)
    expected = np.maximum((maps * weights[:, None, None, :]).sum(axis=-1), 0)
    found = grad_cam_plus_plus(model, images, target=1)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    assert found.details == {"layer": "features", "score": "logit"}


def test_a_feature_that_hurts_everywhere_counts_nothing(linear_head, rng):
    model, _ = linear_head
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([-np.abs(kernel), bias])
    images = rng.standard_normal((2, 6, 8, 2)).astype("float32")
    assert np.all(grad_cam_plus_plus(model, images, target=0).values == 0)


def test_it_takes_the_layer_of_grad_cam_and_the_targets_of_each(cnn, rng):
    model, images = cnn(nested=[]), rng.random((3, 12, 12, 3)).astype("float32")
    found, plain = (explain(model, images, target=[1, 0, 1]) for explain in (grad_cam_plus_plus, grad_cam))
    assert found.details == plain.details
    for index, target in enumerate([1, 0, 1]):
        alone = grad_cam_plus_plus(model, images[index : index + 1], target=target, layer=found.details["layer"])
        np.testing.assert_allclose(alone.values[0], found.values[index], rtol=1e-4, atol=1e-6)


def test_a_model_without_a_feature_map():
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    with pytest.raises(InvalidArgument, match="Expected a model with a convolution"):
        grad_cam_plus_plus(model, np.zeros((1, 4, 4, 1)))
