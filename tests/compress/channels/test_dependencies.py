"""Which channels are tied, which ones stay, and why."""

import keras
import numpy as np
import pytest

from kerasnas.compress import channel_report, prune_channels
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.ledger import Ledger
from kerasnas.errors import InvalidArgument

layers, ops = keras.layers, keras.ops


def rows_of(model, pruned=None):
    return {row.layer: row for row in channel_report(model, pruned).layers}


def bundles_of(model, name):
    dependencies = dependencies_of(model)
    return dependencies.bundles.of_channel[dependencies.made[name,]]


def head(x):
    return layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x))


def test_a_ledger_ties_through_others_and_freezes_whole_bundles():
    ledger = Ledger()
    a, b, c = (ledger.create(3, name) for name in "abc")
    ledger.tie(a, b)
    ledger.tie(b[:2], c[1:])
    ledger.freeze(c[1:2], "why")
    bundles = ledger.settle()
    assert bundles.of_channel[a[0]] == bundles.of_channel[b[0]] == bundles.of_channel[c[1]]
    assert bundles.of_channel[a[1]] == bundles.of_channel[c[2]]
    assert bundles.count == 4
    assert bundles.reasons[bundles.of_channel[a[0]]] == "why"
    # {a1, b1, c2}, {a2, b2} and {c0} are made by different layers: three groups, and the frozen bundle is in none.
    assert sorted(map(len, bundles.groups)) == [1, 1, 1]


def test_what_is_added_goes_together_and_joined_parts_go_apart():
    x = layers.Input((4, 4, 3))
    a, b, c = (layers.Conv2D(n, 1, name=name)(x) for name, n in (("a", 4), ("b", 6), ("c", 10)))
    model = keras.Model(x, head(layers.Add()([layers.Concatenate()([a, b]), c])))
    assert list(bundles_of(model, "c")) == [*bundles_of(model, "a"), *bundles_of(model, "b")]
    assert sorted(len(group) for group in dependencies_of(model).bundles.groups) == [4, 6]
    rows = rows_of(model, prune_channels(model, ratio=0.5))
    assert [rows[name].kept for name in "abc"] == [2, 3, 5]


def test_a_gate_spread_over_channels_stays():
    x = layers.Input((4, 4, 3))
    a, gate = layers.Conv2D(4, 1, name="a")(x), layers.Conv2D(1, 1, activation="sigmoid", name="gate")(x)
    rows = rows_of(keras.Model(x, head(layers.Multiply()([a, gate]))))
    assert rows["a"].free == 4
    assert rows["gate"].free == 0
    assert "spread over all channels" in rows["gate"].reason


def test_flatten_and_reshape_keep_places_and_channels_apart():
    x = layers.Input((6,))
    grown = layers.Reshape((2, 3, 4))(layers.Dense(24, name="grown")(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Conv2D(5, 1, name="conv")(grown))))
    assert len(set(bundles_of(model, "grown"))) == 4  # a channel of the picture is six units
    np.testing.assert_array_equal(bundles_of(model, "grown").reshape(6, 4), np.tile(bundles_of(model, "grown")[:4], (6, 1)))
    rows = rows_of(model, prune_channels(model, ratio=0.5))
    assert (rows["grown"].kept, rows["conv"].kept) == (12, 3)


def test_groups_of_a_convolution_stay_equally_large():
    x = layers.Input((4, 4, 3))
    y = layers.Conv2D(12, 1, name="grouped", groups=3)(layers.Conv2D(6, 1, name="before")(x))
    model = keras.Model(x, head(y))
    assert len(set(bundles_of(model, "before"))) == 2
    assert len(set(bundles_of(model, "grouped"))) == 4
    pruned = prune_channels(model, ratio=0.5)
    layer = pruned.get_layer("grouped")
    assert (layer.groups, layer.filters, layer.kernel.shape[-2]) == (3, 6, 1)


def test_a_convolution_with_a_group_per_channel_loses_groups():
    x = layers.Input((4, 4, 3))
    y = layers.Conv2D(12, 3, padding="same", name="grouped", groups=6)(layers.Conv2D(6, 1, name="before")(x))
    layer = prune_channels(keras.Model(x, head(y)), ratio=0.5).get_layer("grouped")
    assert (layer.groups, layer.filters) == (3, 6)


