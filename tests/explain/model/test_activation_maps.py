import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.activation_maps import ActivationMaps, activation_maps

layers = keras.layers


def test_they_are_the_convolution_with_hand_set_kernels(rng):
    model = keras.Sequential(
        [keras.Input((6, 7, 1)), layers.Conv2D(2, 2, name="conv"), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )
    kernel = np.zeros((2, 2, 1, 2), "float32")
    kernel[0, 0, 0, 0], kernel[1, 1, 0, 0] = 1, -1  # a difference along the diagonal
    kernel[..., 1] = 0.25  # a mean
    model.get_layer("conv").set_weights([kernel, np.array([0, 5], "float32")])
    images = rng.random((3, 6, 7, 1)).astype("float32")
    found = activation_maps(model, images)
    assert found.layer == "conv"
    x = images[..., 0]
    np.testing.assert_allclose(found.values[..., 0], x[:, :-1, :-1] - x[:, 1:, 1:], atol=1e-6)
    mean = (x[:, :-1, :-1] + x[:, 1:, :-1] + x[:, :-1, 1:] + x[:, 1:, 1:]) / 4
    np.testing.assert_allclose(found.values[..., 1], mean + 5, atol=1e-6)
    np.testing.assert_array_equal(found.images, images)


def test_every_layer_of_a_nested_model_is_that_of_a_sub_model(cnn, rng):
    model, images = cnn(nested=()), rng.random((2, 12, 12, 3)).astype("float32")
    backbone = model.get_layer("backbone")
    for name in ("first", "last", "norm", "relu"):
        expected = keras.Model(backbone.inputs, backbone.get_layer(name).output).predict(images, verbose=0)
        for layer in (name, f"backbone/{name}"):
            found = activation_maps(model, images, layer=layer)
            assert found.layer == f"backbone/{name}"
            np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_a_batch_equals_single_images_and_the_model_is_as_it_was(cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    before = model.get_weights()
    together = activation_maps(model, images)
    for index in range(3):
        np.testing.assert_allclose(
            activation_maps(model, images[index : index + 1]).values[0], together.values[index], atol=1e-6
        )
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_mixed_precision_comes_out_as_float32(cnn, rng):
    found = activation_maps(cnn(dtype="mixed_float16"), rng.random((1, 12, 12, 3)), layer="last")
    assert found.values.dtype == np.float32


def test_the_strongest_by_mean_and_by_variance():
    values = np.zeros((1, 2, 2, 4))
    values[0, ..., 1] = -3  # the largest everywhere, the same everywhere
    values[0, 0, 0, 2] = 8  # mean 2, variance 12
    values[0, 0, ..., 3] = 1  # mean 1/2, variance 1/4
    found = ActivationMaps(values, "layer", np.zeros((1, 4, 4, 1)))
    assert found.strongest(0).tolist() == [1, 2, 3, 0]
    assert found.strongest(0, 2, by="variance").tolist() == [2, 3]
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 1


def test_the_sheet_shows_the_chosen_maps_and_no_more(tmp_path, rng):
    images = rng.random((20, 4, 4, 1))
    few = ActivationMaps(rng.random((2, 4, 4, 3)), "layer", images[:2]).save(tmp_path / "few.png")
    wide = ActivationMaps(rng.normal(size=(2, 4, 4, 30)), "layer", images[:2]).save(tmp_path / "wide.png", features=6)
    long = ActivationMaps(rng.random((20, 4, 4, 3)), "layer", images).save(tmp_path / "long.png", by="variance")
    limit = ActivationMaps(rng.random((16, 4, 4, 3)), "layer", images[:16]).save(tmp_path / "limit.png")
    sizes = []
    for path in (few, wide, long, limit):
        with Image.open(path) as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] < sizes[1][0]
    assert sizes[2][1] == sizes[3][1]
    assert sizes[0][1] < sizes[2][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.png", "limit.png", "long.png", "wide.png"]


def test_the_colours_of_the_sheet_tell_the_values(tmp_path):
    values = np.zeros((1, 2, 2, 1))
    values[0, 0, 0, 0] = 3  # the end of the scale is yellow, zero is violet
    path = ActivationMaps(values, "layer", np.zeros((1, 4, 4, 1))).save(tmp_path / "maps.png")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet).astype(int)
    count = [(np.abs(pixels - colour).max(axis=-1) <= 2).sum() for colour in ((253, 231, 37), (68, 1, 84))]
    assert count[1] / count[0] == pytest.approx(3, rel=0.1)  # but for the scale itself


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"features": 0}, "features"),
        ({"features": 2.0}, "features"),
        ({"by": "size"}, "'mean' or 'variance'"),
        ({"path": "maps.jpg"}, ".png"),
    ],
)
def test_a_sheet_refuses(settings, match, tmp_path):
    settings = {"path": "maps.png", **settings}
    path = tmp_path / settings.pop("path")
    with pytest.raises(InvalidArgument, match=match):
        ActivationMaps(np.zeros((1, 2, 2, 4)), "layer", np.zeros((1, 4, 4, 1))).save(path, **settings)
    assert not list(tmp_path.iterdir())


def test_an_unknown_layer_lists_those_that_there_are(cnn):
    with pytest.raises(InvalidArgument, match=r"first.*last.*norm"):
        activation_maps(cnn(), np.zeros((1, 12, 12, 3)), layer="scores")


@pytest.mark.parametrize(
    ("values", "images"), [((2, 3, 3), (2, 4, 4, 1)), ((2, 3, 3, 1), (3, 4, 4, 1)), ((2, 3, 3, 0), (2, 4, 4, 1))]
)
def test_shapes_belong_together(values, images):
    with pytest.raises(InvalidArgument, match="Expected values of shape"):
        ActivationMaps(np.zeros(values), "layer", np.zeros(images))
