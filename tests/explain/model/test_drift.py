import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import Attribution, drift, grad_cam, occlusion

layers = keras.layers


def linear(weights):
    """A model whose score of class 0 is the sum of weights * image."""
    model = keras.Sequential([keras.Input((*weights.shape, 1)), layers.Flatten(), layers.Dense(2)])
    kernel = np.stack([weights.reshape(-1), np.zeros(weights.size)], axis=1)
    model.layers[-1].set_weights([kernel, np.zeros(2)])
    return model


@pytest.fixture
def maps():
    weights = np.arange(1.0, 101.0).reshape(10, 10)
    return weights, occlusion(linear(weights), np.ones((2, 10, 10, 1)), target=0, patch=1, stride=1, baseline=0.0)


def test_the_same_model_and_one_of_twice_the_scores_have_not_drifted(maps):
    weights, attribution = maps
    for factor in (1, 2):
        found = drift(attribution, linear(factor * weights))
        assert found.to_dict() == pytest.approx({"rank_correlation": 1, "overlap": 1, "pointing_change": 0, "same_class": 1})
    np.testing.assert_allclose(found.attribution.values, 2 * attribution.values, rtol=1e-5)


def test_a_model_that_looks_at_the_opposite_corner(maps):
    weights, attribution = maps
    found = drift(attribution, linear(weights[::-1, ::-1]))
    np.testing.assert_allclose(found.rank_correlation, -1)
    np.testing.assert_array_equal(found.overlap, 0)
    np.testing.assert_allclose(found.pointing_change, 1)  # from one corner to the other: the diagonal
    assert found.same_class.all()
    assert not drift(attribution, linear(-weights)).same_class.any()


def test_half_of_the_highest_tenth(maps):
    weights, attribution = maps
    other = weights.copy()
    other[9, 5:], other[0, :5] = weights[0, :5], weights[9, 5:]  # the five highest change places with five of the lowest
    found = drift(attribution, linear(other))
    np.testing.assert_allclose(found.overlap, 0.5)
    assert "share 50% of the highest tenth" in str(found)


def test_a_black_box_of_the_same_model_has_not_drifted(cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    for one, other in ((model, lambda x: model.predict(x, verbose=0)), (lambda x: model.predict(x, verbose=0), model)):
        found = drift(occlusion(one, images), other)
        assert found.rank_correlation.min() > 0.999
        assert found.same_class.all()
    with pytest.raises(InvalidArgument, match="Expected a Keras 3 model"):
        drift(grad_cam(model, images), lambda x: model.predict(x, verbose=0))


def test_maps_of_one_value(cnn, rng):
    images = rng.random((1, 12, 12, 3)).astype("float32")
    model = cnn()
    model.layers[-1].set_weights([np.zeros((16, 4)), np.zeros(4)])
    attribution = grad_cam(model, images)
    np.testing.assert_array_equal(attribution.values, 0)
    assert drift(attribution, model).rank_correlation == 1
    assert drift(attribution, cnn()).rank_correlation == 0


def test_maps_from_elsewhere():
    with pytest.raises(InvalidArgument, match="do not tell how"):
        drift(Attribution(np.ones((1, 2, 2)), np.ones((1, 2, 2, 1)), np.zeros(1, int), "mine"), linear(np.ones((2, 2))))
