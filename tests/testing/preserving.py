"""Whether a network that has inherited its weights computes what its donor does."""

import json

import keras
import numpy as np
from keras import layers

from kerasnas.search.inheritance import inherit

PICTURES = (8, 8, 1)  # of which pixels go to 255


def scramble(model, seed=0):
    """Give every weight a value that a mistake would show in."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, layers.Normalization) or list(layer._flatten_layers(include_self=False)):
            continue
        norm = isinstance(layer, layers.BatchNormalization | layers.LayerNormalization)
        deep = isinstance(layer, layers.DepthwiseConv2D)
        new = [
            rng.uniform(0.5, 1.5, w.shape)
            if norm
            else rng.normal(0, 1.5 / np.sqrt(np.prod(w.shape[: 2 if deep else -1])) if w.ndim > 1 else 0.1, w.shape)
            for w in layer.get_weights()
        ]
        layer.set_weights(new)
    return model


def outputs(model):
    shape, rng = model.input_shape[1:], np.random.default_rng(5)
    x = rng.uniform(0, 1, (6, *shape)) * rng.uniform(0, 1, (6, *(1 for _ in shape)))
    x = (255 * x if shape == PICTURES else x).astype("float32")
    return keras.ops.convert_to_numpy(model(x, training=False))


def preserves(model, donor, atol=1e-4):
    """Inherit, and check that the function is the donor's, which it was not before."""
    expected = outputs(donor)
    spread = np.ptp(expected, axis=0).max()
    assert spread > 0.01 * np.abs(expected).max(), "the donor is constant: nothing is tested"
    assert np.abs(outputs(model) - expected).max() > 0.1 * spread
    result = inherit(model, donor)
    np.testing.assert_allclose(outputs(model), expected, atol=atol * spread)
    assert json.loads(json.dumps(result.layers)) == result.layers
    return result
