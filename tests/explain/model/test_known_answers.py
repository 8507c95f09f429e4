"""What is known of a map beforehand, for every method that makes one.

A new method needs a row in `METHODS` and, where a property cannot hold for it, a reason beside the exception.
"""

from functools import partial

import keras
import numpy as np
import pytest

from kerasnas.explain import (
    grad_cam,
    grad_cam_plus_plus,
    gradient_x_input,
    integrated_gradients,
    lime_weights,
    occlusion,
    rise,
    shap_values,
    smooth_grad,
    vanilla_gradients,
)
from kerasnas.explain.by_name import METHODS as ALL_METHODS

layers = keras.layers

METHODS = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "occlusion": partial(occlusion, patch=4, stride=2),
    "rise": partial(rise, masks=40, cells=4),
    "integrated_gradients": partial(integrated_gradients, steps=4),
    "smooth_grad": partial(smooth_grad, samples=4),
    "gradient_x_input": gradient_x_input,
    "vanilla_gradients": vanilla_gradients,
    "shap_values": partial(shap_values, cells=2, evaluations=9),
    "lime_weights": partial(lime_weights, segments=2, samples=40),
}
EVERY = pytest.mark.parametrize("name", METHODS)
NO_NOISE = {"smooth_grad": {"noise": 0.0}}  # its noise is another one for another number of channels, or a flipped image


BY_CHANCE = pytest.mark.parametrize(  # they draw masks
    "explain",
    [partial(rise, masks=2000, cells=4), partial(lime_weights, samples=2000, segments=2)],
    ids=["rise", "lime_weights"],
)


def but(*names):
    return pytest.mark.parametrize("name", [name for name in METHODS if name not in names])


