"""Pictures and labels as users have them, checked and turned into arrays."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from kerasnas.errors import InvalidArgument

__all__ = [
    "channel_statistics",
    "check_lengths",
    "class_weights",
    "collect",
    "encode_labels",
    "pixel_range",
    "split",
    "to_codes",
    "to_images",
]

_FEW_BITS = 16  # the brightest of scikit-learn's digits


def collect(x: Any, y: Any = None) -> tuple[Any, Any]:
    """Return (x, y) with datasets read into arrays.

    Args:
        x: an array, or a finite `tf.data.Dataset` or Keras `PyDataset` of (pictures, labels), batched or not.
        y: labels if `x` is an array; None otherwise.
    Raises:
        InvalidArgument: for a dataset that is infinite, empty or has no labels, or for labels given twice.
    """
    if hasattr(x, "element_spec"):
        batches = _tf_batches(x)
    elif hasattr(x, "__getitem__") and hasattr(x, "num_batches"):
        if not x.num_batches:
            raise InvalidArgument("Expected a PyDataset of known length, got one whose num_batches is None or 0.")
        batches = [x[i] for i in range(x.num_batches)]
    elif isinstance(x, Iterator):
        raise InvalidArgument(
            f"Expected arrays, or a dataset that can be read again and has a length, got a {type(x).__name__}. Collect it into "
            "arrays, or pass tf.data.Dataset.from_generator(...) or a keras.utils.PyDataset."
        )
    else:
        return x, y
    if y is not None:
        raise InvalidArgument(f"A {type(x).__name__} brings its own labels; got `y` as well. Pass the dataset alone.")
    if not batches:
        raise InvalidArgument(f"Expected samples in the {type(x).__name__}, got none.")
    if not isinstance(batches[0], tuple | list) or len(batches[0]) < 2:
        raise InvalidArgument(f"Expected the {type(x).__name__} to give (pictures, labels), got {type(batches[0]).__name__}.")
    if len(batches[0]) > 2:
        raise InvalidArgument(
            f"Expected the {type(x).__name__} to give (pictures, labels), got {len(batches[0])} parts. Weights of samples are "
            "taken by NASTuner; here class_weight='balanced' weighs classes."
        )
    try:
        pictures, labels = (np.concatenate([np.asarray(batch[i]) for batch in batches]) for i in (0, 1))
    except ValueError as error:
        raise InvalidArgument(f"Expected the {type(x).__name__} to hold pictures of one size: {error}.") from error
    return pictures, labels


def _tf_batches(dataset: Any) -> list[Any]:
    if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise InvalidArgument("Expected a finite tf.data.Dataset, got an infinite one. Remove .repeat() or add .take(n).")
    elements = list(dataset.as_numpy_iterator())
    if elements and isinstance(elements[0], tuple | list) and len(elements[0]) >= 2:
        if _is_single(*(np.shape(part) for part in elements[0][:2])):
            return [tuple(np.asarray(part)[np.newaxis] for part in element) for element in elements]
    return elements


def _is_single(image: tuple[int, ...], label: tuple[int, ...]) -> bool:
    """Tell one (picture, label) from a batch of them; only (a, b, c) with (d,) can be either."""
    if len(label) == 0 or len(image) < 3:
        return True
    return len(image) == 3 and len(label) == 1 and (image[0] != label[0] or image[2] in (1, 3, 4))


def to_images(x: Any, *, name: str = "x") -> NDArray[Any]:
    """Return pictures as an array of shape (samples, height, width, channels), integers kept as they are.

    Raises:
        InvalidArgument: for anything that is not a non-empty batch of finite, channels-last pictures.
    """
    try:
        images = np.asarray(x)
    except ValueError as error:
        raise InvalidArgument(f"Expected {name} to hold pictures of one size: {error}. Resize them first.") from error
    if images.dtype == bool:
        images = images.astype("uint8")
    if not (np.issubdtype(images.dtype, np.integer) or np.issubdtype(images.dtype, np.floating)):
        raise InvalidArgument(f"Expected {name} to hold numbers, got {images.dtype}. Pictures must all have one size.")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4:
        raise InvalidArgument(
            f"Expected {name} of shape (samples, height, width) or (samples, height, width, channels), got {images.shape}."
        )
    if 0 in images.shape:
        raise InvalidArgument(f"Expected {name} to hold pictures, got shape {images.shape}.")
    if images.shape[1] in (1, 3, 4) and images.shape[3] > 4 and images.shape[2] > 4:
        raise InvalidArgument(
            f"Expected the channels of {name} last, but shape {images.shape} looks like channels first. "
            f"Use np.moveaxis({name}, 1, -1)."
        )
    if np.issubdtype(images.dtype, np.floating):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            images = images.astype("float32", copy=False)
        if not np.isfinite(images).all():
            raise InvalidArgument(f"Expected finite numbers in {name}, got NaN or infinity. Clean or fill them first.")
    return images


def pixel_range(*images: NDArray[Any]) -> tuple[float, float]:
    """Return which pixel values stand for black and white in pictures of one kind.

    0 and 255 for bytes, however dark the pictures are, unless they hold nothing above 16 and so are not of 8 bits; else the
    lowest and the highest value that there is.
    """
    low, high = float(min(part.min() for part in images)), float(max(part.max() for part in images))
    return (0.0, 255.0) if high > _FEW_BITS and all(part.dtype == np.uint8 for part in images) else (low, high)


def encode_labels(y: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, sorted, and the index of each label among them.

    Args:
        y: labels of any kind (strings, integers that skip values, booleans), shape (samples,) or (samples, 1); or one-hot rows,
            shape (samples, classes), whose classes are the column numbers.
    Raises:
        InvalidArgument: for missing labels, a single class, real numbers or rows that are not one-hot.
    """
    labels = _flat(y)
    if labels.ndim == 2:
        counts = labels.sum(axis=0)
        if np.count_nonzero(counts) < 2:
            raise InvalidArgument("Expected labels of at least two classes, got one.")
        return np.arange(labels.shape[1]), labels.argmax(axis=1)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InvalidArgument(f"Expected labels of at least two classes, got only {classes.tolist()}.")
    return classes, codes


