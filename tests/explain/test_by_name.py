"""The method that is taken where none is named."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.explain.by_name import map_method


def test_a_network_without_feature_maps_is_explained_by_integrated_gradients():
    network = [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3, "softmax")]
    model, images = keras.Sequential(network), np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    maps = map_method(None)(model, images)
    assert "integrated" in maps.method.lower()
    np.testing.assert_allclose(maps.values, map_method("integrated_gradients")(model, images).values, rtol=1e-5)
    with pytest.raises(InvalidArgument, match="convolution"):
        map_method("grad_cam")(model, images)
