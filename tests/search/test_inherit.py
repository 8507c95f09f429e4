"""Inherited weights: functions that are preserved, closed forms, and arbitrary pairs of networks."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from preserving import PICTURES, outputs, preserves, scramble

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.errors import InvalidArgument
from kerasnas.search.inheritance import Inheritance, inherit
from kerasnas.spaces import ConvDense
from kerasnas.spaces.blocks import BLOCKS
from kerasnas.strategies.space import random_choices

# 8 channels in 20: four of them come up three times, four twice.
SPACE = ConvDense(PICTURES, 4, stages=2, blocks=2, filters=(8, 16, 20), dense_layers=2, dense_units=(16, 32, 40))
BASE = {"activation": "relu", "filters": 8, "stages": 2, "dense_layers": 1, "dense_1_units": 16}
HP = kt.HyperParameters()
SPACE.declare_hyperparameters(HP)
DECISIONS = decisions_of(entries_of(HP))


def build(**values):
    hp = kt.HyperParameters()
    hp.values = BASE | values
    model = SPACE.build(hp)
    model.get_layer("probabilities").activation = keras.activations.linear  # softmax would hide differences
    return model


def both_stages(**values):
    return {f"stage_{s}_{name}": value for s in (1, 2) for name, value in values.items()}


# -- functions that are preserved --


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(("normalization", "head"), [("batch", "global_average"), ("none", "flatten")])
def test_a_wider_network_computes_the_same(kind, normalization, head):
    old = both_stages(kind=kind, squeeze_excite=head == "flatten", skip=True, blocks=2) | {
        "normalization": normalization,
        "head": head,
    }
    donor = scramble(build(**old))
    result = preserves(build(**old, filters=20, dense_1_units=40), donor)
    assert result.share == 1.0
    assert set(result.layers.values()) <= {"widened", "copied"}


@pytest.mark.parametrize("kind", BLOCKS)
def test_layer_normalization_allows_multiples(kind):
    old = both_stages(kind=kind, squeeze_excite=True, blocks=2) | {"normalization": "layer", "head": "flatten"}
    preserves(build(**old, filters=16, dense_1_units=40), scramble(build(**old)))


@pytest.mark.parametrize("kind", BLOCKS)
def test_larger_kernels_compute_the_same(kind):
    old = both_stages(kind=kind, kernel=3) | {"pooling": "stride", "pool_size": 2}
    result = preserves(build(**old | both_stages(kernel=7) | {"pool_size": 3}), scramble(build(**old)))
    assert 0 < result.share < 1


@pytest.mark.parametrize(
    ("old", "new", "atol"),
    [
        ({"kind": "residual", "normalization": "batch"}, {}, 1e-4),
        ({"kind": "residual", "normalization": "layer", "squeeze_excite": True}, {}, 1e-4),
        ({"kind": "residual", "normalization": "none"}, {}, 1e-4),
        ({"kind": "inverted_residual", "normalization": "batch", "activation": "gelu"}, {}, 1e-4),
        ({"kind": "conv", "skip": True, "normalization": "batch", "activation": "swish"}, {}, 1e-4),
        ({"kind": "separable", "skip": True, "normalization": "none", "activation": "elu"}, {}, 1e-4),
        ({"kind": "separable", "skip": True, "normalization": "none"}, {}, 0.05),  # relu would be dead at zero
        ({"kind": "conv", "normalization": "batch"}, {}, 1e-4),
        ({"kind": "separable", "normalization": "batch"}, {}, 1e-4),
        ({"kind": "conv", "normalization": "none"}, {"filters": 20}, 1e-4),
    ],
)
def test_a_new_block_passes_on_what_it_is_given(old, new, atol):
    def values(**given):
        of_stages = ("kind", "blocks", "skip", "squeeze_excite")
        found = {name: value for name, value in given.items() if name not in of_stages}
        return found | both_stages(**{name: value for name, value in given.items() if name in of_stages})

    donor = scramble(build(**values(**old, blocks=1)))
    assert "identity" in preserves(build(**values(**old, **new, blocks=2)), donor, atol).layers.values()


def test_a_new_branch_is_not_dead():
    old, new = (build(**both_stages(kind="conv", skip=True, blocks=n), normalization="none") for n in (1, 2))
    inherit(new, scramble(old))
    assert (np.abs(new.get_layer("stage_1_block_2").get_weights()[0]) > 0).any()


def test_an_old_branch_is_not_silenced_by_a_new_normalization():
    old = both_stages(kind="residual", blocks=2)
    model = build(**old, normalization="layer")
    result = inherit(model, scramble(build(**old, normalization="batch")))
    assert result.layers["stage_1_block_2_b"] == "copied"
    assert model.get_layer("stage_1_block_2_b_norm").get_weights()[0].min() == 1.0


# The mean over all places is a sum over each of them.
@pytest.mark.parametrize("new", [{"dense_layers": 2, "dense_2_units": 40}, {"head": "flatten"}])
def test_other_changes_that_preserve(new):
    old = {"normalization": "none", "head": "global_average"}
    preserves(build(**old | new), scramble(build(**old)))


def test_a_new_batch_normalization_passes_on_what_it_is_given():
    def net(*between):
        x = keras.Input((8, 8, 1))
        y = layers.Conv2D(3, 3, name="conv")(x)
        for layer in between:
            y = layer(y)
        return keras.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(y)))

    assert preserves(net(layers.BatchNormalization(name="norm")), scramble(net())).layers["norm"] == "identity"


def test_concatenated_channels_of_unequal_widths():
    def net(a, b):
        x = keras.Input((6, 6, 2), name="x")
        one = layers.Conv2D(a, 3, padding="same", activation="tanh", name="one")(x)
        two = layers.Conv2D(b, 5, activation="tanh", padding="same", name="two")(x)
        y = layers.Concatenate(name="both")([one, two])
        y = layers.DepthwiseConv2D(3, name="deep")(layers.BatchNormalization(name="norm")(y))
        y = layers.SeparableConv2D(a, 3, name="apart")(y)
        return keras.Model(x, layers.Dense(3, name="out")(layers.Flatten(name="flat")(y)))

    assert preserves(net(5, 7), scramble(net(2, 3)), 1e-4).share == 1.0


def test_operations_without_layers_pass_channels_on():
    def net(a):
        x = keras.Input((6,))
        y = layers.Dense(a, name="one")(x)
        return keras.Model(x, layers.Dense(3, name="out")(keras.ops.relu(y) + keras.ops.sin(y) * y))

    preserves(net(11), scramble(net(4)))


# -- closed forms --


def dense_net(units, classes=3, features=4, **kwargs):
    x = keras.Input((features,))
    return keras.Model(x, layers.Dense(classes, name="out")(layers.Dense(units, name="hidden", **kwargs)(x)))


def test_a_narrower_layer_keeps_what_is_read_most():
    donor = scramble(dense_net(6))
    (kernel, bias), (out, out_bias) = (donor.get_layer(name).get_weights() for name in ("hidden", "out"))
    donor.get_layer("out").set_weights([out * np.array([[1], [0.01], [1], [1], [0.01], [1]]), out_bias])
    model, kept = dense_net(4), [0, 2, 3, 5]
    result = inherit(model, donor)
    for got, expected in zip(model.get_weights(), [kernel[:, kept], bias[kept], out[kept], out_bias], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert result.layers == {"hidden": "sliced", "out": "sliced"}
    assert result.share == 1.0


def test_channels_that_nobody_reads_go_first_across_a_sum():
    def net(width):
        x = keras.Input((6, 6, 2))
        y = layers.Conv2D(width, 3, name="one")(x)
        z = layers.Conv2D(width, 3, padding="same", name="two")(layers.BatchNormalization(name="norm")(y))
        y = layers.Add(name="sum")([y, layers.PReLU(shared_axes=(1, 2), name="rise")(z)])
        return keras.Model(x, layers.Dense(3, name="out")(layers.Flatten(name="flat")(y)))

    donor, unread = scramble(net(6)), [0, 1, 4]
    for name in ("two", "out"):
        kernel, bias = donor.get_layer(name).get_weights()
        places = kernel.reshape(-1, 6, kernel.shape[-1])
        places[:, unread] = 0
        donor.get_layer(name).set_weights([kernel, bias])
    preserves(net(3), donor)


def test_copies_share_a_kernel_unevenly():
    donor, model = scramble(dense_net(2)), dense_net(5)
    inherit(model, donor)
    old, new = donor.get_layer("out").get_weights()[0], model.get_layer("out").get_weights()[0]
    for source, rows in ((0, [0, 2, 4]), (1, [1, 3])):
        np.testing.assert_allclose(new[rows].sum(axis=0), old[source], rtol=1e-5)
        # Not even proportional: optimizers that divide by the size of the gradient would not tell the copies apart.
        assert np.linalg.matrix_rank(new[rows], tol=1e-3) > 1
    again = dense_net(5)
    inherit(again, donor)
    np.testing.assert_array_equal(again.get_layer("out").get_weights()[0], new)


@pytest.mark.parametrize(("sides", "other"), [((2, 2), (4, 6)), ((4, 6), (2, 2)), ((3, 3), (2, 2))])
def test_dense_after_flatten_is_resized(sides, other):
    def net(height, width, channels):
        x = keras.Input((height, width, 1))
        y = layers.Conv2D(channels, 1, name="conv")(x)
        return keras.Model(x, layers.Dense(3, name="out")(layers.Flatten(name="flat")(y)))

    donor, model = scramble(net(*sides, 2)), net(*other, 5)
    inherit(model, donor)
    # A picture of one colour looks the same at every size.
    for colour in (0.0, 1.0, -2.0):
        both = [net(np.full((1, *size, 1), colour, "float32")) for net, size in ((donor, sides), (model, other))]
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, both), atol=1e-5)
    if other == (4, 6):
        small = np.random.default_rng(0).normal(size=(1, 2, 2, 1)).astype("float32")
        both = [donor(small), model(small.repeat(2, axis=1).repeat(3, axis=2))]
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, both), atol=1e-5)


def test_share_counts_weights():
    assert inherit(dense_net(8, classes=5), scramble(dense_net(8))).share == (4 * 8 + 8) / (4 * 8 + 8 + 8 * 5 + 5)
    x = keras.Input((8, 8, 1))
    small, large = (keras.Model(x, layers.Conv2D(1, k, padding="same", use_bias=False, name="c")(x)) for k in (3, 5))
    assert inherit(large, small).share == 9 / 25
    assert inherit(small, large).share == 1.0


# -- which layers belong together --


def test_names_that_keras_made_up_are_aligned():
    def net(*kernels, width=4):
        x = y = keras.Input((8, 8, 1))
        for kernel in kernels:
            y = layers.BatchNormalization()(layers.Conv2D(width, kernel, padding="same", activation="relu")(y))
        return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))

    donor = scramble(net(3, 5))
    assert preserves(net(3, 5), donor).share == 1.0
    for width, how in ((4, "copied"), (6, "widened")):
        made = inherit(net(3, 7, 5, width=width), donor).layers  # the 7 is the new one
        assert [h for name, h in made.items() if name.startswith("conv2d")] == [how, "identity", how]


def test_the_same_name_with_another_class_is_another_role():
    x = keras.Input((8, 8, 2))
    one = keras.Model(x, layers.Conv2D(2, 3, name="a")(x))
    other = keras.Model(x, layers.DepthwiseConv2D(3, name="a")(x))
    before = other.get_weights()
    assert inherit(other, one) == Inheritance(0.0, {"a": "fresh"})
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


def test_nested_models_and_shared_layers():
    def net(units):
        body = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation="tanh"), layers.Dense(4)], name="body")
        shared = layers.Dense(4, activation="tanh", name="shared")
        x = keras.Input((4,))
        y = shared(layers.Add(name="add")([body(shared(x)), x]))
        return keras.Model(x, layers.Dense(2, name="out")(body(y)))

    result = preserves(net(7), scramble(net(3)))
    assert set(result.layers) == {"shared", "out", *(name for name in result.layers if name.startswith("body/dense"))}
    assert result.share == 1.0


def test_layers_of_unknown_kind_are_copied_whole_or_not_at_all():
    def net(units, heads=2):
        x = keras.Input((5, 6))
        y = layers.MultiHeadAttention(heads, 3, name="attention")(x, x)
        y = layers.LSTM(units, name="lstm")(y)
        return keras.Model(x, layers.Dense(2, name="out")(y))

    donor = scramble(net(4))
    assert preserves(net(4), donor).share == 1.0
    assert inherit(net(5, 3), donor).layers == {"attention": "fresh", "lstm": "fresh", "out": "widened"}


def test_random_layers_and_precision_are_left_alone():
    def net(units, dtype):
        x = keras.Input((4,))
        y = layers.Dense(units, activation="relu", name="one", dtype=dtype)(layers.Dropout(0.5, seed=3, name="drop")(x))
        return keras.Model(x, layers.Dense(2, name="out", dtype="float32")(y))

    donor, model = scramble(net(4, "float32")), net(9, "mixed_bfloat16")
    seeds = [np.array(v) for v in model.variables if "seed" in v.path]
    inherit(model, donor)
    np.testing.assert_allclose(outputs(model), outputs(donor), atol=0.1)
    assert {keras.backend.standardize_dtype(v.dtype) for v in model.trainable_variables} == {"float32"}
    np.testing.assert_array_equal(seeds, [np.array(v) for v in model.variables if "seed" in v.path])
    half = net(9, "bfloat16")
    inherit(half, donor)
    np.testing.assert_allclose(outputs(half), outputs(donor), atol=0.1)


# -- donors that cannot give --


def test_a_donor_with_nan_gives_nothing():
    donor, model = dense_net(4), dense_net(4)
    weights = donor.get_weights()
    weights[1][0] = np.nan
    donor.set_weights(weights)
    before = model.get_weights()
    result = inherit(model, donor)
    assert result.share == 0.0
    assert set(result.layers.values()) == {"fresh"}
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_what_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    model = dense_net(4)
    with pytest.raises(InvalidArgument, match=r"`donor` .* got Own"):
        inherit(model, Own())
    with pytest.raises(InvalidArgument, match=r"`model` .* not built"):
        inherit(keras.Sequential([layers.Dense(2)]), model)
    with pytest.raises(InvalidArgument, match="same number, rank and channels"):
        inherit(model, dense_net(4, features=5))


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_two_networks_of_a_space(one, other):
    donor, model = (
        build(**random_choices(DECISIONS, np.random.default_rng(seed)) | {"augment": False}) for seed in (one, other)
    )
    scramble(donor, one)
    kept = [w.copy() for w in donor.get_weights()]
    result = inherit(model, donor)
    assert 0 <= result.share <= 1
    assert set(result.layers.values()) <= {"copied", "widened", "sliced", "identity", "fresh"}
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert all((a == b).all() for a, b in zip(donor.get_weights(), kept, strict=True))
    twin = build(**random_choices(DECISIONS, np.random.default_rng(one)) | {"augment": False})
    assert inherit(twin, donor).share == 1.0
    np.testing.assert_allclose(outputs(twin), outputs(donor), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_on_jax():
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    code = (
        "import test_inherit as t; t.test_concatenated_channels_of_unequal_widths(); t.test_nested_models_and_shared_layers();"
        "print(t.keras.backend.backend())"
    )
    here = Path(__file__).parent
    path = os.pathsep.join(map(str, (here, here.parent / "testing")))
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "jax"
