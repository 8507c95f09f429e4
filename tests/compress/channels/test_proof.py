"""A wrong model is never returned."""

import keras
import numpy as np
import pytest

from kerasnas.compress import prune_channels
from kerasnas.compress.channels import weighted_layers
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.proof import prove
from kerasnas.compress.channels.rebuild import rebuild
from kerasnas.errors import KerasNASError

layers = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def network():
    x = layers.Input((4, 4, 3))
    y = layers.Conv2D(6, 3, activation="relu", name="a")(x)
    y = layers.BatchNormalization(name="norm")(y)
    return keras.Model(x, layers.Dense(2, activation="softmax", name="out")(layers.Flatten()(y)))


@pytest.fixture
def halved(shake):
    model = shake(network())
    dependencies = dependencies_of(model)
    kept = np.ones(dependencies.bundles.count, bool)
    kept[dependencies.bundles.groups[0][::2]] = False
    return model, rebuild(model, dependencies, kept), dependencies, kept


def test_the_right_model_passes(halved):
    assert prove(*halved) <= 1e-5


@pytest.mark.parametrize(("layer", "weight"), [("a", 0), ("a", 1), ("norm", 2), ("norm", 3), ("out", 0), ("out", 1)])
def test_any_wrong_weight_is_found(halved, layer, weight):
    smaller = halved[1]
    values = smaller.get_layer(layer).get_weights()
    values[weight] = values[weight][..., ::-1] * 1.001
    smaller.get_layer(layer).set_weights(values)
    with pytest.raises(KerasNASError, match="differs by"):
        prove(*halved)


def test_channels_in_the_wrong_order_are_found(halved):
    model, smaller, dependencies, _ = halved
    other = np.ones(dependencies.bundles.count, bool)
    other[dependencies.bundles.groups[0][1::2]] = False
    with pytest.raises(KerasNASError, match="differs by"):
        prove(model, smaller, dependencies, other)


def test_the_difference_of_tensors_that_are_nearly_alike_is_no_reason_to_refuse():
    # Sums over so many channels are rounded otherwise in the smaller model: by 1e-7 of them, but 1e-3 of their difference.
    inputs, shared = layers.Input((20,)), [layers.Dense(3000, "relu"), layers.Dense(16)]
    one, other = (shared[1](shared[0](x)) for x in (inputs, inputs * 1.0001))
    difference = layers.Subtract()([one, other])
    model = keras.Model(inputs, layers.Dense(1)(layers.Dense(4, "relu")(keras.ops.abs(difference))))
    small = prune_channels(model, ratio=0.5)
    assert small.count_params() < 0.6 * model.count_params()


def test_a_wrong_layer_behind_such_a_difference_is_found():
    inputs, shared = layers.Input((20,)), layers.Dense(16, name="shared")
    difference = layers.Subtract()([shared(inputs), shared(inputs * 1.0001)])
    model = keras.Model(inputs, layers.Dense(1)(layers.Dense(8, "relu", name="behind")(difference)))
    dependencies = dependencies_of(model)
    kept = np.ones(dependencies.bundles.count, bool)
    kept[dependencies.bundles.groups[0][::2]] = False
    smaller = rebuild(model, dependencies, kept)
    assert prove(model, smaller, dependencies, kept) <= 1e-5
    smaller.get_layer("behind").kernel.assign(smaller.get_layer("behind").kernel * 1.0001)
    with pytest.raises(KerasNASError, match="'behind' differs by"):
        prove(model, smaller, dependencies, kept)


def test_a_rule_that_is_wrong_is_found(monkeypatch, shake):
    def as_if_channels_were_alone(tracer, call, x):
        tracer.use(call, call.operation.gamma, -1, x.channels, "along")
        tracer.use(call, call.operation.beta, -1, x.channels, "along")
        return Layout(call.shapes[0], -1, x.channels)

    x = layers.Input((4, 4, 3))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.LayerNormalization()(layers.Conv2D(6, 1)(x)))))
    monkeypatch.setitem(weighted_layers.WEIGHTED, layers.LayerNormalization, as_if_channels_were_alone)
    monkeypatch.setattr("kerasnas.compress.channels.dependencies._RULES", {**weighted_layers.WEIGHTED, layers.Flatten: _flat})
    with pytest.raises(KerasNASError, match=r"'layer_normalization\w*' differs by"):
        prune_channels(model)


def _flat(tracer, call, x):
    return Layout(call.shapes[0], -1, np.tile(x.channels, call.shapes[0][-1] // len(x.channels)))


def test_a_layer_that_forgets_is_found(forgetful):
    model = keras.Sequential([layers.Input((6,)), forgetful, layers.Dense(8), layers.Dense(3)])
    with pytest.raises(KerasNASError, match="add it to get_config"):
        prune_channels(model)


def test_half_precision_is_judged_by_its_own_rounding(shake):
    with_policy = keras.Sequential(
        [layers.Input((5,)), layers.Dense(64, activation="relu", dtype="mixed_float16"), layers.Dense(4, dtype="mixed_float16")]
    )
    assert prune_channels(shake(with_policy)).layers[0].units == 32
