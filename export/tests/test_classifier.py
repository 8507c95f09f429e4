"""What the runner makes of a file and of a picture, against the formulas."""

import numpy as np
import pytest
from classify import Classifier, Problem, Unreadable, black_and_white, ending, occlusion, overlay, read_picture
from onnx import TensorProto
from PIL import Image

RNG = np.random.default_rng(3)
KERNEL, BIAS = RNG.normal(0, 1, (16, 3)), RNG.normal(0, 1, 3)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def classify(model, path, **settings):
    classifier = Classifier(model, **settings)
    answers = classifier.run(classifier.tensor(read_picture(path, classifier.channels)))
    return dict(zip(classifier.labels, classifier.probabilities(answers)[0], strict=True))


@pytest.mark.parametrize(
    ("end", "expected", "atol"),
    [
        ("Softmax", softmax, 1e-6),
        (None, softmax, 1e-6),  # logits
        ("by hand", softmax, 1e-6),
        ("quantised", softmax, 0.5 / 255 + 1e-6),
        ("mean", lambda z: 0.25 * softmax(z) + 0.75 / 3, 1e-6),
        ("Sigmoid", sigmoid, 1e-6),  # each class by itself
    ],
)
def test_probabilities_whatever_a_file_ends_in(write_model, write_picture, random_pixels, end, expected, atol):
    pixels = random_pixels(4, 4)
    model = write_model(KERNEL, BIAS, end=end, labels=["a", "b", "c"], preprocessing={"range": [0, 1]})
    found = classify(model, write_picture(pixels))
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_allclose(list(found.values()), expected(pixels.reshape(16) / 255 @ KERNEL + BIAS), atol=atol)


@pytest.mark.parametrize("end", ["Sigmoid", None])
@pytest.mark.parametrize(
    ("labels", "names"), [(["no", "yes"], ["no", "yes"]), (["ripe"], ["not ripe", "ripe"]), (None, ["0", "1"])]
)
def test_one_unit_tells_two_classes_apart(write_model, write_picture, random_pixels, end, labels, names):
    pixels = random_pixels(4, 4)
    said = {} if labels is None else {"labels": labels}
    found = classify(write_model(KERNEL[:, :1], [0.3], end=end, preprocessing={"range": [0, 1]}, **said), write_picture(pixels))
    p = sigmoid(pixels.reshape(16) / 255 @ KERNEL[:, 0] + 0.3)
    assert list(found) == names
    np.testing.assert_allclose(list(found.values()), [1 - p, p], atol=1e-6)


def test_a_sigmoid_inside_the_network_is_not_its_end(write_model):
    import onnx

    model = onnx.load(write_model(KERNEL, end=None))
    assert ending(model.SerializeToString()) == "scores"
    model.graph.node[-1].op_type = "Softmax"
    assert ending(model.SerializeToString()) == "softmax"
    model.graph.node[1].op_type = "Sigmoid"  # further in
    assert ending(model.SerializeToString()) == "softmax"
    # What stands in the file in pieces may be told in words.
    assert ending(write_model(KERNEL[:, :1], end=None, threshold=0.5).read_bytes()) == "sigmoid"
    assert ending(write_model(KERNEL[:, :1], end=None, threshold=0.0).read_bytes()) == "scores"
    assert ending(write_model(KERNEL, end=None, ending="sigmoid").read_bytes()) == "sigmoid"


@pytest.mark.parametrize(
    ("said", "black", "white"),
    [
        ((0, 255), 0, 255),
        ((3, 251), 0, 255),  # the pictures of a training seldom hold both extremes
        ((0, 1), 0, 1),
        ((0.02, 0.97), 0, 1),
        ((-1, 1), -1, 1),
        ((-0.9, 0.8), -1, 1),
        ((0, 16), 0, 16),  # scikit-learn's digits
        ((-2.5, 3.5), -2.5, 3.5),
    ],
)
def test_what_black_and_white_become(said, black, white):
    assert black_and_white(*said) == (black, white)


