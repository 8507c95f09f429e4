"""Samples to try a model on: drawn when there are none, checked when there are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = [
    "TensorSpec",
    "draw_samples",
    "check_labels",
    "check_samples",
    "numpy_dtype",
    "shapes_text",
    "shapes_of",
    "with_shapes",
]

# (name, shape with None for a free dimension, NumPy dtype)
TensorSpec = tuple[str, tuple[int | None, ...], str]

_FREE_SIZE = 32


def numpy_dtype(dtype: str) -> np.dtype:
    """Return what an array of this dtype is in NumPy, which holds texts as objects."""
    return np.dtype(object if dtype == "string" else dtype)


def draw_samples(
    specs: Sequence[TensorSpec],
    n_samples: int,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> list[np.ndarray]:
    """Draw one array of random samples for each input.

    Floating-point inputs are uniform in `value_range`, whole-number inputs (tokens, say) uniform over the whole numbers
    in it, both ends included. A free dimension other than the first gets size 32.

    Args:
        specs: name, shape and dtype of each input; the first dimension is the batch.
        n_samples: samples per input, >= 1.
        value_range: lowest and highest value, in the units of the input.
        seed: of the generator; the same seed draws the same samples.
        texts: words to draw from, by input of texts; the digits where there are none.

    Returns:
        Arrays of shape (n_samples, ...), one for each input.
    """
    rng = np.random.default_rng(seed)
    low, high = value_range
    samples = []
    for name, shape, dtype in specs:
        values: np.ndarray
        size = (n_samples, *(_FREE_SIZE if length is None else length for length in shape[1:]))
        if dtype == "string":
            values = rng.choice(np.asarray((texts or {}).get(name) or [str(i) for i in range(10)], dtype=object), size)
        elif dtype == "bool":
            values = rng.integers(0, 2, size)
        elif np.issubdtype(np.dtype(dtype), np.integer):
            lowest = int(np.ceil(low))
            values = rng.integers(lowest, max(lowest, int(np.floor(high))) + 1, size)
        else:
            values = rng.uniform(low, high, size)
        samples.append(values.astype(numpy_dtype(dtype)))
    return samples


def shapes_of(specs: Sequence[TensorSpec], arrays: Sequence[np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return the shape of one sample, by input, of the inputs that leave sizes free, from one array for each input."""
    pairs = zip(specs, arrays, strict=True)
    return {name: array.shape[1:] for (name, shape, _), array in pairs if None in shape[1:]}


def shapes_text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the shapes as they stand behind a number of samples in a sentence; empty where there are none."""
    told = [" x ".join(map(str, shape)) for shape in shapes.values()]
    return f" of {', '.join(told)}" if told else ""


def with_shapes(specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> list[TensorSpec]:
    """Return the specs with the shape of one sample in place of what an input leaves free.

    Args:
        specs: name, shape and dtype of each input.
        shapes: shape of one sample, by input; others stay as they are.

    Raises:
        InvalidArgument: if there is no such input, or it does not take this shape.
    """
    expected = {name: tuple(shape[1:]) for name, shape, _ in specs}
    for name, came in shapes.items():
        free = expected.get(name, ())
        if name not in expected or len(free) != len(came) or any(n not in (None, m) for n, m in zip(free, came, strict=True)):
            raise InvalidArgument(
                f"Expected the shape of one sample for inputs of {expected} (None: any), got {tuple(came)} for {name!r}. "
                "Pass sizes that the file takes, without the batch."
            )
    return [(name, (shape[0], *shapes.get(name, shape[1:])), dtype) for name, shape, dtype in specs]


def check_samples(specs: Sequence[TensorSpec], x: Any) -> list[np.ndarray]:
    """Return `x` as one array for each input, in the order and the dtypes of `specs`.

    Args:
        specs: name, shape and dtype of each input.
        x: an array of shape (samples, ...) for one input; for several a sequence of arrays in the order of the inputs,
            or a mapping from input name to array.

    Returns:
        Arrays of shape (samples, ...), one for each input.

    Raises:
        InvalidArgument: if an input is missing, empty, of another shape, not finite, or not as long as the others.
    """
    names = [name for name, _, _ in specs]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise InvalidArgument(f"Expected samples for the inputs {names}, got {sorted(map(str, x))}. Name each input.")
        arrays = [x[name] for name in names]
    elif len(specs) == 1:
        arrays = [x]
    elif isinstance(x, Sequence) and len(x) == len(specs):
        arrays = list(x)
    else:
        raise InvalidArgument(
            f"Expected one array for each of the inputs {names}, got {type(x).__name__}. "
            "Pass a list in this order, or a dict by name."
        )
    checked = [_check_array(spec, array) for spec, array in zip(specs, arrays, strict=True)]
    lengths = [len(array) for array in checked]
    if len(set(lengths)) > 1:
        raise InvalidArgument(
            f"Expected equally many samples for each input, got {dict(zip(names, lengths, strict=True))}. "
            "Pass arrays of one length."
        )
    return checked


def check_labels(y: Any, length: int, columns: int) -> np.ndarray:
    """Return `y` as the column of each sample's class, shape (length,); of a single column class 0 or 1, also as (length, 1).

    Raises:
        InvalidArgument: if it is not one whole number for each sample, or a class that there is no column for.
    """
    labels = np.asarray(y)
    if columns == 1 and labels.shape == (length, 1):
        labels = labels[:, 0]
    if labels.shape != (length,) or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidArgument(
            f"Expected y as {length} whole numbers, one for each sample, got shape {labels.shape} of {labels.dtype}. "
            "Pass the column of each sample's class."
        )
    classes = max(columns, 2)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InvalidArgument(
            f"Expected y from 0 to {classes - 1}, the columns of the output, got {labels.min()} to {labels.max()}. Pass the "
            "column of each sample's class, counted from 0."
        )
    return labels


def _check_array(spec: TensorSpec, values: Any) -> np.ndarray:
    name, shape, dtype = spec
    array = np.asarray(values)
    expected = ("samples", *("any" if length is None else length for length in shape[1:]))
    fits = array.ndim == len(shape) and all(
        length is None or length == came for length, came in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidArgument(
            f"Expected samples of shape {expected} for input {name!r}, got {array.shape}. "
            "Pass a batch of samples as the model takes them."
        )
    if len(array) == 0:
        raise InvalidArgument(f"Expected at least one sample for input {name!r}, got none. Pass x with samples, or no x.")
    if dtype == "string":
        if not all(isinstance(value, str) for value in array.reshape(-1).tolist()):
            raise InvalidArgument(f"Expected texts for input {name!r}, got dtype {array.dtype}. Pass an array of str.")
        return array.astype(object)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise InvalidArgument(f"Expected numbers for input {name!r}, got dtype {array.dtype}. Convert them to {dtype}.")
    if not np.all(np.isfinite(array)):
        raise InvalidArgument(f"Expected finite samples for input {name!r}, got NaN or infinity. Remove or replace them.")
    return array.astype(dtype)
