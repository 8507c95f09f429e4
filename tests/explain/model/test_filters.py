import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.filters import Filters, filters

layers = keras.layers


def test_they_are_the_weights_of_the_layer_in_nested_models_too(cnn):
    model = cnn(nested=())
    kernel = model.get_layer("backbone").get_layer("last").get_weights()[0]
    for name in ("last", "backbone/last"):
        found = filters(model, name)
        assert found.layer == "backbone/last"
        np.testing.assert_array_equal(found.kernels, kernel)
    np.testing.assert_allclose(found.norms, [np.sqrt((kernel[..., i] ** 2).sum()) for i in range(8)], rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        found.kernels[0] = 1


def test_a_depthwise_convolution_has_a_filter_for_each_of_its_outputs(rng):
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")])
    image = rng.random((1, 6, 6, 2)).astype("float32")
    found = filters(model, "depthwise")
    assert found.kernels.shape == (3, 3, 1, 4)
    corner = model.predict(image, verbose=0)[0, 0, 0]
    expected = [(image[0, :3, :3, i // 2] * found.kernels[:, :, 0, i]).sum() for i in range(4)]
    np.testing.assert_allclose(corner, expected, atol=1e-5)


def test_the_colours_tell_the_signs(tmp_path):
    kernels = np.zeros((2, 2, 1, 2), np.float32)
    kernels[0, 0, 0, 0], kernels[1, :, 0, 1] = 2, -2
    path = Filters(kernels, "conv").save(tmp_path / "filters.png")
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet).astype(int)
    red, blue = ((np.abs(pixels - colour).max(axis=-1) <= 2).sum() for colour in ((103, 0, 31), (5, 48, 97)))
    assert blue / red == pytest.approx(2, rel=0.1)  # but for the scale itself


@pytest.mark.parametrize("shape", [(3, 3, 1, 200), (5, 3, 3, 20), (1, 1, 40, 30), (3, 3, 2, 1), (2, 2, 1, 1)])
def test_a_sheet_of_any_layer_has_at_most_sixteen_rows(shape, rng, tmp_path):
    path = Filters(rng.normal(size=shape).astype("float32"), "conv").save(tmp_path / "filters.png")
    with Image.open(path) as sheet:
        assert sheet.size[1] <= 16 * (72 + 50) + 60
    assert Filters(np.zeros(shape, np.float32), "conv").save(path) == path


def test_it_refuses(cnn, tmp_path):
    with pytest.raises(InvalidArgument, match="first, last"):
        filters(cnn(), "scores")
    with pytest.raises(InvalidArgument, match=r"\.png"):
        filters(cnn(), "first").save(tmp_path / "filters.svg")
    assert not list(tmp_path.iterdir())