def test_pixel_values_from_the_file_from_the_user_or_as_they_are(write_model, write_picture, random_pixels):
    pixels = random_pixels(4, 4)
    picture = read_picture(write_picture(pixels), 1)
    file = Classifier(write_model(KERNEL, preprocessing={"range": [0, 16]}))
    np.testing.assert_allclose(file.tensor(picture)[0, ..., 0], pixels / 255 * 16, rtol=1e-6)
    user = Classifier(file.path, pixel_range=(1, -1))
    np.testing.assert_allclose(user.tensor(picture)[0, ..., 0], 1 - pixels / 127.5, atol=1e-6)
    for said in ({}, {"preprocessing": "raw pixels"}, {"metadata": {"preprocessing": "{no JSON"}}):
        unknown = Classifier(write_model(KERNEL, name="unknown.onnx", **said))
        assert np.array_equal(unknown.tensor(picture)[0, ..., 0], pixels)
        assert any("--range" in text for text in unknown.notes)
    assert not file.notes


@pytest.mark.parametrize("input_type", [TensorProto.UINT8, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT32])
def test_input_of_other_types(write_model, write_picture, random_pixels, input_type):
    pixels = random_pixels(4, 4)
    model = write_model(KERNEL / 255, BIAS, input_type=input_type, preprocessing={"range": [0, 255]})
    expected = softmax(pixels.reshape(16) @ KERNEL / 255 + BIAS)
    np.testing.assert_allclose(list(classify(model, write_picture(pixels)).values()), expected, atol=1e-5)


def test_input_without_channels_and_a_batch_of_one(write_model, write_picture, random_pixels):
    pixels = random_pixels(4, 4)
    model = write_model(KERNEL, shape=(4, 4), batch=1, preprocessing={"range": [0, 1]})
    expected = softmax(pixels.reshape(16) / 255 @ KERNEL)
    np.testing.assert_allclose(list(classify(model, write_picture(pixels)).values()), expected, atol=1e-6)
    classifier = Classifier(model)
    assert occlusion(classifier, classifier.tensor(read_picture(write_picture(pixels), 1)), 0).shape == (4, 4)


def test_a_picture_of_another_size_is_stretched_bilinearly(write_model, write_picture, random_pixels):
    picture = Image.fromarray(random_pixels(30, 50, 3))
    classifier = Classifier(write_model(np.zeros((4 * 6 * 3, 2)), shape=(4, 6, 3)))
    found = classifier.tensor(read_picture(write_picture(picture), 3))[0]
    expected = np.asarray(picture.resize((6, 4), Image.Resampling.BILINEAR), float)
    assert np.abs(found - expected).max() <= 1  # rounded between the axes, which Pillow takes in an order of its own
    flat = Image.new("RGB", (50, 30), (9, 99, 199))
    assert np.unique(classifier.tensor(flat).reshape(-1, 3), axis=0).tolist() == [[9, 99, 199]]


def test_a_file_for_any_size_takes_the_picture_as_it_is(write_model, write_picture, random_pixels):
    free = write_model(np.ones((1, 2)), shape=("height", "width", 1))
    pixels = random_pixels(5, 7)
    classifier = Classifier(free)
    assert np.array_equal(classifier.tensor(read_picture(write_picture(pixels), 1))[0, ..., 0], pixels)


def test_grey_and_colour_in_either_model(write_picture, random_pixels):
    grey, colour = random_pixels(4, 5), random_pixels(4, 5, 3)
    assert np.array_equal(read_picture(write_picture(grey), 3), np.stack([grey] * 3, -1))
    luma = colour @ [0.299, 0.587, 0.114]  # ITU-R 601-2
    np.testing.assert_allclose(np.asarray(read_picture(write_picture(colour), 1)), luma, atol=0.51)
    palette = Image.fromarray(colour).quantize(16)
    assert np.array_equal(read_picture(write_picture(palette), 3), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(grey > 127)
    assert np.array_equal(read_picture(write_picture(bits), 1), (grey > 127) * np.uint8(255))


def test_what_is_transparent_becomes_black(write_picture):
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[..., 3] = [[255, 0], [128, 0]]
    grey = np.asarray(read_picture(write_picture(pixels), 1))
    assert np.array_equal(grey, [[200, 0], [100, 0]])
    assert np.array_equal(read_picture(write_picture(pixels), 3), np.stack([grey] * 3, -1))


def test_pictures_of_a_camera_held_sideways_are_put_upright(write_picture):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise
    upright = np.asarray(read_picture(write_picture(pixels, "sideways.jpg", exif=exif, quality=95), 1))
    assert upright.shape == (16, 8)
    assert upright[:7].min() > 200
    assert upright[9:].max() < 50


def test_more_than_8_bits_are_refused(write_picture):
    path = write_picture(Image.fromarray(np.full((4, 4), 60000, np.uint16)))
    with pytest.raises(Unreadable, match="expected 8 bits per channel"):
        read_picture(path, 1)


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4, 4), (3, 4, 4), (16,)])
def test_other_inputs_are_refused(write_model, shape):
    with pytest.raises(Problem, match=r"expected one input of shape \(batch, height, width, channels\) with 1 or 3 channels"):
        Classifier(write_model(np.zeros((int(np.prod(shape)), 2)), shape=shape))