def to_codes(y: Any, classes: NDArray[Any], *, name: str = "y") -> NDArray[np.int64]:
    """Return the index of each label among known `classes`.

    Raises:
        InvalidArgument: for a label that is not among them.
    """
    labels = _flat(y)
    if labels.ndim == 2:
        if labels.shape[1] != len(classes):
            raise InvalidArgument(f"Expected one-hot rows of {len(classes)} columns in {name}, got {labels.shape[1]}.")
        return labels.argmax(axis=1)
    unknown = sorted(set(labels.tolist()) - set(classes.tolist()), key=str)
    if unknown:
        raise InvalidArgument(f"Expected labels of {name} among {classes.tolist()}, got {unknown[:5]} as well.")
    return np.searchsorted(classes, labels).astype(np.int64)


def class_weights(weights: Any, classes: NDArray[Any], codes: NDArray[np.int64]) -> dict[int, float] | None:
    """Return the weight of each class by its index, as Keras takes them; None for None.

    Args:
        weights: label to weight, 1 for what it leaves out; "balanced" makes all classes count the same; or None.
        classes: the labels.
        codes: the index of the label of each sample.
    Raises:
        InvalidArgument: for an unknown label, or a weight that is not a finite number >= 0.
    """
    if weights is None:
        return None
    if isinstance(weights, str) and weights == "balanced":
        counts = np.bincount(codes, minlength=len(classes))
        return {i: len(codes) / (len(classes) * int(count)) if count else 1.0 for i, count in enumerate(counts)}
    if not isinstance(weights, Mapping):
        raise InvalidArgument(f"Expected `class_weight` to be a dict of label to weight, 'balanced' or None, got {weights!r}.")
    for weight in weights.values():
        if not isinstance(weight, int | float | np.number) or not 0 <= weight < math.inf:
            raise InvalidArgument(f"Expected weights in `class_weight` that are finite numbers >= 0, got {weight!r}.")
    known: list[int] = to_codes(np.array(list(weights)), classes, name="class_weight").tolist() if weights else []
    given = dict(zip(known, map(float, weights.values()), strict=True))
    return {i: given.get(i, 1.0) for i in range(len(classes))}


