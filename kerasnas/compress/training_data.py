"""The data that a model is fine-tuned on, checked at the door."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["all_samples", "shuffled", "training_data"]


def training_data(model: keras.Model, x: Any, y: Any, batch_size: int, seed: int | None) -> tuple[Any, np.ndarray, Any]:
    """Return some inputs, some or all labels, and the batches as a tf.data.Dataset.

    Args:
        model: with one input.
        x: shape (n, ...) as the model takes them, or a `tf.data.Dataset` of (inputs, labels) batches.
        y: n labels; None with a dataset.
        batch_size: rows per batch; a dataset has its own.
        seed: of the order; None for another one each time.

    Raises:
        InvalidArgument: if they do not fit the model or each other, are empty or not finite, or the dataset has no end.
    """
    import tensorflow as tf

    if isinstance(x, tf.data.Dataset):
        if y is not None:
            raise InvalidArgument("Expected y=None with a dataset, got labels as well. The dataset gives (inputs, labels).")
        if x.cardinality() < 1:
            raise InvalidArgument(
                "Expected a finite dataset of known length, got one that is empty, infinite or of unknown length. "
                "Tell the number of batches with dataset.apply(tf.data.experimental.assert_cardinality(n))."
            )
        first = next(iter(x))
        if not isinstance(first, tuple) or len(first) != 2:
            raise InvalidArgument("Expected a dataset of (inputs, labels) batches, got elements of another shape.")
        inputs, labels = (np.asarray(part) for part in first)
        _check_arrays(model, inputs, labels)
        return inputs, labels, x
    if y is None:
        raise InvalidArgument("Expected labels y beside the inputs x, got None. Only a tf.data.Dataset brings its own labels.")
    inputs, labels = (_as_array(part, name) for part, name in ((x, "x"), (y, "y")))
    _check_arrays(model, inputs, labels)
    return inputs, labels, shuffled((inputs, labels), batch_size, seed)


def shuffled(parts: Any, batch_size: int, seed: int | None) -> Any:
    """Return a `tf.data.Dataset` of batches, in another order in each pass.

    The orders follow from `seed` alone: those of `tf.data.Dataset.shuffle` also follow from TensorFlow's global seed, which
    whoever calls may have set to anything.

    Args:
        parts: arrays of the same length, or a nest of them.
        batch_size: rows per batch; the last one may be smaller.
        seed: of the orders; None for others each time.
    """
    import tensorflow as tf

    rng = np.random.default_rng(None if seed is None else seed % 2**64)  # as TensorFlow took them, also negative ones
    tensors = tf.nest.map_structure(tf.convert_to_tensor, parts)
    number = len(tf.nest.flatten(parts)[0])

    def orders() -> Iterator[np.ndarray]:
        order = rng.permutation(number)
        for start in range(0, number, batch_size):
            yield order[start : start + batch_size]

    def taken(rows: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), tensors)

    data = tf.data.Dataset.from_generator(orders, output_signature=tf.TensorSpec((None,), tf.int64))
    count = tf.data.experimental.assert_cardinality(-(-number // batch_size))
    return data.apply(count).map(tf.autograph.experimental.do_not_convert(taken)).prefetch(2)


def all_samples(model: keras.Model, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return all inputs and labels as arrays.

    Args:
        model: with one input.
        x: shape (n, ...) as the model takes them.
        y: n labels.

    Raises:
        InvalidArgument: if they do not fit, or `x` is a dataset, of which `training_data` looks at one batch alone.
    """
    import tensorflow as tf

    if isinstance(x, tf.data.Dataset):
        raise InvalidArgument(
            "Expected arrays of inputs and labels here, got a tf.data.Dataset. Collect its batches: "
            "x, y = map(numpy.concatenate, zip(*dataset.as_numpy_iterator()))."
        )
    inputs, labels, _ = training_data(model, x, y, 1, None)
    return inputs, labels


def _as_array(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InvalidArgument(f"Expected numbers in {name}, got dtype {array.dtype}. Encode them first; labels count from 0.")
    return array.astype("float32") if array.dtype.kind == "f" else array.astype("int32") if array.dtype == bool else array


def _check_arrays(model: keras.Model, inputs: np.ndarray, labels: np.ndarray) -> None:
    shape = model.input_shape
    fits = len(inputs.shape) == len(shape) and all(
        want in (None, got) for want, got in zip(shape[1:], inputs.shape[1:], strict=True)
    )
    if not fits:
        raise InvalidArgument(
            f"Expected inputs of shape {shape}, got {inputs.shape}. Reshape x to the model's input; rows come first."
        )
    if labels.ndim == 0 or len(inputs) != len(labels):
        raise InvalidArgument(
            f"Expected one label per input, got {len(inputs)} inputs and labels of shape {labels.shape}. "
            "Check that x and y belong together."
        )
    if len(inputs) == 0:
        raise InvalidArgument("Expected at least one row, got empty data. Pass the training data, or a part of it.")
    for name, array in (("x", inputs), ("y", labels)):
        if not np.isfinite(array).all():
            raise InvalidArgument(f"Expected finite numbers in {name}, got NaN or infinity. Clean or impute them first.")