def test_heads_of_attention_go_and_nothing_around_them():
    x = layers.Input((5, 8))
    h = layers.MultiHeadAttention(4, 3, name="attention")(x, x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(x + h)))
    layer = prune_channels(model, ratio=0.5).get_layer("attention")
    assert layer.num_heads == 2
    assert layer.get_weights()[0].shape == (8, 2, 3)


def test_cross_attention_with_values_of_another_size(prune_at_random):
    x = layers.Input((6, 8))
    h = layers.MultiHeadAttention(4, 3, value_dim=5, name="attention")(layers.Dense(12, name="a")(x), layers.Dense(7)(x))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))
    smaller, found = prune_at_random(model)
    assert found <= 1e-5
    assert [w.shape for w in smaller.get_layer("attention").get_weights()[::2]] == [
        (12, 2, 3),
        (7, 2, 3),
        (7, 2, 5),
        (2, 5, 12),
    ]
    assert rows_of(model)["a"].reason == "it goes into 'attention': of attention only heads go"


def test_a_layer_that_stays_is_listed(prune_at_random):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(8, name="low_rank"), layers.Dense(6, name="b"), layers.Dense(2)])
    model.layers[0].enable_lora(2)
    row = rows_of(model)["low_rank"]
    assert (row.channels, row.free, row.reason) == (8, 0, "its weights are quantised or have a LoRA update")
    assert prune_at_random(model)[1] <= 1e-5


SHAPES = {
    "free height and width": lambda: keras.Sequential(
        [layers.Input((None, None, 3)), layers.Conv2D(8, 3, strides=2), layers.GlobalMaxPooling2D(), layers.Dense(2)]
    ),
    "one dimension": lambda: keras.Sequential(
        [
            layers.Input((20, 2)),
            layers.Conv1D(8, 3, padding="causal", dilation_rate=2),
            layers.SeparableConv1D(8, 3),
            layers.DepthwiseConv1D(3),
            layers.Conv1DTranspose(6, 2),
            layers.GRU(5, return_sequences=True),
            layers.Bidirectional(layers.LSTM(3)),
            layers.Dense(2),
        ]
    ),
    "three dimensions": lambda: keras.Sequential(
        [layers.Input((5, 5, 5, 1)), layers.Conv3D(8, 3), layers.Conv3DTranspose(6, 2), layers.Flatten(), layers.Dense(2)]
    ),
    "named inputs and outputs": lambda: named(layers.Input((4,), name="a"), layers.Input((4,), name="b")),
}


def named(a, b):
    hidden = layers.Dense(8)(layers.Concatenate()([layers.Dense(6)(a), layers.Dense(6)(b)]))
    return keras.Model({"a": a, "b": b}, {"u": layers.Dense(2)(hidden), "v": layers.Dense(3)(hidden)})


@pytest.mark.parametrize("case", SHAPES)
def test_other_shapes(case, prune_at_random):
    model = SHAPES[case]()
    smaller, found = prune_at_random(model)
    assert found <= 1e-5
    assert smaller.count_params() < 0.75 * model.count_params()


def test_a_text_classifier_with_masked_words():
    x = layers.Input((7,), dtype="int32")
    y = layers.Embedding(2, 8, mask_zero=True, name="words")(x)
    y = layers.Dense(6, activation="relu", name="inner")(y)
    y = layers.LSTM(4, name="lstm")(y)
    model = keras.Model(x, layers.Dense(3)(y))
    rows = rows_of(model, prune_channels(model, ratio=0.5))
    assert {name: rows[name].kept for name in ("words", "inner")} == {"words": 4, "inner": 3}


class Custom(layers.Layer):
    def call(self, x):
        return ops.flip(x, axis=-1)


