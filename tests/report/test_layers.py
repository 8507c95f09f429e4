"""The table of layers against counts by hand."""

import keras
import pytest
from keras import layers

from kerasnas.cost import cost_of
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


def test_transposed_nested_and_shared_layers_by_hand():
    inputs = keras.Input((5, 4, 3))
    x = layers.Conv2DTranspose(6, 3, strides=2, name="transposed")(inputs)
    nested = keras.Sequential([keras.Input((None, None, 6)), layers.Conv2D(2, 1), layers.Conv2D(6, 1)], name="nested")
    x = nested(nested(x))
    shared = layers.Dense(6, name="shared")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    rows = layer_table(keras.Model(inputs, shared(shared(x))))
    macs = {row["name"]: row["macs"] for row in rows}
    assert macs["transposed"] == 5 * 4 * 3 * 3 * 3 * 6
    assert macs["nested"] == 2 * 11 * 9 * (6 * 2 + 2 * 6)
    assert macs["shared"] == 2 * 6 * 6
    assert macs["pool"] == 0


@pytest.mark.parametrize("where", ["within the nested model", "beside it", "in both"])
def test_the_rows_add_up_to_the_cost_of_the_model(where):
    inputs = keras.Input((6, 6, 4))
    shared = layers.Conv2D(4, 3, padding="same")
    inner = keras.Input((6, 6, 4))
    nested = keras.Model(inner, shared(keras.ops.relu(inner)) if where != "beside it" else layers.Conv2D(4, 1)(inner))
    x = nested(inputs)
    model = keras.Model(inputs, shared(x) if where != "within the nested model" else layers.MultiHeadAttention(2, 4)(x, x))
    macs = [row["macs"] for row in layer_table(model)]
    assert sum(macs) == cost_of(model).macs > 0
    assert macs[0] == 0  # the input


class Own(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.kernel = self.add_weight(shape=(3, 3))

    def call(self, x):
        return x @ self.kernel


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_what_the_rule_does_not_cover_is_not_guessed():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="any_size")(inputs)
    x = layers.Conv2DTranspose(4, 3, name="transposed")(x)
    nested = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="nested")
    x = nested(layers.GlobalAveragePooling2D(name="pool")(x))
    model = keras.Model(inputs, Own(name="own")(x))
    rows = {row["name"]: row for row in layer_table(model)}
    assert [rows[name]["macs"] for name in ("any_size", "transposed", "pool", "own")] == [None] * 4
    assert rows["nested"]["macs"] == 4 * 3  # from there on every shape is known
    assert sum(row["parameters"] for row in rows.values()) == model.count_params()


def test_a_subclassed_model_has_no_graph_to_follow():
    model = Subclassed()
    model(keras.ops.ones((1, 4)))
    assert [(row["kind"], row["parameters"], row["macs"]) for row in layer_table(model)] == [("Dense", 4 * 3 + 3, None)]
