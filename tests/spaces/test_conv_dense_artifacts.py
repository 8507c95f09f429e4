"""Whatever the space emits can be exported and pruned."""

import keras
import numpy as np
import pytest

from kerasnas.compress import prune, sparsity_report
from kerasnas.export import to_onnx
from kerasnas.spaces import ConvDense

# The decisions that choose operators; the samples hold every pair of their options.
OPERATORS = ("activation", "normalization", "pooling", "stage_1_kind", "stage_1_squeeze_excite", "head", "augment")


def pixels(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype("float32")


def check_export(model, x, path):
    file = to_onnx(model, path, x=x, atol=1e-4)
    assert path.exists()
    assert file.verification.worst <= 1e-4
    assert set(file.verification.batch_sizes) >= {1, 7}


@pytest.mark.slow
def test_every_pair_of_operators_exports(tmp_path, sampler, shake):
    shape = (8, 8, 1)
    draws = sampler(ConvDense.tiny(shape, 10, mean=120.0, standard_deviation=70.0, blocks=1))
    wanted = draws.pairs(OPERATORS)
    samples = draws.cover(wanted, lambda choices: draws.pairs_of(choices, OPERATORS))
    assert {option for choices in samples for option in choices.items()} >= draws.options(OPERATORS)
    assert len(wanted) > 150
    for i, choices in enumerate(samples):
        model = shake(draws.build(choices), seed=i)
        check_export(model, pixels(8, shape, seed=i), tmp_path / "model.onnx")


@pytest.mark.slow
def test_every_option_exports_for_colour_pictures_that_are_not_square(tmp_path, sampler, shake):
    shape = (12, 9, 3)
    draws = sampler(ConvDense.tiny(shape, 3, mean=[90.0, 120.0, 60.0], standard_deviation=[60.0, 70.0, 80.0], flip=True))
    samples = draws.cover_options()
    assert {option for choices in samples for option in choices.items()} >= draws.options()
    for i, choices in enumerate(samples):
        model = shake(draws.build(choices), seed=i)
        check_export(model, pixels(8, shape, seed=i), tmp_path / "model.onnx")


@pytest.mark.slow
def test_every_kind_of_layer_survives_pruning_and_still_exports(tmp_path, sampler):
    shape = (8, 8, 1)
    draws = sampler(ConvDense.tiny(shape, 3, mean=120.0, standard_deviation=70.0, blocks=1))
    names = ("activation", "normalization", "pooling", "stage_1_kind", "stage_2_kind", "head")
    samples = draws.cover(draws.options(names), lambda choices: set(choices.items()), candidates=400)
    assert {choices["stage_1_kind"] for choices in samples} == {"conv", "separable", "residual", "inverted_residual"}
    x, y = pixels(16, shape), np.arange(16) % 3
    for choices in samples:
        keras.utils.set_random_seed(0)
        model = draws.build(choices)
        before = {layer.name: layer.get_weights() for layer in model.layers}
        pruned = prune(model, x, y, sparsity=0.5, epochs=1, batch_size=8, seed=0)
        for layer in pruned.layers:
            if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) and type(layer) is not keras.layers.DepthwiseConv2D:
                kernel = layer.get_weights()[0]
                # A kernel keeps at least one weight.
                assert np.mean(kernel == 0) >= min(0.5, 1 - 1 / kernel.size), layer.name
            elif type(layer) is keras.layers.DepthwiseConv2D:
                assert np.mean(layer.get_weights()[0] == 0) < 0.2, layer.name
        assert sparsity_report(pruned).sparsity >= 0.49
        for layer in model.layers:
            assert all((a == b).all() for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
        check_export(pruned, x, tmp_path / "pruned.onnx")
