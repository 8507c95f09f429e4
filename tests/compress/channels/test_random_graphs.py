"""The shrunk network equals the masked one, whatever the graph."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasnas.compress import channel_report
from kerasnas.decisions import decisions_of, entries_of
from kerasnas.spaces import ConvDense
from kerasnas.strategies.space import random_choices

layers, ops = keras.layers, keras.ops

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

MEANS = [
    "conv", "grouped", "one_per_group", "depthwise", "separable", "transposed", "dense", "norm", "layer_norm", "prelu", "relu",
    "add", "multiply", "squeeze", "concat", "concat_rows", "shuffle", "operators", "axes", "lambda", "nested", "shared", "pool",
    "softmax",
]  # fmt: skip


def step(kind, tensors, rng):
    """One more tensor of shape (4, 4, channels)."""
    x, other = (tensors[i] for i in rng.integers(0, len(tensors), 2))
    count = 2 * int(rng.integers(1, 4))
    n = x.shape[-1]
    like_x = layers.Conv2D(n, 1)(other)
    makers = {
        "conv": lambda: layers.Conv2D(count, 3, padding="same", activation="relu")(x),
        "grouped": lambda: layers.Conv2D(2 * count, 3, padding="same", groups=2 if n % 2 == 0 else 1)(x),
        "one_per_group": lambda: layers.Conv2D(2 * n, 3, padding="same", groups=n)(x),
        "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=int(rng.integers(1, 3)))(x),
        "separable": lambda: layers.SeparableConv2D(count, 3, padding="same", depth_multiplier=2)(x),
        "transposed": lambda: layers.Conv2DTranspose(count, 2, padding="same")(x),
        "dense": lambda: layers.Dense(count, activation="gelu")(x),
        "norm": lambda: layers.BatchNormalization()(x),
        "layer_norm": lambda: layers.LayerNormalization()(x),
        "prelu": lambda: layers.PReLU("ones", shared_axes=[1, 2] if rng.random() < 0.5 else None)(x),
        "relu": lambda: layers.LeakyReLU()(layers.Dropout(0.5)(x)),
        "add": lambda: layers.Add()([x, like_x]),
        "multiply": lambda: layers.Maximum()([layers.Multiply()([x, like_x]), layers.Conv2D(1, 1)(x)]),
        "squeeze": lambda: layers.Multiply()(
            [x, layers.Reshape((1, 1, n))(layers.Dense(n, "sigmoid")(layers.GlobalAveragePooling2D()(x)))]
        ),
        "concat": lambda: layers.Concatenate()([x, other]),
        "concat_rows": lambda: layers.AveragePooling2D((2, 1))(layers.Concatenate(axis=1)([x, like_x])),
        "shuffle": lambda: (
            layers.Reshape((4, 4, n))(layers.Permute((1, 2, 4, 3))(layers.Reshape((4, 4, -1, n // 2 or 1))(x)))
            if n % 2 == 0
            else x
        ),
        "operators": lambda: ops.relu(x * 2.0 - like_x) / (1.0 + ops.mean(ops.square(x), axis=(1, 2), keepdims=True)),
        "axes": lambda: ops.transpose(ops.squeeze(ops.expand_dims(ops.transpose(x, (0, 3, 1, 2)), 2), 2), (0, 2, 3, 1)) * 0.5,
        "lambda": lambda: layers.Lambda(lambda t: t * 2.0)(x),
        "nested": lambda: keras.Sequential(
            [layers.Conv2D(count, 1, activation="relu"), layers.Conv2D(count + 1, 1, activation="relu")]
        )(x),
        "shared": lambda: shared(x, like_x, count),
        "pool": lambda: layers.MaxPooling2D(2, padding="same")(layers.UpSampling2D(2)(x)),
        "softmax": lambda: layers.Conv2D(count, 1, activation="softmax")(x),
    }
    return makers[kind]()


def shared(x, other, count):
    layer, norm = layers.Conv2D(count, 1), layers.BatchNormalization()
    return layers.Subtract()([norm(layer(x)), norm(layer(other))])


def network(kinds, head, seed):
    rng = np.random.default_rng(seed)
    inputs = layers.Input((4, 4, 3))
    tensors = [layers.Conv2D(6, 3, padding="same")(inputs)]
    for kind in kinds:
        tensors.append(step(kind, tensors, rng))
    x = tensors[-1]
    x = layers.Flatten()(x) if head == "flatten" else layers.GlobalMaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(5, activation="tanh")(x)))


def test_every_way_to_make_a_tensor_is_sound(shake, prune_at_random):
    for seed, kind in enumerate(MEANS):
        model = shake(network([kind, "conv", kind], "flatten", seed), seed)
        smaller, found = prune_at_random(model, seed)
        assert smaller.count_params() < model.count_params(), kind
        assert found <= 1e-5, kind


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(MEANS), min_size=3, max_size=8), st.sampled_from(["flatten", "pool"]), st.integers(0, 999),
    st.floats(0.2, 0.99),
)  # fmt: skip
def test_any_graph(shake, prune_at_random, kinds, head, seed, ratio):
    model = shake(network(kinds, head, seed), seed)
    smaller, found = prune_at_random(model, seed, ratio)
    assert found <= 1e-5
    assert smaller.count_params() <= model.count_params()
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**31), st.floats(0.2, 0.9))
def test_whatever_conv_dense_builds(shake, prune_at_random, seed, ratio):
    space = ConvDense.tiny((8, 8, 1), 4, mean=120.0, standard_deviation=70.0)
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    choices = random_choices(decisions_of(entries_of(hp)), np.random.default_rng(seed))
    hp = kt.HyperParameters()
    hp.values = dict(choices)
    model = shake(space.build(hp), seed)
    smaller, found = prune_at_random(model, seed, ratio)
    assert found <= 1e-5
    assert smaller.get_compile_config() == model.get_compile_config()
    for row in channel_report(model, smaller).layers:
        assert row.kept == row.channels or row.free, row
