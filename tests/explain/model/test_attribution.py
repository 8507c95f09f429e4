import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain import Attribution


def attribution(values, images=None):
    values = np.asarray(values)
    images = np.zeros((*values.shape, 1)) if images is None else images
    return Attribution(values=values, images=images, targets=np.zeros(len(values), int), method="made up")


def test_it_is_checked_and_frozen():
    made = attribution(np.ones((2, 3, 4)))
    assert made.values.dtype == np.float32
    assert len(made) == 2
    with pytest.raises(ValueError, match="read-only"):
        made.values[0] = 0
    with pytest.raises(AttributeError):
        made.method = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.ones((2, 3))}, "shape"),
        ({"values": np.ones((2, 4, 3))}, "shape"),
        ({"values": np.full((2, 3, 4), np.inf)}, "finite values"),
        ({"values": np.full((2, 3, 4), 1e300)}, "finite values"),
        ({"values": np.full((2, 3, 4), "a")}, "real numbers"),
        ({"images": np.full((2, 3, 4, 1), np.nan)}, "finite images"),
        ({"images": np.ones((2, 3, 4))}, "shape"),
        ({"images": np.ones((2, 3, 4, 0))}, "shape"),
        ({"targets": np.zeros(3, int)}, "target"),
        ({"targets": np.zeros(2)}, "target"),
    ],
)
def test_parts_that_do_not_belong_together(changes, message):
    with pytest.raises(InvalidArgument, match=message):
        Attribution(
            **{
                "values": np.ones((2, 3, 4)),
                "images": np.zeros((2, 3, 4, 1)),
                "targets": np.zeros(2, int),
                "method": "made up",
                **changes,
            }
        )


@pytest.mark.parametrize("arguments", [{"index": 2}, {"index": "a"}, {"alpha": 1.5}, {"alpha": np.nan}, {"scale": 0}])
def test_wrong_arguments_of_a_picture(arguments):
    with pytest.raises(InvalidArgument, match="came"):
        attribution(np.ones((2, 3, 4))).to_image(**arguments)


def test_a_picture_has_the_asked_size_and_small_images_are_enlarged():
    made = attribution(np.ones((2, 8, 4)))
    assert made.to_image(scale=1).shape == (2, 8, 4, 3)
    assert made.to_image(1, scale=3).shape == (24, 12, 3)
    assert made.to_image(0).shape == (8 * 48, 4 * 48, 3)
    assert attribution(np.ones((1, 400, 300))).to_image(0).shape == (400, 300, 3)
    np.testing.assert_array_equal(made.to_image()[1], made.to_image(1))
    np.testing.assert_array_equal(made.to_image(-1), made.to_image(1))


def test_the_picture_is_a_convex_blend_of_image_and_colour():
    images, values = np.full((1, 1, 3, 1), 0.5), [[[0.0, 2.0, -1.0]]]
    made = attribution(values, images)
    limit = np.percentile(np.abs(values), 99)
    weight = 0.5 * np.minimum(np.abs(values[0][0]) / limit, 1)[:, None]
    colours = np.array([[0, 0, 0], [1.0, 0.3, 0.05], [0.1, 0.5, 1.0]])
    expected = 255 * ((1 - weight) * 0.5 + weight * colours)
    np.testing.assert_allclose(made.to_image(0, alpha=0.5, scale=1)[0], expected, atol=0.5)


@pytest.mark.parametrize("constant", [0.0, 1.0, -1.0, 1e-44, 3e38])
def test_a_constant_map_is_a_plain_picture(constant):
    # tf-explain divides by the range of the map: NaN, cast to uint8.
    picture = attribution(np.full((1, 4, 4), constant), np.full((1, 4, 4, 3), 0.5)).to_image(0, scale=1)
    assert (picture == picture[0, 0]).all()
    assert (picture[0, 0] == 128).all() == (constant == 0)


@pytest.mark.parametrize("white", [np.uint8(255), np.float32(1.0), np.float32(255.0), np.float64(1e5)])
def test_a_white_image_stays_white_and_shows_its_evidence(white):
    # tf-explain adds the heat map to the image, which saturates to white.
    values = np.zeros((1, 4, 4))
    values[0, 1, 2] = 1
    picture = attribution(values, np.full((1, 4, 4, 3), white)).to_image(0, scale=1)
    assert (np.delete(picture.reshape(16, 3), 6, axis=0) == 255).all()
    assert picture[1, 2, 2] < 128


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_range_and_number_of_channels_shows_the_same_picture(channels, rng):
    # tf-explain multiplies float images by 255 whatever their range, which wraps modulo 256.
    byte = rng.integers(0, 256, (2, 5, 6, channels)).astype("uint8")
    byte[0, 0, 0], byte[0, 0, 1] = 0, 255
    values = rng.normal(size=(2, 5, 6))
    shown = attribution(values, byte).to_image(scale=1).astype(int)
    for images in (byte / 255, byte.astype("float32"), byte / 127.5 - 1, byte.astype(float) * 16, byte.astype("int32")):
        assert np.abs(attribution(values, images).to_image(scale=1) - shown).max() <= 1


def test_no_alpha_shows_the_image_itself(rng):
    images = rng.integers(0, 256, (1, 5, 6, 3)).astype("uint8")
    made = attribution(rng.normal(size=(1, 5, 6)), images)
    np.testing.assert_array_equal(made.to_image(0, alpha=0.0, scale=1), images[0])
    np.testing.assert_array_equal(attribution(np.zeros((1, 5, 6)), images).to_image(0, scale=1), images[0])


@settings(max_examples=80)
@given(st.data())
def test_any_finite_arrays_give_a_picture(data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int32, np.bool_]))
    kwargs = {} if np.dtype(dtype).kind in "uib" else {"elements": {"allow_nan": False, "allow_infinity": False}}
    images = data.draw(arrays.arrays(dtype, (*shape, data.draw(st.integers(1, 5))), **kwargs))
    values = data.draw(arrays.arrays(np.float32, shape, elements={"allow_nan": False, "allow_infinity": False}))
    made = attribution(values, images)
    picture, plain = made.to_image(scale=1), made.to_image(scale=1, alpha=0.0)
    assert picture.dtype == np.uint8
    assert picture.shape == (*shape, 3)
    np.testing.assert_array_equal(picture[values == 0], plain[values == 0])


def test_saving_writes_a_readable_png_for_every_image(tmp_path, rng):
    made = attribution(rng.normal(size=(3, 8, 8)), rng.random((3, 8, 8, 1)))
    path = made.save(tmp_path / "new" / "maps.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.height > 3 * 200
        assert picture.width > 600
        assert len(picture.getcolors(1 << 20)) > 50
    assert [file.name for file in path.parent.iterdir()] == ["maps.png"]
    with pytest.raises(InvalidArgument, match="png"):
        made.save(tmp_path / "maps.jpg")


def test_the_labels_of_the_scale_are_not_cut_off(tmp_path, rng):
    values = rng.choice([-0.00119, 0.00119], size=(2, 8, 8))
    values[1] = np.abs(values[1])  # its labels are shorter
    with Image.open(attribution(values, rng.random((2, 8, 8, 1))).save(tmp_path / "maps.png")) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert (pixels[:, -10:] == 255).all()
    assert (pixels[:, -30:] < 128).any()
