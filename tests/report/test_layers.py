"""The table of layers against counts by hand."""

import keras
import pytest
from keras import layers

from kerasnas.report import layer_table


@pytest.fixture
def model():
    inputs = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    x = layers.Conv2D(10, 1, groups=5, name="grouped")(x)
    skip = layers.Conv2D(10, 1, name="skip")(x)
    x = layers.Add(name="add")([x, skip])
    x = layers.Dense(7, name="everywhere")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(2, "softmax", name="probabilities")(x))


def test_parameters_add_up(model):
    assert sum(row["parameters"] for row in layer_table(model)) == model.count_params()


def test_macs_by_hand(model):
    macs = {row["name"]: row["macs"] for row in layer_table(model)}
    assert macs["conv"] == 8 * 6 * 3 * 3 * 3 * 4
    assert macs["depthwise"] == 4 * 3 * 3 * 3 * 4 * 2
    assert macs["separable"] == 4 * 3 * (3 * 3 * 8 + 8 * 5)
    assert macs["grouped"] == 4 * 3 * (5 // 5) * 10
    assert macs["everywhere"] == 4 * 3 * 10 * 7
    assert macs["probabilities"] == 4 * 3 * 7 * 2
    assert macs["norm"] == macs["add"] == macs["flatten"] == 0


def test_a_frozen_layer_computes_as_much(model):
    expected = [row["macs"] for row in layer_table(model)]
    model.trainable = False
    assert [row["macs"] for row in layer_table(model)] == expected


def test_shapes_and_inputs(model):
    rows = {row["name"]: row for row in layer_table(model)}
    assert rows["depthwise"]["shape"] == [4, 3, 8]
    assert rows["add"]["inputs"] == ["grouped", "skip"]
    assert rows["conv"]["kind"] == "Conv2D"


def test_what_the_rule_does_not_cover_is_not_guessed():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="any_size")(inputs)
    x = layers.Conv2DTranspose(4, 3, name="transpose")(x)
    nested = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="nested")
    x = nested(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    rows = {row["name"]: row for row in layer_table(model)}
    assert rows["any_size"]["macs"] is None
    assert rows["transpose"]["macs"] is None
    assert rows["nested"]["macs"] is None
    assert sum(row["parameters"] for row in rows.values()) == model.count_params()
