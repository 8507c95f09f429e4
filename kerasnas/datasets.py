"""Labelled pictures by name, from a folder of pictures or from an .npz file."""

import gzip
import os
import re
import zipfile
import zlib
from collections.abc import Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from kerasnas.errors import InvalidArgument
from kerasnas.image_data import check_lengths, encode_labels, to_codes, to_images

__all__ = ["NAMES", "Dataset", "load", "places_of_some"]

NAMES = ("cifar10", "digits", "fashion_mnist")
_FOLDER = "KERASNAS_DATASETS"
_DEBIAN = Path("/usr/share/datasets")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_TOLD = 5  # files that cannot be read
_FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures, split for training and for the final test.

    Attributes:
        name: what it was loaded as.
        x_train: raw pixels, shape (samples, height, width, channels).
        y_train: labels, shape (samples,).
        x_test: as x_train; never seen by a search.
        y_test: as y_train.
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]

    def take(self, limit: int, *, seed: int = 0) -> "Dataset":
        """Return the dataset with at most `limit` training pictures, stratified; the test pictures stay.

        Raises:
            InvalidArgument: if `limit` is smaller than the number of classes, or a class has a single picture.
        """
        _, codes = encode_labels(self.y_train)
        counts = np.unique(codes, return_counts=True)[1]
        classes = len(counts)
        if limit < classes:
            raise InvalidArgument(f"Expected a limit of at least one picture for each of {classes} classes, got {limit}.")
        if limit >= len(self.x_train):
            return self
        if counts.min() < 2:
            raise InvalidArgument(
                f"Expected at least 2 pictures of each class in {self.name} to choose from, got 1 of the rarest."
            )
        size = min(limit, len(codes) - classes)  # scikit-learn wants one of each class on the other side, too
        index, _ = train_test_split(np.arange(len(codes)), train_size=size, random_state=seed, stratify=codes)
        return replace(self, x_train=self.x_train[index], y_train=self.y_train[index])


def places_of_some(pictures: Sized, number: int) -> NDArray[np.intp]:
    """Return the places of `number` pictures, in order, always the same: drawn, as those of a folder come class by class."""
    return np.sort(np.random.default_rng(0).permutation(len(pictures))[:number])


def load(source: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None) -> Dataset:
    """Load a dataset by name or from disk.

    Args:
        source: "digits" (scikit-learn, 1,797 pictures of 8x8), "fashion_mnist" or "cifar10"; a folder with one sub-folder of
            pictures for each class, or with `train` and `test` folders of such; or an .npz file with x and y, or with x_train,
            y_train, x_test and y_test. Where there is no test part, a fifth is held out, stratified and always the same.
            fashion_mnist and cifar10 are looked for in the folder named by the environment variable KERASNAS_DATASETS, then in
            Debian's package dataset-fashion-mnist, then through keras.datasets, which downloads them.
        image_size: (height, width) to which pictures of a folder are resized; needed where they differ. They are put
            upright first, as their EXIF data say, and what is transparent in them becomes black.
    Raises:
        InvalidArgument: for an unknown name, or files that cannot be read as labelled pictures.
    """
    if source == "digits":
        return _digits()
    if source == "fashion_mnist":
        return _fashion_mnist()
    if source == "cifar10":
        return _cifar10()
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, image_size)
    if path.suffix == ".npz" and path.is_file():
        return _from_npz(path)
    what = "which is none of them" if path.exists() else "but there is no such file or folder"
    raise InvalidArgument(
        f"Expected a dataset of {', '.join(NAMES)}, a folder with one sub-folder of pictures per class, or an .npz file; "
        f"got {str(source)!r}, {what}."
    )


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _hold_out("digits", digits.images[..., np.newaxis].astype("float32"), digits.target)


