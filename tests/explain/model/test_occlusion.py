import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import occlusion

layers = keras.layers


def linear_model(shape, classes=3, head="linear", weights=None):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation=head, name="scores")])
    if weights is not None:
        model.get_layer("scores").set_weights([weights.reshape(-1, classes), np.zeros(classes, "float32")])
    return model


def evidence(model, images, baseline, target):
    """Return w * (x - b), of which a linear model's drop is the sum over the patch; shape (batch, height, width)."""
    weights = model.get_layer("scores").get_weights()[0][:, target].reshape(images.shape[1:])
    return (weights * (images.astype("float64") - baseline)).sum(axis=-1)


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 10, 3), (12, 4, 2)])
@pytest.mark.parametrize("baseline", [0.0, 0.5, -3])
def test_on_a_linear_model_it_is_the_sum_of_the_patch(shape, baseline, rng):
    # tf-explain alone: neutral value 127.5 whatever the units, images that are not square scrambled, 1 - confidence.
    model, images = linear_model(shape), rng.random((3, *shape)).astype("float32")
    got = occlusion(model, images, target=2, patch=2, stride=2, baseline=baseline)
    rows, columns = shape[0] // 2, shape[1] // 2
    expected = evidence(model, images, baseline, 2).reshape(3, rows, 2, columns, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(got.values, expected.repeat(2, axis=1).repeat(2, axis=2), atol=2e-5)


def patches(shape, patch, stride):
    """Return which pixels each patch covers, shape (patches, height, width), as the documentation says where they lie."""
    places = [
        sorted({*range(0, length - size, step), length - size})
        for length, size, step in zip(shape, np.broadcast_to(patch, 2), np.broadcast_to(stride, 2), strict=True)
    ]
    covers = np.zeros((len(places[0]), len(places[1]), *shape), bool)
    high, wide = np.broadcast_to(patch, 2)
    for i, top in enumerate(places[0]):
        for j, left in enumerate(places[1]):
            covers[i, j, top : top + high, left : left + wide] = True
    return covers.reshape(-1, *shape)


def means(values, covers):
    """Return the mean of each map over each patch, shape (maps, patches)."""
    return np.einsum("nhw,phw->np", values, covers) / covers[0].sum()


OVERLAPPING = pytest.mark.parametrize(("patch", "stride"), [(3, 1), ((2, 4), (1, 3)), (4, (2, 4)), (4, 2), (7, 3), ((7, 9), 1)])


@OVERLAPPING
def test_what_overlapping_patches_did_not_lose_is_taken_from_them_five_times(patch, stride, rng):
    model, images = linear_model((7, 9, 2)), rng.random((2, 7, 9, 2)).astype("float32")
    covers, weighed = patches((7, 9), patch, stride), evidence(model, images, 0.25, 1)
    drops = np.einsum("nhw,phw->np", weighed, covers)
    expected = np.zeros((2, 7, 9))
    for _ in range(5):
        left = drops - means(expected, covers)
        expected += np.einsum("np,phw->nhw", left, covers) / covers.sum(axis=0)
    got = occlusion(model, images, target=1, patch=patch, stride=stride, baseline=0.25)
    np.testing.assert_allclose(got.values, expected, atol=2e-5)


@OVERLAPPING
def test_the_mean_over_a_patch_is_nearer_to_its_drop_than_averages_are(patch, stride, rng):
    model, images = linear_model((7, 9, 2)), rng.random((2, 7, 9, 2)).astype("float32")
    covers, weighed = patches((7, 9), patch, stride), evidence(model, images, 0.25, 1)
    drops = np.einsum("nhw,phw->np", weighed, covers)
    averages = np.einsum("np,phw->nhw", drops, covers) / covers.sum(axis=0)
    got = occlusion(model, images, target=1, patch=patch, stride=stride, baseline=0.25).values
    error = np.linalg.norm(means(got, covers) - drops)
    assert error <= 0.75 * np.linalg.norm(means(averages, covers) - drops) + 1e-5


def test_evenly_spread_evidence_has_an_even_map():
    model = linear_model((7, 9, 1), weights=np.ones((7, 9, 1, 3), "float32"))
    got = occlusion(model, np.ones((1, 7, 9, 1)), target=0, patch=3, stride=2, baseline=0.0).values
    np.testing.assert_allclose(got, 9, rtol=1e-5)


def test_half_a_patch_is_not_blamed_for_the_other_half():
    weights = np.zeros((12, 12, 1, 3), "float32")
    weights[4:8, 4:8] = 1  # a square of 4; patches of 4, 2 apart, reach 2 pixels beyond it
    got = occlusion(linear_model((12, 12, 1), weights=weights), np.ones((1, 12, 12, 1)), target=0, patch=4, baseline=0.0)
    inside = np.zeros((12, 12), bool)
    inside[4:8, 4:8] = True
    positive = np.maximum(got.values[0], 0)
    assert positive[inside].sum() > 0.75 * positive.sum()  # 0.56 of the plain averages
    np.testing.assert_array_equal(got.values[0, :2], 0)


def test_baselines_for_channels_and_images_and_the_mean_of_each_image(rng):
    model, images = linear_model((4, 4, 3)), rng.random((2, 4, 4, 3)).astype("float32")
    for baseline in ([0.1, 0.2, 0.3], rng.random((4, 4, 3))):
        got = occlusion(model, images, target=0, patch=1, stride=1, baseline=baseline).values
        np.testing.assert_allclose(got, evidence(model, images, baseline, 0), atol=1e-5)
    mean = images.mean(axis=(1, 2), keepdims=True)
    got = occlusion(model, images, target=0, patch=1, stride=1).values
    np.testing.assert_allclose(got, evidence(model, images, mean, 0), atol=1e-5)


def test_more_positions_than_one_canvas_holds(rng):
    model, images = linear_model((40, 50, 1)), rng.random((1, 40, 50, 1)).astype("float32")  # 2000 patches
    got = occlusion(model, images, target=0, patch=1, stride=1, baseline=0.0).values
    np.testing.assert_allclose(got, evidence(model, images, 0.0, 0), atol=2e-5)


@pytest.mark.parametrize(("shape", "patch", "stride"), [((8, 8), 2, 1), ((28, 28), 4, 2), ((32, 48), 4, 2), ((1, 5), 1, 1)])
def test_the_default_patch_is_an_eighth_of_the_smaller_side(shape, patch, stride, rng):
    got = occlusion(linear_model((*shape, 1)), rng.random((1, *shape, 1)))
    assert got.details["patch"] == (min(patch, shape[0]), 2 if shape[0] == 1 else patch)
    assert got.details["stride"] == (stride, stride)
    assert got.details["baseline"] == "mean"


@pytest.mark.parametrize("factor", [30, 3000])
def test_a_softmax_that_is_sure_does_not_hide_the_map(factor, rng):
    images, weights = rng.random((2, 4, 4, 1)).astype("float32"), rng.normal(size=(16, 3)).astype("float32")
    sure = occlusion(linear_model((4, 4, 1), head="softmax", weights=factor * weights), images, target=1)
    plain = occlusion(linear_model((4, 4, 1), weights=weights), images, target=1)
    assert (sure.details["score"], plain.details["score"]) == ("logit", "output")
    np.testing.assert_allclose(sure.values, factor * plain.values, rtol=1e-3, atol=1e-5 * factor)


def test_one_sigmoid_unit_has_two_opposite_classes(rng):
    model, images = linear_model((4, 4, 1), classes=1, head="sigmoid"), rng.random((3, 4, 4, 1)).astype("float32")
    one = occlusion(model, images, target=1, patch=1, stride=1, baseline=0.0).values
    np.testing.assert_allclose(one, evidence(model, images, 0.0, 0), atol=1e-6)
    np.testing.assert_array_equal(occlusion(model, images, target=0, patch=1, stride=1, baseline=0.0).values, -one)


def test_points_at_a_planted_pattern_and_not_at_a_distractor(rng):
    cross = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], "float32")
    model = keras.Sequential(
        [
            keras.Input((16, 12, 1)),
            layers.Conv2D(1, 4, activation="relu", name="match"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    model.get_layer("match").set_weights([2 * (cross - 0.5)[..., None, None], np.array([-5.0], "float32")])
    model.get_layer("scores").set_weights([np.array([[-1, 1]], "float32"), np.zeros(2, "float32")])
    for top, left in ((0, 0), (12, 8), (5, 3)):
        image = 0.1 * rng.random((1, 16, 12, 1), "float32")
        image[0, 15 - top :, 11 - left :] += 1  # the distractor: brighter and larger in places
        image[0, top : top + 4, left : left + 4, 0] = cross
        value = occlusion(model, image, target=1, patch=4, stride=2).values[0]
        peak = np.unravel_index(value.argmax(), value.shape)
        assert top <= peak[0] < top + 4
        assert left <= peak[1] < left + 4


def test_targets_for_each_image_equal_separate_calls(cnn, rng):
    model, images, targets = cnn(), rng.normal(size=(3, 12, 12, 3)), [3, 0, 3]
    together = occlusion(model, images, target=targets)
    np.testing.assert_array_equal(together.targets, targets)
    for row, target in enumerate(targets):
        alone = occlusion(model, images[row : row + 1], target=target).values[0]
        np.testing.assert_allclose(together.values[row], alone, rtol=1e-4, atol=1e-5)


def test_a_flipped_image_has_the_flipped_map(rng):
    inputs = keras.Input((8, 10, 1))
    conv = layers.Conv2D(4, 3, activation="relu", name="conv")
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(conv(inputs))))
    kernel, bias = conv.get_weights()
    conv.set_weights([kernel + kernel[:, ::-1], bias])
    images = rng.normal(size=(2, 8, 10, 1)).astype("float32")
    flipped = occlusion(model, images[:, :, ::-1], target=1, patch=4, stride=2).values
    np.testing.assert_allclose(flipped, occlusion(model, images, target=1, patch=4, stride=2).values[:, :, ::-1], atol=1e-5)


def test_uint8_equals_float_images(cnn, rng):
    model, images = cnn(), rng.integers(0, 256, (2, 12, 12, 3)).astype("uint8")
    byte = occlusion(model, images, target=1).values
    np.testing.assert_array_equal(byte, occlusion(model, images.astype("float32"), target=1).values)


def test_nested_and_sequential_models(cnn, rng):
    nested, flat, images = cnn(nested=[]), cnn(), rng.normal(size=(2, 12, 12, 3))
    flat.set_weights(nested.get_weights())
    np.testing.assert_allclose(
        occlusion(nested, images, target=1).values, occlusion(flat, images, target=1).values, rtol=1e-4, atol=1e-5
    )


def test_the_map_depends_on_the_weights(cnn, rng):
    images = rng.normal(size=(4, 12, 12, 3))
    first, second = (occlusion(cnn(), images, target=1).values.reshape(4, -1) for _ in range(2))
    assert abs(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)])) < 0.35


def test_the_model_is_left_as_it_was(cnn, rng):
    model, images = cnn(), rng.normal(size=(2, 12, 12, 3)).astype("float32")
    before = (model.get_config(), [w.copy() for w in model.get_weights()], model(images).numpy())
    occlusion(model, images)
    assert model.get_config() == before[0]
    for old, new in zip(before[1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model(images).numpy(), before[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch": 0}, "patch"),
        ({"patch": 5}, r"patch .* from 1 to \(4, 4\)"),
        ({"patch": 2.0}, "patch"),
        ({"patch": (1, 2, 3)}, "patch"),
        ({"patch": 2, "stride": 3}, "pixels would be left out"),
        ({"baseline": "grey"}, "'grey'"),
        ({"baseline": [1.0, 2.0]}, "baseline"),
        ({"baseline": np.nan}, "baseline"),
        ({"baseline": np.zeros((5, 4, 1))}, "baseline"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, rng):
    with pytest.raises(InvalidArgument, match=message):
        occlusion(linear_model((4, 4, 1)), rng.random((1, 4, 4, 1)), **arguments)
