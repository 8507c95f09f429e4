"""Pictures and labels as users have them."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.image_data import (
    channel_statistics,
    check_lengths,
    class_weights,
    collect,
    encode_labels,
    pixel_range,
    split,
    to_codes,
    to_images,
)

_INTEGERS = st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=30)
_STRINGS = st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6), min_size=2)
_BOOLEANS = st.lists(st.booleans(), min_size=2, max_size=30)
_WHOLE_FLOATS = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=30)


def _pictures(n: int, shape: tuple[int, ...] = (8, 8, 1)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, *shape)).astype("uint8")


# -- labels --


@settings(max_examples=150)
@given(st.one_of(_INTEGERS, _STRINGS, _BOOLEANS, _WHOLE_FLOATS).filter(lambda labels: len(set(labels)) > 1))
def test_labels_of_any_kind_come_back_from_their_codes(labels):
    classes, codes = encode_labels(labels)
    assert classes[codes].tolist() == labels
    assert sorted(set(labels)) == classes.tolist()
    np.testing.assert_array_equal(to_codes(labels, classes), codes)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=20).filter(lambda c: len(set(c)) > 1),
    st.sampled_from(["uint8", "int64", "float32", "bool"]),
)
def test_one_hot_rows_mean_their_column(columns, dtype):
    classes, codes = encode_labels(np.eye(5)[columns].astype(dtype))
    assert classes.tolist() == [0, 1, 2, 3, 4]
    assert codes.tolist() == columns
    assert to_codes(np.eye(5)[columns].astype(dtype), classes).tolist() == columns


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.asarray([[7], [-3], [7]]), [-3, 7]),
        (np.asarray(["b", "a", "b"], dtype=object), ["a", "b"]),
        (np.asarray([b"b", b"a", b"b"]), ["a", "b"]),
        (np.asarray([b"b", b"a", b"b"], dtype=object), ["a", "b"]),
        (np.asarray([2, 1, 2], dtype=object), [1, 2]),
        (pd.Series(["b", "a", "b"], index=[5, 6, 7]), ["a", "b"]),
        (pd.Series(["b", "a", "b"], dtype="category"), ["a", "b"]),
        (("b", "a", "b"), ["a", "b"]),
        (np.asarray([9, 2, 9], dtype="uint8"), [2, 9]),
    ],
)
def test_the_containers_that_labels_come_in(labels, classes):
    found, codes = encode_labels(labels)
    assert found.tolist() == classes
    assert codes.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "got None"),
        ([], "got \\(0,\\)"),
        (3, "got \\(\\)"),
        ([1, 1, 1], "at least two classes, got only \\[1\\]"),
        ([[0, 1], [0, 1]], "at least two classes"),
        ([0.5, 1.5], "Is this regression"),
        ([1e300, 1.0], "Is this regression"),
        ([0.0, np.nan], "missing"),
        (np.asarray([0.0, np.nan]), "NaN or infinity"),
        ([0.0, np.inf], "NaN or infinity"),
        (["a", None, "b"], "missing"),
        (["a", float("nan"), "b"], "missing"),
        (pd.Series(["a", None, "b"]), "missing"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "missing"),
        (["a", 1], "all strings or all numbers, got int, str"),
        ([1 + 2j, 3], "all strings or all numbers"),
        ([2**70, 1], "all strings or all numbers"),
        ([[1, 1, 0], [0, 1, 0]], "single 1 in each"),
        ([[0, 0], [0, 1]], "single 1 in each"),
        ([[0.2, 0.8], [1.0, 0.0]], "fractions"),
        ([["0", "1"], ["1", "0"]], "got strings of shape \\(2, 2\\)"),
        ([[1], [1, 2]], "label"),
        (np.zeros((2, 2, 2)), "got \\(2, 2, 2\\)"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(InvalidArgument, match=message):
        encode_labels(labels)


def test_an_unknown_label_is_named():
    classes, _ = encode_labels(["cat", "dog"])
    with pytest.raises(InvalidArgument, match=r"labels of target among \['cat', 'dog'\], got \['cow'\]"):
        to_codes(["cat", "cow"], classes, name="target")
    with pytest.raises(InvalidArgument, match="one-hot rows of 2 columns in y, got 3"):
        to_codes(np.eye(3), classes)


# -- pictures --


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_statistics_of_each_channel(dtype):
    x = np.random.default_rng(0).integers(0, 255, (1500, 4, 5, 3)).astype(dtype)
    x[..., 1] = 7
    mean, deviation = channel_statistics(x)
    np.testing.assert_allclose(mean, x.astype("float64").mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, [x[..., 0].astype("float64").std(), 1.0, x[..., 2].astype("float64").std()])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_integers_stay_as_they_are(dtype):
    images = to_images(_pictures(3, (4, 5)).astype(dtype))
    assert images.shape == (3, 4, 5, 1)
    assert images.dtype == dtype


def test_floats_become_float32_and_booleans_numbers():
    assert to_images(np.ones((2, 4, 4, 3))).dtype == np.float32
    images = to_images(np.ones((2, 4, 4), bool))
    assert images.dtype == np.uint8
    assert images.min() == 1


def test_a_list_of_pictures():
    np.testing.assert_array_equal(to_images(list(_pictures(3))), _pictures(3))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.zeros((4, 4)), np.zeros((5, 4))], "one size"),
        (np.zeros((10, 3, 32, 32)), r"np.moveaxis\(x, 1, -1\)"),
        (np.zeros((10, 1, 28, 28)), "channels first"),
        (np.zeros((10, 64)), r"got \(10, 64\)"),
        (np.zeros((2, 2, 2, 2, 2)), "got"),
        (np.zeros((0, 8, 8)), r"got shape \(0, 8, 8, 1\)"),
        (np.full((2, 4, 4), np.nan), "NaN or infinity"),
        (np.full((2, 4, 4), np.inf), "NaN or infinity"),
        (np.full((2, 4, 4), 1e300), "NaN or infinity"),
        (np.full((2, 4, 4), "a"), "numbers"),
        (["cat.png", "dog.png"], "numbers"),
        (None, "numbers"),
    ],
)
def test_pictures_that_are_none(x, message):
    with pytest.raises(InvalidArgument, match=message):
        to_images(x)


def test_one_label_for_each_picture():
    with pytest.raises(InvalidArgument, match="got 3 pictures and 2 labels"):
        check_lengths(_pictures(3), [0, 1])


# -- datasets --

X, Y = _pictures(10), np.arange(10) % 3


@pytest.mark.parametrize("batch", [None, 1, 4, 10])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("channel", [False, True])
def test_tf_data_however_it_is_batched(batch, one_hot, channel):
    x, y = X if channel else X[..., 0], np.eye(3, dtype="float32")[Y] if one_hot else Y
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    pictures, labels = collect(dataset if batch is None else dataset.batch(batch))
    np.testing.assert_array_equal(pictures, x)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("batch", [None, 8])
def test_tf_data_with_as_many_classes_as_rows_of_pixels(batch):
    y = np.eye(8, dtype="float32")[Y]
    dataset = tf.data.Dataset.from_tensor_slices((X, y))
    pictures, labels = collect(dataset if batch is None else dataset.batch(batch))
    np.testing.assert_array_equal(pictures, X)
    np.testing.assert_array_equal(labels, y)


def test_tf_data_of_unknown_shape_and_with_strings():
    names = np.asarray(["a", "b", "c"])[Y]
    dataset = tf.data.Dataset.from_generator(
        lambda: zip(X, names, strict=True),
        output_signature=(tf.TensorSpec((None, None, 1), tf.uint8), tf.TensorSpec((), tf.string)),
    )
    (images, codes), _, classes = split(dataset, None, 0.3, None, 0)
    assert classes.tolist() == ["a", "b", "c"]
    assert images.shape == (7, 8, 8, 1)
    assert len(codes) == 7


def test_tf_data_that_cannot_be_used():
    pairs = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(InvalidArgument, match="infinite"):
        collect(pairs.repeat())
    with pytest.raises(InvalidArgument, match="labels; got `y` as well"):
        collect(pairs, Y)
    with pytest.raises(InvalidArgument, match=r"give \(pictures, labels\)"):
        collect(tf.data.Dataset.from_tensor_slices(X))
    with pytest.raises(InvalidArgument, match=r"give \(pictures, labels\)"):
        collect(tf.data.Dataset.from_tensor_slices({"image": X, "label": Y}))
    with pytest.raises(InvalidArgument, match="got none"):
        collect(pairs.take(0))


def test_tf_data_of_different_sizes():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([(np.zeros((4, 4, 1)), 0), (np.zeros((5, 4, 1)), 1)]),
        output_signature=(tf.TensorSpec((None, None, 1)), tf.TensorSpec(())),
    )
    with pytest.raises(InvalidArgument, match="one size"):
        collect(dataset)


class _Batches(keras.utils.PyDataset):
    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length

    @property
    def num_batches(self):
        return self.length

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def test_py_dataset():
    pictures, labels = collect(_Batches(3))
    np.testing.assert_array_equal(pictures, X)
    np.testing.assert_array_equal(labels, Y)
    with pytest.raises(InvalidArgument, match="known length"):
        collect(_Batches(None))
    with pytest.raises(InvalidArgument, match="own labels"):
        collect(_Batches(3), Y)


# -- split --


def test_a_generator_is_no_dataset():
    batches = ((_pictures(4), np.arange(4)) for _ in range(2))
    with pytest.raises(InvalidArgument, match=r"got a generator\. Collect it into arrays, or pass tf\.data\.Dataset\.from_gen"):
        split(batches, None, 0.5, None, 0)
    with pytest.raises(InvalidArgument, match="got a generator"):
        split(_pictures(4), np.arange(4), 0.5, batches, 0)


@settings(max_examples=40)
@given(counts=st.lists(st.integers(5, 25), min_size=2, max_size=4), share=st.sampled_from([0.2, 0.3, 0.5]))
def test_split_keeps_every_sample_once_and_the_share_of_each_class(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    x = np.arange(len(labels), dtype="int32")[:, None, None] * np.ones((1, 2, 2), "int32")
    (a, ca), (b, cb), _ = split(x, labels, share, None, 0)
    assert sorted(np.concatenate([a, b])[:, 0, 0, 0].tolist()) == list(range(len(labels)))
    np.testing.assert_array_equal(ca, labels[a[:, 0, 0, 0]])
    np.testing.assert_array_equal(cb, labels[b[:, 0, 0, 0]])
    assert len(b) == round(share * len(labels))
    for code, count in enumerate(counts):
        assert abs((cb == code).sum() - share * count) <= 1


def test_split_is_the_same_for_the_same_seed_only():
    y = np.arange(60) % 3
    x = _pictures(60)
    first, again, other = (split(x, y, 0.2, None, seed)[1][0] for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    split(x, y, 0.2, None, 2**40)


def test_split_takes_validation_data_as_it_is():
    names = np.asarray(["a", "b", "c"])
    for validation in ((X[6:], names[Y[6:]]), [X[6:], names[Y[6:]]]):
        (a, ca), (b, cb), classes = split(X[:6], names[Y[:6]], 0.2, validation, 0)
        np.testing.assert_array_equal(a, X[:6])
        np.testing.assert_array_equal(b, X[6:])
        np.testing.assert_array_equal(np.concatenate([ca, cb]), Y)
        assert classes.tolist() == ["a", "b", "c"]
    (_, _), (b, cb), _ = split(X, Y, 0.2, tf.data.Dataset.from_tensor_slices((X[:3], Y[:3])), 0)
    np.testing.assert_array_equal(b, X[:3])
    np.testing.assert_array_equal(cb, Y[:3])


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((X[:2], [0, 7]), r"labels of validation_data among \[0, 1, 2\], got \[7\]"),
        ((_pictures(2, (9, 8, 1)), [0, 1]), r"shape \(8, 8, 1\), got \(9, 8, 1\)"),
        ((X[:3], [0, 1]), "got 3 pictures and 2 labels"),
        ((X[:2], None), "None"),
        ((X[:2], [0, 1], [1.0, 1.0]), "got 3 parts"),
    ],
)
def test_validation_data_that_cannot_be_used(validation, message):
    with pytest.raises(InvalidArgument, match=message):
        split(X, Y, 0.2, validation, 0)


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, -0.1, 2, np.nan, None, "0.2"])
def test_validation_split_outside_its_range(share):
    with pytest.raises(InvalidArgument, match=r"`validation_split` in \(0, 1\), got"):
        split(X, Y, share, None, 0)


def test_too_few_samples_to_split():
    with pytest.raises(InvalidArgument, match="enough samples"):
        split(X[:2], [0, 1], 0.1, None, 0)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.array([[3, 100]], "uint8"), (0, 255)),  # dark, and of 8 bits all the same
        (np.array([[3, 100]], "uint16"), (3, 100)),
        (np.array([[3, 100]], "float32"), (3, 100)),
        (np.array([[0, 16]], "uint8"), (0, 16)),  # scikit-learn's digits
        (np.array([[0, 1]], "uint8"), (0, 1)),  # black and white
    ],
)
def test_bytes_go_from_0_to_255_however_dark(images, expected):
    assert pixel_range(images) == expected
    assert pixel_range(images[:, :1], images) == expected


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_balanced_classes_count_the_same(labels):
    codes, counts = np.array(labels), np.bincount(labels, minlength=4)
    weights = class_weights("balanced", np.arange(4), codes)
    shares = [weights[i] * counts[i] for i in range(4) if counts[i]]
    assert shares == pytest.approx([len(labels) / 4] * len(shares))


def test_weights_of_samples_are_refused_not_dropped():
    x, y, weights = _pictures(6), np.arange(6) % 2, np.ones(6)
    for data in (
        tf.data.Dataset.from_tensor_slices((x, y, weights)),
        tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(3),
    ):
        with pytest.raises(InvalidArgument, match=r"got 3 parts\. Weights of samples"):
            collect(data)