def _fashion_mnist() -> Dataset:
    for folder in _folders("fashion-mnist", "fashion_mnist"):
        parts = [folder / f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
        if all(part.is_file() for part in parts):
            x_train, y_train, x_test, y_test = (_read_idx(part) for part in parts)
            break
    else:
        x_train, y_train, x_test, y_test = _from_keras("fashion_mnist", "fashion-mnist/train-images-idx3-ubyte.gz, ...")
    names = np.asarray(_FASHION)
    return Dataset("fashion_mnist", x_train[..., np.newaxis], names[y_train], x_test[..., np.newaxis], names[y_test])


def _cifar10() -> Dataset:
    for folder in _folders("cifar-10-batches-bin"):
        files = [folder / f"{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
        if all(file.is_file() for file in files):
            # A record is one byte of label and 3 x 32 x 32 bytes, channels first.
            records = [_read_cifar(file) for file in files]
            train, test = np.concatenate(records[:-1]), records[-1]
            x_train, x_test = (np.moveaxis(r[:, 1:].reshape(-1, 3, 32, 32), 1, -1) for r in (train, test))
            y_train, y_test = train[:, 0], test[:, 0]
            break
    else:
        x_train, y_train, x_test, y_test = _from_keras("cifar10", "cifar-10-batches-bin/data_batch_1.bin, ...")
    names = np.asarray(_CIFAR)
    return Dataset("cifar10", x_train, names[y_train.ravel()], x_test, names[y_test.ravel()])


def _folders(*names: str) -> list[Path]:
    roots = [Path(os.environ[_FOLDER])] if os.environ.get(_FOLDER) else []
    return [root / name for root in [*roots, _DEBIAN] for name in names]


def _from_keras(name: str, files: str) -> list[NDArray[Any]]:
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # keras raises bare Exception when a download fails
        raise InvalidArgument(
            f"{name} is not on this machine and could not be downloaded ({error}). Set {_FOLDER} to a folder that holds {files}"
            + (", or install Debian's package dataset-fashion-mnist." if name == "fashion_mnist" else ".")
        ) from error
    return [x_train, y_train, x_test, y_test]


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file: two zero bytes, type 8 (unsigned byte), number of axes, their lengths, the values."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise InvalidArgument(f"{path} is not a whole gzip file: {error}. Download it again.") from error
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise InvalidArgument(f"Expected an IDX file of bytes, got other content in {path}.")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4).astype(int)
    values = np.frombuffer(content, "uint8", offset=4 + 4 * axes)
    if len(values) != shape.prod():
        raise InvalidArgument(f"Expected {shape.prod()} bytes in {path}, got {len(values)}. Download it again.")
    return values.reshape(shape)


def _read_cifar(path: Path) -> NDArray[np.uint8]:
    content = np.frombuffer(path.read_bytes(), "uint8")
    if len(content) == 0 or len(content) % 3073:
        raise InvalidArgument(f"Expected records of 3073 bytes in {path}, got {len(content)} bytes. Download it again.")
    return content.reshape(-1, 3073)


def _from_npz(path: Path) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise InvalidArgument(f"{path} cannot be read as plain arrays: it is no .npz file, as numpy.savez writes it.")
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:  # objects would have to be unpickled
        why = "it holds Python objects; save numbers and strings" if "pickle" in str(error) else error
        raise InvalidArgument(f"{path} cannot be read as plain arrays: {why}") from error
    if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
        return _in_parts(path.stem, *(arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")))
    if {"x", "y"} <= set(arrays):
        return _hold_out(path.stem, to_images(arrays["x"]), arrays["y"])
    raise InvalidArgument(f"Expected arrays x and y, or x_train, y_train, x_test and y_test, in {path}; got {sorted(arrays)}.")


def _from_folder(path: Path, image_size: tuple[int, int] | None) -> Dataset:
    parts = {folder.name: folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    if set(parts) == {"train", "test"}:
        return _in_parts(path.name, *_read_classes(parts["train"], image_size), *_read_classes(parts["test"], image_size))
    return _hold_out(path.name, *_read_classes(path, image_size))


def _read_classes(path: Path, image_size: tuple[int, int] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    files = sorted(
        file
        for file in path.glob("*/*")
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and not file.parent.name.startswith(".")
    )
    labels = np.asarray([file.parent.name for file in files])
    if len(np.unique(labels)) < 2:
        raise InvalidArgument(
            f"Expected at least two sub-folders of pictures ({', '.join(sorted(_SUFFIXES))}) in {path}, "
            f"got {len(files)} pictures in {len(np.unique(labels))} of them."
        )
    classes = {one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")}
    if empty := sorted(classes - set(labels.tolist())):
        raise InvalidArgument(
            f"Expected pictures ({', '.join(sorted(_SUFFIXES))}) in each class folder of {path}, got none in {', '.join(empty)}"
            ". Convert them, put them directly into the folder, or take the folder away."
        )
    pictures, broken = [], []
    for file in files:
        try:
            with Image.open(file) as opened:
                # Colour of 16 bits has the mode of 8, to which Pillow cuts it; the tiles tell what is in the file.
                deep = any(_is_deep(*tile[::3]) for tile in getattr(opened, "tile", ()))
                if deep or opened.mode.startswith(("I", "F")):
                    raise ValueError(f"it has more than 8 bits per channel (Pillow mode {opened.mode})")
                # As export/runner/classify.py reads them: a network must see on a device what it saw in training.
                picture = ImageOps.exif_transpose(opened)
                if picture.has_transparency_data:
                    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
                mode = picture.mode if picture.mode in ("L", "RGB") else "L" if picture.mode == "1" else "RGB"
                picture = picture.convert(mode)
                if image_size is not None:
                    across = picture.resize((image_size[1], picture.height), Image.Resampling.BILINEAR)
                    picture = across.resize((image_size[1], image_size[0]), Image.Resampling.BILINEAR)
                pictures.append(np.asarray(picture))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            broken.append(f"{file} cannot be read as a picture: {error}")
    if broken:
        more = f"; and {len(broken) - _TOLD} more" if len(broken) > _TOLD else ""
        them = "it" if len(broken) == 1 else f"these {len(broken)} files"
        raise InvalidArgument(f"{'; '.join(broken[:_TOLD])}{more}. Remove or replace {them}.")
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        raise InvalidArgument(
            f"Expected pictures of one size in {path}, got {len(sizes)} sizes from {sizes[0]} to {sizes[-1]} (height, width). "
            "Pass image_size=(height, width), or --image-size HEIGHT WIDTH on the command line."
        )
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [np.stack([p] * 3, axis=-1) if p.ndim == 2 else p for p in pictures]
    images = np.stack(pictures)
    return images[..., np.newaxis] if images.ndim == 3 else images, labels


def _is_deep(codec: str, details: Any) -> bool:
    """Tell whether Pillow's decoder reads more than 8 bits per channel."""
    parts = details if isinstance(details, tuple) else (details,)
    most = max([part for part in parts if isinstance(part, int)], default=0) if codec.startswith("ppm") else 0
    return most > 255 or any(re.search(";16[BLNS]", str(part)) for part in parts)


def _hold_out(name: str, x: NDArray[Any], y: NDArray[Any]) -> Dataset:
    """Hold out a fifth of each class; the same fifth in every process, so that each command tests on it."""
    _, codes = encode_labels(y)
    check_lengths(x, codes)
    counts = np.unique(codes, return_counts=True)[1]
    if counts.min() < 2 or len(x) < 5 * len(counts):
        raise InvalidArgument(
            f"Expected at least 2 pictures of each class and 5 times as many pictures as classes in {name}, so that a fifth "
            f"can be held out; got {len(x)} pictures, {counts.min()} of the rarest class. Give a test part of your own."
        )
    train, test = train_test_split(np.arange(len(x)), test_size=0.2, random_state=0, stratify=codes)
    return Dataset(name, x[train], y[train], x[test], y[test])


def _in_parts(name: str, x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> Dataset:
    """Check that the test part can be tested on, before hours of search."""
    train, test = to_images(x_train, name="x_train"), to_images(x_test, name="x_test")
    if {train.shape[-1], test.shape[-1]} == {1, 3}:  # grey pictures in one part only
        train, test = (np.repeat(part, 3, axis=-1) if part.shape[-1] == 1 else part for part in (train, test))
    if train.shape[1:] != test.shape[1:]:
        raise InvalidArgument(
            f"Expected pictures of one shape in {name}, got {train.shape[1:]} to train and {test.shape[1:]} to test on. "
            "For a folder, pass image_size=(height, width), or --image-size HEIGHT WIDTH on the command line."
        )
    classes, codes = encode_labels(y_train)
    check_lengths(train, codes)
    check_lengths(test, to_codes(y_test, classes, name="y_test"))
    return Dataset(name, train, y_train, test, y_test)
