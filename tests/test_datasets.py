"""Labelled pictures by name and from disk."""

import gzip
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from kerasnas.datasets import Dataset, load
from kerasnas.errors import InvalidArgument


def _write(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


def _folder(path: Path, *, classes=("left", "right"), per_class: int = 10, shape=(6, 5)) -> Path:
    """Pictures whose every pixel is 20 x class + number, as PNG."""
    for k, name in enumerate(classes):
        for i in range(per_class):
            _write(path / name / f"{i:02d}.png", np.full(shape, 20 * k + i, "uint8"))
    return path


# -- by name --


def test_digits():
    data, source = load("digits"), load_digits()
    assert data.x_train.shape == (1437, 8, 8, 1)
    assert data.x_test.shape == (360, 8, 8, 1)
    assert (data.x_train.min(), data.x_train.max()) == (0, 16)
    together = np.concatenate([data.x_train, data.x_test])[..., 0]
    rows = {(x.astype(int).tobytes(), int(y)) for x, y in zip(source.images, source.target, strict=True)}
    found = zip(together, np.concatenate([data.y_train, data.y_test]), strict=True)
    assert {(x.astype(int).tobytes(), int(y)) for x, y in found} == rows
    # No digit occurs twice in scikit-learn's set: the parts share no picture.
    assert not {x.tobytes() for x in data.x_train} & {x.tobytes() for x in data.x_test}
    for digit in range(10):
        share = (data.y_test == digit).sum() / (source.target == digit).sum()
        assert share == pytest.approx(0.2, abs=0.01)


def test_the_held_out_part_is_always_the_same():
    np.testing.assert_array_equal(load("digits").x_test, load("digits").x_test)


@settings(max_examples=12)
@given(limit=st.integers(10, 1500), seed=st.integers(0, 5))
def test_take_keeps_the_shares(limit, seed):
    data = load("digits")
    less = data.take(limit, seed=seed)
    assert min(limit, 1437 - 10) <= len(less.x_train) <= limit
    assert less.x_test is data.x_test
    for digit in range(10):
        expected = (data.y_train == digit).mean() * len(less.x_train)
        assert abs((less.y_train == digit).sum() - expected) <= 1
    known = {(x.tobytes(), int(y)) for x, y in zip(data.x_train, data.y_train, strict=True)}
    assert {(x.tobytes(), int(y)) for x, y in zip(less.x_train, less.y_train, strict=True)} <= known


def test_take_that_cannot_be():
    with pytest.raises(InvalidArgument, match="each of 10 classes, got 9"):
        load("digits").take(9)
    x, y = np.zeros((5, 2, 2, 1)), np.asarray([0, 0, 0, 0, 1])
    with pytest.raises(InvalidArgument, match="1 of the rarest"):
        Dataset("few", x, y, x, y).take(3)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    for source in ("mnist", str(tmp_path / "none"), tmp_path / "none.npz"):
        with pytest.raises(InvalidArgument, match="Expected a dataset of cifar10, digits, fashion_mnist, a folder"):
            load(source)


def _idx(array: np.ndarray) -> bytes:
    lengths = np.asarray(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype("uint8").tobytes()


def _fashion(root: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    parts = {
        "train-images-idx3": rng.integers(0, 256, (20, 28, 28)),
        "train-labels-idx1": np.arange(20) % 10,
        "t10k-images-idx3": rng.integers(0, 256, (10, 28, 28)),
        "t10k-labels-idx1": np.arange(10),
    }
    (root / "fashion-mnist").mkdir()
    for name, array in parts.items():
        (root / "fashion-mnist" / f"{name}-ubyte.gz").write_bytes(gzip.compress(_idx(array)))
    return parts


def test_fashion_mnist_from_idx_files(tmp_path, monkeypatch):
    parts = _fashion(tmp_path)
    monkeypatch.setenv("KERASNAS_DATASETS", str(tmp_path))
    data = load("fashion_mnist")
    np.testing.assert_array_equal(data.x_train[..., 0], parts["train-images-idx3"])
    np.testing.assert_array_equal(data.x_test[..., 0], parts["t10k-images-idx3"])
    assert data.y_train[:3].tolist() == ["T-shirt", "Trouser", "Pullover"]
    assert data.y_test[-1] == "Ankle boot"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[: len(content) // 2], "not a whole gzip file"),
        (lambda content: b"not gzip at all", "not a whole gzip file"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-100]), "Expected 15680 bytes in .*, got 15580"),
        (lambda content: gzip.compress(b"\x00\x00\x0d\x01" + b"\0" * 50), "IDX file of bytes"),
        (lambda content: gzip.compress(b"\x00\x00\x08\x03\x00"), "IDX file of bytes"),
        (lambda content: gzip.compress(b""), "IDX file of bytes"),
    ],
)
def test_a_spoilt_idx_file_is_named(tmp_path, monkeypatch, spoil, message):
    _fashion(tmp_path)
    monkeypatch.setenv("KERASNAS_DATASETS", str(tmp_path))
    file = tmp_path / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(InvalidArgument, match=message) as caught:
        load("fashion_mnist")
    assert file.name in str(caught.value)


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_fashion_mnist_of_debian(monkeypatch):
    monkeypatch.delenv("KERASNAS_DATASETS", raising=False)
    data = load("fashion_mnist")
    assert data.x_train.shape == (60000, 28, 28, 1)
    assert data.x_test.shape == (10000, 28, 28, 1)
    assert np.unique(data.y_test, return_counts=True)[1].tolist() == [1000] * 10