def _flat(y: Any) -> NDArray[Any]:
    if y is None:
        raise InvalidArgument("Expected labels, got None. Pass y, or a dataset of (pictures, labels).")
    # A list goes through objects: as numbers and strings together, NumPy would turn a missing label into the class "nan".
    labels = np.asarray(y) if hasattr(y, "dtype") else _objects(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.size == 0 or labels.ndim > 2 or labels.ndim == 0:
        raise InvalidArgument(f"Expected labels of shape (samples,) or one-hot (samples, classes), got {labels.shape}.")
    if labels.dtype.kind not in "biufSU":
        labels = _of_one_kind(labels)
    if labels.dtype.kind == "S":  # the strings of tf.data
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise InvalidArgument("Expected a label for every sample, got NaN or infinity.")
        if (labels != np.round(labels)).any() or np.abs(labels).max() > 2**53:
            raise InvalidArgument("Expected class labels, got real numbers with fractions. Is this regression?")
        labels = labels.astype(np.int64) if labels.ndim == 1 else labels
    if labels.ndim == 2 and labels.dtype.kind == "U":
        raise InvalidArgument(f"Expected labels of shape (samples,), got strings of shape {labels.shape}.")
    if labels.ndim == 2 and not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        raise InvalidArgument("Expected labels of shape (samples,), or one-hot rows with a single 1 in each, got other rows.")
    return labels


def _objects(y: Any) -> NDArray[Any]:
    try:
        return np.asarray(y, dtype=object)
    except ValueError as error:
        raise InvalidArgument(f"Expected one label for each sample: {error}.") from error


def _of_one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Return objects as the strings, bytes, booleans or numbers that they are."""
    flat = labels.ravel().tolist()
    # pandas.NA is equal to nothing, and to compare it gives neither True nor False.
    if any(label is None or type(label).__name__ == "NAType" or label != label for label in flat):
        raise InvalidArgument("Expected a label for every sample, got missing ones.")
    for kind in (str, bytes, bool | int | float | np.bool_ | np.number):
        if all(isinstance(label, kind) for label in flat):
            converted = np.asarray(labels.tolist())
            if converted.dtype.kind in "biufSU":
                return converted
    kinds = sorted({type(label).__name__ for label in flat})
    raise InvalidArgument(f"Expected labels that are all strings or all numbers, got {', '.join(kinds)}.")


def split(x: Any, y: Any, validation_split: float, validation_data: Any, seed: int | None) -> tuple[Any, Any, NDArray[Any]]:
    """Return ((x, codes) to train on, (x, codes) to score on, classes); the arguments are those of `ImageClassifier.fit`.

    Raises:
        InvalidArgument: for data or a split that cannot be used.
    """
    x, y = collect(x, y)
    images = to_images(x)
    classes, codes = encode_labels(y)
    check_lengths(images, codes)
    if validation_data is not None:
        pair = isinstance(validation_data, tuple | list)
        if pair and len(validation_data) != 2:
            raise InvalidArgument(f"Expected `validation_data` to be (x, y) or a dataset, got {len(validation_data)} parts.")
        vx, vy = collect(*validation_data) if pair else collect(validation_data)
        valid = (to_images(vx, name="validation_data"), to_codes(vy, classes, name="validation_data"))
        check_lengths(*valid)
        if valid[0].shape[1:] != images.shape[1:]:
            raise InvalidArgument(f"Expected validation pictures of shape {images.shape[1:]}, got {valid[0].shape[1:]}.")
        return (images, codes), valid, classes
    if not isinstance(validation_split, int | float | np.number) or not 0 < validation_split < 1:
        raise InvalidArgument(
            f"Expected `validation_split` in (0, 1), got {validation_split!r}. Trials need data to be scored on."
        )
    held_out = round(len(images) * validation_split)
    if min(held_out, len(images) - held_out) < 1:
        raise InvalidArgument(f"Expected enough samples to split off {validation_split:.0%} of them, got {len(images)}.")
    counts = np.bincount(codes, minlength=len(classes))
    stratify = codes if counts[counts > 0].min() >= 2 and held_out >= len(classes) <= len(images) - held_out else None
    a, b = train_test_split(np.arange(len(images)), test_size=held_out, random_state=(seed or 0) % 2**32, stratify=stratify)
    return (images[a], codes[a]), (images[b], codes[b]), classes


def check_lengths(x: Any, y: Any) -> None:
    """Raise InvalidArgument unless there is one label for each picture."""
    if len(x) != len(y):
        raise InvalidArgument(f"Expected one label for each picture, got {len(x)} pictures and {len(y)} labels.")


def channel_statistics(x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel, shape (channels,); 1 for the deviation of a constant channel."""
    # In float64 over slices: a cast of the whole data would take eight times the memory of uint8 pictures.
    slices = [slice(i, i + 1024) for i in range(0, len(x), 1024)]
    pixels = x.size / x.shape[-1]
    mean = sum(x[s].sum(axis=(0, 1, 2), dtype="float64") for s in slices) / pixels
    variance = sum(((x[s] - mean) ** 2).sum(axis=(0, 1, 2)) for s in slices) / pixels
    return mean, np.where(variance > 0, np.sqrt(variance), 1.0)
