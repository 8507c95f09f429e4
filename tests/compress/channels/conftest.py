import keras
import numpy as np
import pytest

from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.proof import differences, random_inputs
from kerasnas.compress.channels.rebuild import rebuild
from kerasnas.compress.channels.selection import select


@pytest.fixture(scope="session")
def shake():
    """Give every weight of a model, moving statistics included, a value that a mistake would show in."""

    def shake(model, seed=0):
        rng = np.random.default_rng(seed)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
            elif not isinstance(layer, keras.Model | keras.layers.Normalization):
                for weight in layer._trainable_variables:
                    if len(weight.shape) == 1:
                        weight.assign(rng.normal(size=weight.shape) / 2)
        return model

    return shake


@pytest.fixture(scope="session")
def prune_at_random():
    """Remove random channels; return the smaller model and how far it is from the masked one."""

    def prune_at_random(model, seed=0, ratio=0.5):
        rng = np.random.default_rng(seed)
        dependencies = dependencies_of(model)
        everything = np.ones(dependencies.bundles.count, bool)
        scores = rng.random(dependencies.bundles.count)
        kept = select(dependencies.bundles, scores, ratio, everything, scope="layer", divisor=1)
        smaller = rebuild(model, dependencies, kept)
        return smaller, float(
            np.max([share for share, _ in differences(model, smaller, dependencies, kept, random_inputs(model, seed))])
        )

    return prune_at_random
