"""The blocks of convolutions, with weights for which the answer is known."""

import keras
import numpy as np
import pytest

from kerasnas.spaces.blocks import BLOCKS, BlockStyle, block


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("filters", [3, 5])
def test_a_shortcut_adds_its_input(kind, filters):
    # With all kernels at zero and no activation in the way, what is left of a block is its shortcut.
    inputs = keras.Input((4, 4, 3))
    style = BlockStyle("linear", "none", 0.0)
    outputs = block(inputs, kind, filters, 3, style=style, squeeze=False, skip=True, name="b")
    model = keras.Model(inputs, outputs)
    for layer in model.layers:
        if layer.get_weights() and layer.name != "b_shortcut":
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    expected = x
    if filters != 3:
        projected = kind != "inverted_residual"
        expected = np.asarray(model.get_layer("b_shortcut")(x)) if projected else np.zeros((2, 4, 4, filters))
    np.testing.assert_allclose(np.asarray(model(x)), expected, atol=1e-6)


def test_an_inverted_residual_expands_fourfold():
    inputs = keras.Input((4, 4, 3))
    outputs = block(
        inputs, "inverted_residual", 5, 3, style=BlockStyle("relu", "batch", 0.0), squeeze=False, skip=False, name="b"
    )
    model = keras.Model(inputs, outputs)
    widths = [model.get_layer(name).output.shape[-1] for name in ("b_expand", "b_depthwise_act", "b_project")]
    assert widths == [12, 12, 5]
    assert outputs is model.get_layer("b_project_norm").output  # the bottleneck is linear


def test_squeeze_and_excitation_scales_each_channel_by_a_gate_of_the_means():
    inputs = keras.Input((4, 5, 6))
    style = BlockStyle("linear", "none", 0.0)
    outputs = block(inputs, "conv", 6, 3, style=style, squeeze=True, skip=False, name="b")
    model = keras.Model(inputs, outputs)
    plain = keras.Model(inputs, model.get_layer("b_act").output)
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("float32")
    before = np.asarray(plain(x))
    reduce, excite = (model.get_layer(name).get_weights() for name in ("b_reduce", "b_excite"))
    hidden = np.maximum(before.mean(axis=(1, 2)) @ reduce[0][0, 0] + reduce[1], 0)
    gate = 1 / (1 + np.exp(-(hidden @ excite[0][0, 0] + excite[1])))
    np.testing.assert_allclose(np.asarray(model(x)), before * gate[:, None, None, :], atol=1e-5)


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match="dense_block"):
        block(
            keras.Input((4, 4, 3)),
            "dense_block",
            3,
            3,
            style=BlockStyle("relu", "none", 0),
            squeeze=False,
            skip=False,
            name="b",
        )