def _cifar(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write six batches of two pictures; return all pictures, channels last, and their labels."""
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (12, 32, 32, 3)).astype("uint8"), np.arange(12) % 10
    (root / "cifar-10-batches-bin").mkdir()
    for i, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        records = b"".join(
            bytes([labels[k]]) + np.moveaxis(pictures[k], -1, 0).tobytes() for k in (2 * i, 2 * i + 1)
        )  # one byte of label, then the red, the green and the blue plane
        (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records)
    return pictures, labels


def test_cifar10_from_binary_files(tmp_path, monkeypatch):
    pictures, _ = _cifar(tmp_path)
    monkeypatch.setenv("KERASNAS_DATASETS", str(tmp_path))
    data = load("cifar10")
    np.testing.assert_array_equal(data.x_train, pictures[:10])
    np.testing.assert_array_equal(data.x_test, pictures[10:])
    assert data.y_train[:2].tolist() == ["airplane", "automobile"]
    assert data.y_test.tolist() == ["airplane", "automobile"]
    file = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InvalidArgument, match=r"3073 bytes in .*data_batch_3\.bin, got 6145"):
        load("cifar10")


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_nothing_there_and_no_network(name, tmp_path, monkeypatch):
    def fail():
        raise Exception("URL fetch failure")  # what keras raises

    monkeypatch.setenv("KERASNAS_DATASETS", str(tmp_path))
    monkeypatch.setattr("kerasnas.datasets._DEBIAN", tmp_path)
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", fail)
    with pytest.raises(InvalidArgument, match=r"could not be downloaded .*URL fetch failure.* Set KERASNAS_DATASETS") as caught:
        load(name)
    assert ("dataset-fashion-mnist" in str(caught.value)) == (name == "fashion_mnist")


@pytest.mark.parametrize(("name", "shape"), [("fashion_mnist", (28, 28)), ("cifar10", (32, 32, 3))])
def test_through_keras(name, shape, tmp_path, monkeypatch):
    x, y = np.zeros((4, *shape), "uint8"), np.asarray([0, 1, 2, 9], "uint8")
    labels = y[:, None] if name == "cifar10" else y  # as keras.datasets gives them
    monkeypatch.setenv("KERASNAS_DATASETS", str(tmp_path))
    monkeypatch.setattr("kerasnas.datasets._DEBIAN", tmp_path)
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: ((x, labels), (x, labels)))
    data = load(name)
    assert data.x_train.shape == (4, *shape, 1)[:4]
    assert data.y_test[-1] == ("Ankle boot" if name == "fashion_mnist" else "truck")


# -- .npz --


def test_npz_in_parts(tmp_path):
    x, y = np.arange(160).reshape(10, 4, 4).astype("uint8"), np.arange(10) % 2
    np.savez(tmp_path / "mine.npz", x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    data = load(tmp_path / "mine.npz")
    assert data.name == "mine"
    np.testing.assert_array_equal(data.x_train[..., 0], x[:6])
    np.testing.assert_array_equal(data.x_test[..., 0], x[6:])
    np.testing.assert_array_equal(data.y_test, y[6:])


@pytest.mark.parametrize("one_hot", [False, True])
def test_npz_as_a_whole(tmp_path, one_hot):
    x, y = np.arange(20)[:, None, None, None] * np.ones((1, 4, 4, 3)), np.arange(20) % 2
    np.savez(tmp_path / "mine.npz", x=x, y=np.eye(2)[y] if one_hot else y)
    data = load(tmp_path / "mine.npz")
    assert data.x_train.shape == (16, 4, 4, 3)
    numbers = [*data.x_train[:, 0, 0, 0], *data.x_test[:, 0, 0, 0]]
    assert sorted(numbers) == list(range(20))
    codes = data.y_test.argmax(axis=1) if one_hot else data.y_test
    np.testing.assert_array_equal(data.x_test[:, 0, 0, 0] % 2, codes)
    assert codes.tolist().count(1) == 2


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("an object of the file was unpickled",))


def test_npz_of_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.asarray([_Bomb()] * 20, dtype=object), y=np.arange(20) % 2)
    with pytest.raises(InvalidArgument, match=r"objects\.npz cannot be read as plain arrays"):
        load(tmp_path / "objects.npz")


_X, _Y = np.zeros((20, 4, 4, 1)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": _X, "labels": _Y}, r"got \['images', 'labels'\]"),
        ({"x": _X, "y": _Y[:5]}, "got 20 pictures and 5 labels"),
        ({"x": _X, "y": np.zeros(20)}, "at least two classes"),
        ({"x": _X, "y": [0] * 19 + [1]}, "1 of the rarest"),
        ({"x": _X[:5], "y": [0, 0, 0, 1, 1]}, "5 times as many"),
        ({"x": np.zeros((20, 16)), "y": _Y}, "got \\(20, 16\\)"),
        ({"x_train": _X, "y_train": _Y, "x_test": np.zeros((2, 5, 4, 1)), "y_test": [0, 1]}, "one shape"),
        ({"x_train": _X, "y_train": _Y, "x_test": _X[:2], "y_test": [0, 7]}, r"y_test among \[0, 1\], got \[7\]"),
        ({"x_train": _X, "y_train": _Y, "x_test": _X[:2], "y_test": [0, 1, 1]}, "got 2 pictures and 3 labels"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InvalidArgument, match=message):
        load(tmp_path / "mine.npz")


def test_npz_that_is_none(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"PK\x03\x04 but not a zip file")
    with pytest.raises(InvalidArgument, match="cannot be read as plain arrays"):
        load(tmp_path / "mine.npz")


def test_a_file_is_told_from_none_and_from_text(tmp_path):
    (tmp_path / "text.npz").write_text("x,y")
    with pytest.raises(InvalidArgument, match=r"no \.npz file") as told:
        load(tmp_path / "text.npz")
    assert "pickle" not in str(told.value)
    with pytest.raises(InvalidArgument, match="no such file or folder"):
        load(tmp_path / "nowhere.npz")


# -- folders --


def test_a_folder_of_grey_pictures(tmp_path):
    data = load(_folder(tmp_path / "squares"))
    assert data.name == "squares"
    assert data.x_train.shape == (16, 6, 5, 1)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert np.where(x[:, 0, 0, 0] < 20, "left", "right").tolist() == y.tolist()
    assert data.y_test.tolist().count("left") == 2
    np.testing.assert_array_equal(load(tmp_path / "squares").x_test, data.x_test)


def test_grey_colour_and_palette_together_become_colour(tmp_path):
    red = np.zeros((6, 5, 3), "uint8")
    red[..., 0] = 200
    _folder(tmp_path)
    _write(tmp_path / "left" / "colour.png", red)
    Image.fromarray(red).quantize(4).save(tmp_path / "left" / "palette.png")
    _write(tmp_path / "left" / "bits.png", np.full((6, 5), 255, "uint8"), "1")
    data = load(tmp_path)
    everything = np.concatenate([data.x_train, data.x_test])
    assert everything.shape == (23, 6, 5, 3)
    colours = [tuple(pixel) for pixel in everything[:, 0, 0]]
    assert colours.count((200, 0, 0)) == 2
    assert (255, 255, 255) in colours
    assert (25, 25, 25) in colours


def test_train_and_test_folders(tmp_path):
    _folder(tmp_path / "train", per_class=4)
    _folder(tmp_path / "test", per_class=3)
    data = load(tmp_path)
    assert (data.x_train.shape, data.x_test.shape) == ((8, 6, 5, 1), (6, 6, 5, 1))
    assert data.x_train[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 20, 21, 22, 23]
    assert data.y_test.tolist() == ["left"] * 3 + ["right"] * 3


def test_train_and_test_folders_that_do_not_fit(tmp_path):
    _folder(tmp_path / "a" / "train")
    _folder(tmp_path / "a" / "test", shape=(6, 5, 3))
    data = load(tmp_path / "a")  # grey beside colour is colour
    assert data.x_train.shape[1:] == data.x_test.shape[1:] == (6, 5, 3)
    _folder(tmp_path / "b" / "train")
    _folder(tmp_path / "b" / "test", shape=(6, 6))
    with pytest.raises(InvalidArgument, match="image_size"):
        load(tmp_path / "b")
    assert load(tmp_path / "b", image_size=(4, 3)).x_test.shape == (20, 4, 3, 1)
    _folder(tmp_path / "c" / "train")
    _folder(tmp_path / "c" / "test", classes=("left", "up"))
    with pytest.raises(InvalidArgument, match=r"y_test among \['left', 'right'\], got \['up'\]"):
        load(tmp_path / "c")


def test_pictures_of_different_sizes(tmp_path):
    _folder(tmp_path)
    _write(tmp_path / "left" / "large.png", np.full((12, 10), 7, "uint8"))
    with pytest.raises(InvalidArgument, match=r"2 sizes from \(6, 5\) to \(12, 10\) .*image_size=\(height, width\)"):
        load(tmp_path)
    data = load(tmp_path, image_size=(3, 4))
    assert data.x_train.shape[1:] == (3, 4, 1)
    assert 7 in np.concatenate([data.x_train, data.x_test])[:, 0, 0, 0]  # a flat picture stays what it is


@pytest.mark.parametrize("cut", [0, 20, -30])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_corrupt_picture_is_named(tmp_path, cut, suffix):
    _folder(tmp_path)
    file = tmp_path / "right" / f"broken.{suffix}"
    _write(file, np.random.default_rng(0).integers(0, 255, (6, 5)).astype("uint8"))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InvalidArgument, match=rf"broken\.{suffix} cannot be read as a picture"):
        load(tmp_path)


def test_all_corrupt_pictures_are_told_at_once(tmp_path):
    _folder(tmp_path)
    for number in range(7):
        (tmp_path / "right" / f"broken{number}.png").write_bytes(b"no picture")
    with pytest.raises(
        InvalidArgument, match=r"broken0\.png .*; .*broken4\.png .*; and 2 more\. Remove .* these 7 files\."
    ) as told:
        load(tmp_path)
    assert "broken5" not in str(told.value)


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])  # grey, RGB, both with alpha
def test_sixteen_bits_are_not_cut_to_eight(tmp_path, kind, channels):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    _folder(tmp_path)
    rows = (b"\0" + bytes(5 * channels * 2)) * 6
    parts = {b"IHDR": struct.pack(">IIBBBBB", 5, 6, 16, kind, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())
    (tmp_path / "left" / "deep.png").write_bytes(content)
    with pytest.raises(InvalidArgument, match=r"deep\.png .* more than 8 bits per channel"):
        load(tmp_path)


def test_hidden_files_and_other_files_are_no_pictures(tmp_path):
    _folder(tmp_path)
    for name in ("left/._00.png", ".cache/a.png", ".cache/b.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"no picture")
    (tmp_path / "left" / "notes.txt").write_text("no picture")
    (tmp_path / "readme.png").write_bytes(b"no picture")
    assert len(load(tmp_path).x_train) == 16


def test_a_single_class(tmp_path):
    _folder(tmp_path, classes=("left",))
    with pytest.raises(InvalidArgument, match=r"at least two sub-folders of pictures .* got 10 pictures in 1 of them"):
        load(tmp_path)
    (tmp_path / "right").mkdir()
    with pytest.raises(InvalidArgument, match="got 10 pictures in 1"):
        load(tmp_path)


def test_a_class_without_a_picture_that_can_be_read_is_named(tmp_path):
    _folder(tmp_path)
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "a.tif").write_bytes(b"no suffix of ours")
    with pytest.raises(InvalidArgument, match=r"got none in bird\. Convert them"):
        load(tmp_path)