def cnn(shape=(12, 12, 3), classes=4, head="softmax", dtype="float32"):
    """Make a network of few layers: they are traced anew for every map."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(6, 3, activation="relu", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(8, activation="tanh", dtype=dtype),
            layers.Dense(classes, activation=head, dtype=dtype, name="scores"),
        ]
    )


def close(got, expected, share=1e-4):
    """Equal but for the rounding of float32, as a share of the largest value."""
    np.testing.assert_allclose(got, expected, rtol=0, atol=share * np.abs(expected).max())


def test_every_method_is_tested():
    assert set(METHODS) == {method.__name__ for method in ALL_METHODS}


@EVERY
def test_maps_are_floats_of_the_size_of_the_image(name, rng):
    images = rng.random((2, 12, 16, 3)).astype("float32")
    found = METHODS[name](cnn((12, 16, 3)), images)
    assert found.method == name
    assert found.values.dtype == np.float32
    assert found.values.shape == (2, 12, 16)
    assert np.any(found.values != np.rint(found.values))  # no picture of 256 shades
    assert np.all(np.ptp(found.values, axis=(1, 2)) > 0)


@EVERY
def test_a_softmax_that_is_sure_hides_nothing(name, rng):
    """The gradient of a softmax that is sure is zero, and so are changes of its probabilities."""
    images = rng.normal(size=(3, 12, 12, 3)).astype("float32")
    model, plain = cnn(), cnn(head="linear")
    plain.set_weights(model.get_weights())
    before = METHODS[name](model, images, target=1).values
    for each in (model, plain):
        kernel, bias = each.get_layer("scores").get_weights()
        each.get_layer("scores").set_weights([30_000 * kernel, 30_000 * bias])
    assert np.all(model(images).numpy().max(axis=1) == 1)
    found = METHODS[name](model, images, target=1)
    assert found.details["score"] == "logit"
    close(found.values, METHODS[name](plain, images, target=1).values)
    if name != "grad_cam_plus_plus":  # whose weights, g^2 / (2 g^2 + sum(A) g^3), do not grow with g
        close(found.values, 30_000 * before, 1e-3)
    assert np.all(np.ptp(found.values, axis=(1, 2)) > 0)


@EVERY
def test_one_unit_stands_for_two_classes(name, rng):
    """A sigmoid unit z is the pair of scores (-z, z)."""
    images, one, two = rng.random((2, 12, 12, 3)).astype("float32"), cnn(classes=1, head="sigmoid"), cnn(classes=2)
    kernel, bias = one.get_layer("scores").get_weights()
    both = [np.concatenate([-kernel, kernel], axis=1), np.concatenate([-bias, bias])]
    two.set_weights([*one.get_weights()[:-2], *both])
    close(METHODS[name](one, images, target=0).values, METHODS[name](two, images, target=0).values)


@EVERY
def test_an_image_does_not_depend_on_its_batch(name, rng):
    """Nothing is standardised over the batch: a neighbour a hundred times as bright changes nothing."""
    model, images, targets = cnn(), rng.random((4, 12, 12, 3)).astype("float32"), np.array([3, 0, 3, 1])
    images[2] *= 100
    together = METHODS[name](model, images, target=targets)
    np.testing.assert_array_equal(together.targets, targets)
    for row, target in enumerate(targets):
        close(together.values[row], METHODS[name](model, images[row : row + 1], target=int(target)).values[0], 1e-3)


@EVERY
def test_a_channel_that_is_not_read_changes_nothing(name, rng):
    """A model that reads one of 2 or 4 channels has the maps of the model of that channel alone."""
    alone, images = cnn((12, 10, 1)), rng.random((2, 12, 10, 4)).astype("float32")
    kernel, *rest = alone.get_weights()
    explain = partial(METHODS[name], target=1, **NO_NOISE.get(name, {}))
    expected = explain(alone, images[..., :1]).values
    np.testing.assert_array_equal(explain(alone, images[..., 0]).values, expected)  # grey without its axis
    for order in ([1, 0], [3, 2, 1, 0]):
        several = cnn((12, 10, len(order)))
        several.set_weights([np.where(np.array(order)[:, None] == 0, kernel, 0), *rest])
        close(explain(several, images[..., order]).values, expected)


@EVERY
def test_images_of_half_precision_are_those_numbers(name, rng):
    model, images = cnn(), rng.random((2, 12, 12, 3)).astype("float16")
    found = METHODS[name](model, images, target=1)
    assert found.images.dtype == np.float16
    np.testing.assert_array_equal(found.values, METHODS[name](model, images.astype("float32"), target=1).values)


@EVERY
def test_a_model_of_any_precision_is_computed_in_float32(name, rng):
    single, images = cnn(), rng.random((2, 12, 12, 3)).astype("float32")
    weights = [weight.astype("float16") for weight in single.get_weights()]
    single.set_weights([weight.astype("float32") for weight in weights])
    expected = METHODS[name](single, images, target=1).values
    # All methods see the model in one of three ways: its features, its gradients or its scores.
    for policy in (
        ("mixed_float16", "float16", "float64") if name in ("grad_cam", "vanilla_gradients", "rise") else ("mixed_float16",)
    ):
        other = cnn(dtype=policy)
        other.set_weights(weights)
        close(METHODS[name](other, images, target=1).values, expected)


def mirrored(rng):
    """A model that does not tell an image from its mirror image; its score is a sum over pairs of pixels."""
    model = keras.Sequential(
        [
            keras.Input((8, 12, 1)),
            layers.Conv2D(4, 3, name="conv"),
            layers.Activation(keras.ops.square),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([kernel + kernel[:, ::-1], bias])
    images = rng.normal(size=(2, 8, 12, 1)).astype("float32")
    images[:, :, :6] *= 3
    return model, images


@but("rise", "lime_weights")
def test_a_flipped_image_has_the_flipped_map(name, rng):
    # One order of shap_values is exact on pairs.
    model, images = mirrored(rng)
    explain = partial(METHODS[name], model, target=1, **NO_NOISE.get(name, {}))
    values = explain(images).values
    assert np.abs(values - values[:, :, ::-1]).max() > 0.1 * np.abs(values).max()
    close(explain(images[:, :, ::-1]).values, values[:, :, ::-1])


@BY_CHANCE
def test_a_flipped_image_has_the_flipped_map_but_for_chance(explain, rng):
    model, images = mirrored(rng)
    values = explain(model, images, target=1).values
    turned = explain(model, images[:, :, ::-1], target=1).values[:, :, ::-1]
    spread = values.std(axis=(1, 2))
    # 2000 masks leave a chance error of about 1 / sqrt(2000), 2 %, of the spread of the scores.
    assert np.all(np.abs(turned - values).mean(axis=(1, 2)) < 0.25 * spread)
    assert np.all(np.abs(turned[:, :, ::-1] - values).mean(axis=(1, 2)) > 0.5 * spread)


def cut_off(rng):
    """A model that does not see the right half of the image."""
    model = keras.Sequential(
        [
            keras.Input((8, 16, 2)),
            layers.Cropping2D(((0, 0), (0, 8))),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return model, rng.normal(size=(3, 8, 16, 2)).astype("float32")


# Grad-CAM and Grad-CAM++ enlarge the feature map, whatever part of the image it comes from.
@but("grad_cam", "grad_cam_plus_plus", "rise", "lime_weights")
def test_a_part_that_is_cut_off_gets_exactly_zero(name, rng):
    model, images = cut_off(rng)
    values = METHODS[name](model, images, target=1).values
    seam = 10 if name == "occlusion" else 8  # patches of 4, 2 apart: the last that reads the left half ends at 10
    np.testing.assert_array_equal(values[:, :, seam:], 0)
    assert np.all(np.abs(values[:, :, :8]).max(axis=(1, 2)) > 0)


@BY_CHANCE
def test_a_part_that_is_cut_off_gets_zero_but_for_chance(explain, rng):
    model, images = cut_off(rng)
    values = np.abs(explain(model, images, target=1).values)
    assert np.all(values[:, :, -4:].mean(axis=(1, 2)) < 0.15 * values[:, :, :8].mean(axis=(1, 2)))


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_plus_plus"])
def test_a_feature_that_is_not_read_gets_exactly_zero(name, rng):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, name="scores"),
        ]
    )
    images = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    model.get_layer("scores").set_weights([np.array([[0, 1], [0, 0], [0, 2]], "float32"), np.zeros(2, "float32")])
    before = METHODS[name](model, images, target=1).values
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[..., 1] = rng.normal(size=(3, 3, 1))
    model.get_layer("conv").set_weights([kernel, bias])
    assert before.max() > 0
    np.testing.assert_array_equal(METHODS[name](model, images, target=1).values, before)
    np.testing.assert_array_equal(METHODS[name](model, images, target=0).values, 0)


@EVERY
def test_a_score_that_never_changes_has_a_map_of_zeros_and_a_plain_picture(name, rng, tmp_path):
    """tf-explain divides by the range of a map: NaN, cast to uint8."""
    model, images = cnn(), rng.random((2, 12, 12, 3)).astype("float32")
    model.get_layer("scores").set_weights([np.zeros((8, 4)), np.array([0.3, 5, -1, 0])])
    found = METHODS[name](model, images, target=1)
    np.testing.assert_array_equal(found.values, 0)
    np.testing.assert_array_equal(found.to_image(), found.to_image(alpha=0.0))
    assert found.save(tmp_path / "map.png").stat().st_size > 0


SHARP = {
    "rise": {"masks": 500},
    "shap_values": {"cells": 4, "evaluations": 66},
    "lime_weights": {"segments": 4, "samples": 300},
    "smooth_grad": {"samples": 16},
}


@EVERY
def test_with_weights_set_by_hand_the_peak_lies_on_the_pattern_and_not_on_a_distractor(name, rng):
    """A matched filter for a cross of 4 x 4 pixels; the distractor is brighter and larger."""
    cross = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], "float32")
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(1, 4, padding="same", activation="relu", name="match"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    model.get_layer("match").set_weights([2 * (cross - 0.5)[..., None, None], np.array([-5.0], "float32")])
    model.get_layer("scores").set_weights([np.array([[-1, 1]], "float32"), np.zeros(2, "float32")])
    images, corners = 0.1 * rng.random((3, 16, 16, 1), "float32"), ((0, 0), (8, 4), (4, 8))
    for image, (top, left) in zip(images, corners, strict=True):
        image[12:, 12:] += 1.5
        image[top : top + 4, left : left + 4, 0] = cross
    values = METHODS[name](model, images, target=1, **SHARP.get(name, {})).values
    for value, (top, left) in zip(values, corners, strict=True):
        row, column = np.unravel_index(value.argmax(), value.shape)
        assert top <= row < top + 4
        assert left <= column < left + 4