def test_labels_that_do_not_fit(write_model):
    few = Classifier(write_model(KERNEL, labels=["a", "b"]))
    assert few.labels == ["0", "1", "2"]
    assert any("2 labels for 3 classes" in text for text in few.notes)
    assert Classifier(write_model(KERNEL, labels=["a", "b", "a"])).labels == ["a (0)", "b (1)", "a (2)"]


def test_the_map_of_a_linear_model_in_closed_form(write_model, random_pixels):
    # 16x16: patches of 2x2 in steps of 1; hiding one takes the sum of kernel * (pixel - mean) away.
    kernel = np.random.default_rng(0).normal(0, 1, (256, 3))
    pixels = random_pixels(16, 16)[None, ..., None] / np.float32(255)
    share = kernel[:, 1].reshape(16, 16) * (pixels[0, ..., 0] - pixels.mean())
    areas = [np.s_[top : top + 2, left : left + 2] for top in range(15) for left in range(15)]
    expected, covered = np.zeros((16, 16)), np.zeros((16, 16))
    for area in areas:
        covered[area] += 1
    for _ in range(5):  # what the mean over a patch lacks of its fall is given to its pixels
        before = expected.copy()
        for area in areas:
            expected[area] += (share[area].sum() - before[area].mean()) / covered[area]
    for end in (None, "Softmax"):
        found = occlusion(Classifier(write_model(kernel, end=end, shape=(16, 16, 1))), pixels, 1)
        if end is None:
            np.testing.assert_allclose(found, expected, atol=1e-5)
        else:  # log-odds also fall by what the patch says of the other classes
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.5


def test_what_rounded_probabilities_say_ends_at_half_of_their_step(write_model):
    pixels = np.zeros((1, 4, 4, 1), np.float32)
    rounded = Classifier(write_model(KERNEL, [9, 0, 0], end="quantised"))
    assert rounded.step == pytest.approx(1 / 255)
    assert rounded.evidence(pixels, 0)[0] == pytest.approx(np.log(255 / 1), rel=1e-5)
    assert rounded.evidence(pixels, 1)[0] == pytest.approx(np.log(0.5 / 255.5), rel=1e-5)
    exact = Classifier(write_model(KERNEL, [9, 0, 0]))
    assert exact.step == 0
    assert exact.evidence(pixels, 1)[0] == pytest.approx(-np.log(np.exp(9) + 1), rel=1e-5)


def test_of_several_sigmoids_each_has_log_odds_of_its_own(write_model):
    classifier = Classifier(write_model(KERNEL, [3, 2, -1], end="Sigmoid"))
    found = [classifier.evidence(np.zeros((1, 4, 4, 1), np.float32), column)[0] for column in range(3)]
    np.testing.assert_allclose(found, [3, 2, -1], rtol=1e-5)


def test_the_picture_of_a_map_is_red_where_the_evidence_is():
    values = np.zeros((8, 8))
    values[:2, :2], values[6:, 6:] = 1, -1
    pixels = np.asarray(overlay(Image.new("RGB", (8, 8), (90, 90, 90)), values)).astype(int)
    assert pixels.shape == (320, 320, 3)
    red, green, blue = pixels[20, 20]
    assert red > 150 > 100 > max(green, blue)
    red, green, blue = pixels[300, 300]
    assert blue > 120 > 80 > red
    assert np.array_equal(pixels[160, 160], [90, 90, 90])
    assert max(np.asarray(overlay(Image.new("L", (4000, 3000)), values)).shape) == 1024


def test_more_than_8_bits_of_colour_are_refused(tmp_path):
    """Pillow would cut them to 8 without a word."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + struct.pack(">6H", 1000, 30000, 65000, 0, 1, 2)))
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    with pytest.raises(Unreadable, match="expected 8 bits per channel"):
        read_picture(path, 3)
