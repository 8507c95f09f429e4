import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.feature_visualisation import feature_visualisation

layers = keras.layers
PLAIN = {"jitter": 0, "smoothness": 0.0}


@pytest.fixture
def linear(rng):
    """A linear model of 5 x 6 images, and the weights of its classes, shape (3, 5, 6, 2)."""
    model = keras.Sequential([keras.Input((5, 6, 2)), layers.Flatten(), layers.Dense(3, activation="softmax", name="scores")])
    weights = rng.standard_normal((60, 3)).astype("float32")
    model.get_layer("scores").set_weights([weights, np.zeros(3, "float32")])
    return model, weights.T.reshape(3, 5, 6, 2).astype("float64")


@pytest.fixture
def edges():
    """A 3 x 3 convolution with three kernels set by hand, and these; the last one is never above zero."""
    kernels = np.zeros((3, 3, 1, 3), "float32")
    kernels[..., 0, 0] = [[-1, 0, 1]] * 3
    kernels[..., 0, 1] = np.eye(3) - 1 / 3
    model = keras.Sequential(
        [
            keras.Input((11, 11, 1)),
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    model.get_layer("conv").set_weights([kernels, np.array([0, 0, -1], "float32")])
    return model, kernels[..., 0, :]


def test_of_a_linear_score_it_is_the_weights_in_closed_form(linear):
    model, weights = linear
    found = feature_visualisation(model, None, [0, 1, 2], restraint=0.7, **PLAIN)
    norms = np.sqrt((weights**2).mean(axis=(1, 2, 3), keepdims=True))
    # Where g / rms(g) = 2 restraint (s - 1/2).
    np.testing.assert_allclose(found.images, np.clip(0.5 + weights / norms / 1.4, 0, 1), atol=1e-3)
    assert found.layer is None


def test_without_regularisation_it_reaches_the_largest_score_that_there_is(linear):
    model, weights = linear
    found = feature_visualisation(model, None, 1, low=[-1, 0], high=[1, 3], restraint=0.0, **PLAIN)
    largest = np.where(weights[1] > 0, weights[1] * [1, 3], weights[1] * [-1, 0])
    # All but pixels with a weight near 0 have arrived.
    assert found.reached[0] == pytest.approx(largest.sum(), rel=0.02)
    assert found.images.min(axis=(0, 1, 2)).tolist() == [-1, 0]
    assert found.images.max(axis=(0, 1, 2)).tolist() == [1, 3]
    assert np.all(np.diff(found.curve[0]) >= -1e-4)
    assert found.curve[0, 0] == pytest.approx(found.start[0], rel=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_the_middle_shows_the_kernel(edges, number):
    model, kernels = edges
    found = feature_visualisation(model, "conv", number, jitter=0)
    patch = found.images[0, 4:7, 4:7, 0]  # what the middle of the 9 x 9 feature map looks at
    assert np.corrcoef(patch.ravel(), kernels[..., number].ravel())[0, 1] > 0.9
    shifted = feature_visualisation(model, "conv", number)
    assert shifted.reached[0] > 3 * shifted.start[0]


def test_everywhere_makes_a_texture_whose_patches_are_like_the_kernel(edges):
    model, kernels = edges
    found = feature_visualisation(model, "conv", 0, at="everywhere", jitter=0)
    patches = np.lib.stride_tricks.sliding_window_view(found.images[0, ..., 0], (3, 3)).reshape(-1, 9)
    responses = patches @ kernels[..., 0].ravel()
    assert found.reached[0] == pytest.approx(np.maximum(responses, 0).mean(), rel=1e-4)
    assert found.reached[0] > 3 * found.start[0]
    assert np.corrcoef(patches[responses > 0].mean(axis=0), kernels[..., 0].ravel())[0, 1] > 0.9


def test_the_activations_are_those_of_the_layer(cnn, rng):
    model, examples = cnn(nested=()), rng.random((5, 12, 12, 3)).astype("float32")
    backbone = model.get_layer("backbone")
    inner = keras.Model(backbone.inputs, backbone.get_layer("last").output)
    for at, read in (("everywhere", lambda maps: maps.mean(axis=(1, 2))), ("middle", lambda maps: maps[:, 3, 3])):
        found = feature_visualisation(model, "last", [5, 2], at=at, steps=20, examples=examples)
        assert found.layer == "backbone/last"
        of_images = read(inner.predict(found.images, verbose=0))
        np.testing.assert_allclose(found.reached, [of_images[0, 5], of_images[1, 2]], atol=1e-5)
        np.testing.assert_allclose(found.examples, read(inner.predict(examples, verbose=0))[:, [5, 2]].T, atol=1e-5)
        assert np.all(found.reached > found.start)


def test_a_class_is_explained_before_the_softmax(cnn):
    model = cnn()
    sure = feature_visualisation(model, None, 2, steps=60)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([30 * kernel, 30 * bias])
    surer = feature_visualisation(model, None, 2, steps=60)
    np.testing.assert_allclose(surer.images, sure.images, atol=1e-2)
    np.testing.assert_allclose(surer.reached, 30 * sure.reached, rtol=1e-2)
    probabilities = model.predict(surer.images, verbose=0)[0]
    assert probabilities.argmax() == 2


def test_it_is_the_same_again_alone_and_another_with_another_seed_and_the_model_is_unchanged(cnn):
    model = cnn()
    before = model.get_weights()
    settings = {"steps": 15, "jitter": 2}
    found = feature_visualisation(model, "first", [0, 3, 4], **settings)
    np.testing.assert_array_equal(feature_visualisation(model, "first", [0, 3, 4], **settings).images, found.images)
    np.testing.assert_allclose(feature_visualisation(model, "first", 3, **settings).images[0], found.images[1], atol=1e-4)
    assert np.any(feature_visualisation(model, "first", [0, 3, 4], seed=1, **settings).images != found.images)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 1


def test_the_units_of_the_images_do_not_matter(linear):
    model, _ = linear
    scaled = keras.Sequential([keras.Input((5, 6, 2)), layers.Rescaling(1 / 255), *model.layers])
    small = feature_visualisation(model, None, [0, 1], steps=40)
    large = feature_visualisation(scaled, None, [0, 1], steps=40, high=255.0)
    np.testing.assert_allclose(large.images / 255, small.images, atol=1e-4)


def test_more_smoothness_is_smoother(cnn):
    model = cnn()

    def variation(smoothness):
        images = feature_visualisation(model, None, range(4), smoothness=smoothness, steps=50).images
        return np.abs(np.diff(images, axis=1)).mean() + np.abs(np.diff(images, axis=2)).mean()

    assert variation(0.5) < variation(0.1) < variation(0.0)


def test_a_closed_relu_is_opened_if_it_can_be_and_else_told(edges):
    # At the first noise, the ReLU of half of the features is closed: others are tried.
    for seed in range(3):
        found = feature_visualisation(edges[0], "conv", [0, 1, 2], steps=10, seed=seed)
        assert found.responded.tolist() == [True, True, False]
        assert np.all(found.reached[:2] > found.start[:2])
        assert found.reached[2] == found.start[2] == 0


def test_the_sheet_shows_each_image_in_its_range(linear, tmp_path):
    model, _ = linear
    found = feature_visualisation(model, None, [0, 1], low=-4.0, high=4.0, restraint=0.0, **PLAIN)
    path = found.save(tmp_path / "images.png")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    # The mean of the two channels: where both are at an end, black and white, else grey.
    shares = ((found.images + 4) / 8).mean(axis=-1)
    blacks = (pixels.max(axis=-1) <= 3).sum()
    assert blacks == pytest.approx((shares <= 0.01).sum() * (112 / 6) ** 2, rel=0.2)
    assert [found._caption(i)[0] for i in (0, 1)] == ["class 0", "class 1"]
    assert dataclasses.replace(found, labels=("cat", "dog", "owl"))._caption(1)[0] == "dog"
    many = feature_visualisation(model, None, [0] * 70, steps=1, examples=np.zeros((2, 5, 6, 2)))
    with Image.open(many.save(tmp_path / "many.png")) as sheet:
        rows = sheet.size[1] / pixels.shape[0]
    assert 4 < rows < 9
    with pytest.raises(InvalidArgument, match=r"\.png"):
        found.save(tmp_path / "images.jpg")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["images.png", "many.png"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_channels_and_any_size(channels, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, None, channels)),
            layers.Conv2D(2, 3, name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    with pytest.raises(InvalidArgument, match="Expected examples"):
        feature_visualisation(model, "conv", 0)
    found = feature_visualisation(model, "conv", 0, steps=2, examples=np.zeros((2, 7, 9, channels)))
    assert found.images.shape == (1, 7, 9, channels)
    found.save(tmp_path / "images.png")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"features": 6}, "from 0 to 5"),
        ({"features": -1}, "features"),
        ({"features": []}, "features"),
        ({"features": 1.0}, "features"),
        ({"layer": None, "features": 4}, "4 classes"),
        ({"layer": "scores"}, "first.*last"),
        ({"at": "edge"}, "'middle'"),
        ({"low": 1.0}, "less than high"),
        ({"low": [0, 0]}, "low and high"),
        ({"high": np.nan}, "low and high"),
        ({"high": "white"}, "low and high"),
        ({"steps": 0}, "steps"),
        ({"steps": True}, "steps"),
        ({"jitter": 12}, "jitter"),
        ({"jitter": 0.5}, "jitter"),
        ({"smoothness": -1}, "smoothness"),
        ({"restraint": np.inf}, "restraint"),
    ],
)
def test_it_refuses(cnn, settings, match):
    settings = {"layer": "first", "features": 0, **settings}
    with pytest.raises(InvalidArgument, match=match):
        feature_visualisation(cnn(), settings.pop("layer"), settings.pop("features"), **settings)