class Twofold(layers.Layer):
    """Its setting and its attribute of the same name are two things."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.half, self.units = units, 2 * units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x):
        return x @ self.kernel

    def get_config(self):
        return {**super().get_config(), "units": self.half}


REASONS = {
    "custom": (lambda x: Custom(name="mine")(x), "it goes into 'mine': there is no rule for Custom"),
    "custom with weights": (lambda x: Twofold(2, name="mine")(x), "there is no rule for Twofold"),
    "lambda": (lambda x: layers.Lambda(lambda t: t, name="mine")(x), "there is no rule for Lambda"),
    "layer norm": (lambda x: layers.LayerNormalization()(x), "there is no rule for LayerNormalization"),
    "softmax": (lambda x: layers.Activation("softmax")(x), "activation may mix"),
    "slice": (lambda x: x[..., :2], "it may mix channels"),
    "sum over channels": (lambda x: ops.sum(x, axis=-1, keepdims=True), "it computes over all channels"),
    "sorted": (lambda x: ops.sort(x, axis=-1), "it may mix channels"),
    "constants": (lambda x: x * np.arange(4.0, dtype="float32"), "it may mix channels"),
    "the input": (lambda x: x + layers.Concatenate()([x_of(x), x_of(x)]), "what must stay: it is an input of the model"),
    "wrapper": (lambda x: layers.TimeDistributed(layers.Dense(4))(x), "there is no rule for TimeDistributed"),
}


def x_of(x):
    return x._keras_history.operation.input


@pytest.mark.parametrize("case", REASONS)
def test_what_has_no_rule_stays_and_says_why(case, prune_at_random):
    make, reason = REASONS[case]
    x = layers.Input((4, 4, 2))
    y = make(layers.Conv2D(4, 1, name="held")(x))
    model = keras.Model(x, head(layers.Conv2D(4, 1, name="free")(y)))
    rows = rows_of(model)
    assert rows["held"].free == 0
    assert reason in rows["held"].reason
    assert rows["free"].free == 4
    assert rows["out"].reason == "it is an output of the model"
    assert prune_at_random(model)[1] <= 1e-5


def test_what_keras_cannot_rebuild_is_named():
    x = layers.Input((4, 4, 2))
    y = ops.clip(layers.Conv2D(4, 1, name="a")(x), np.zeros(4, "float32"), 1.0)  # a limit for each channel
    model = keras.Model(x, head(layers.Conv2D(4, 1, name="b")(y)))
    rows = rows_of(model)
    assert (rows["a"].free, rows["b"].free) == (0, 4)
    with pytest.raises(InvalidArgument, match="rebuild from its config"):
        prune_channels(model)


def test_a_shared_layer_is_held_by_any_of_its_uses():
    x = layers.Input((4, 4, 3))
    conv, again = layers.Conv2D(3, 1, name="conv"), layers.Conv2D(5, 1, name="again")
    y = again(conv(x))
    model = keras.Model(x, [head(layers.Conv2D(4, 1, name="free")(y)), Custom()(again(x))])
    rows = rows_of(model)
    assert [rows[name].free for name in ("conv", "again", "free")] == [0, 0, 4]
    assert rows["conv"].reason == "'again' is shared, and also reads what must stay"


def test_a_model_used_twice_is_pruned_once(prune_at_random):
    tower = keras.Sequential(
        [layers.Input((4, 4, 3)), layers.Conv2D(6, 1, activation="relu", name="a"), layers.Conv2D(4, 1, name="b")]
    )
    one, two = layers.Input((4, 4, 3)), layers.Input((4, 4, 3))
    model = keras.Model([one, two], head(layers.Concatenate()([tower(one), tower(two)])))
    smaller, found = prune_at_random(model)
    assert found <= 1e-5
    name = tower.name
    assert {row.layer: row.kept for row in channel_report(model, smaller).layers} == {f"{name}/a": 3, f"{name}/b": 2, "out": 2}


def test_channels_first_is_followed_too():
    x = layers.Input((3, 4, 4))
    y = layers.Conv2D(6, 1, data_format="channels_first", name="a")(x)
    y = layers.BatchNormalization(axis=1)(y)
    y = layers.Flatten(data_format="channels_first")(layers.MaxPooling2D(data_format="channels_first")(y))
    dependencies = dependencies_of(keras.Model(x, layers.Dense(2, name="out")(y)))
    entry = next(entry for entry in dependencies.slices if entry.path == ("out",) and entry.role == "in")
    # Flatten goes over places first, then channels, in either format.
    np.testing.assert_array_equal(entry.channels, np.tile(dependencies.made["a",], 4))
    assert all(len(group) == 6 for group in dependencies.bundles.groups)
