"""The loss to fine-tune a classifier with, and labels in the shape that this loss expects."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["choose_objective"]

_PROBABILITIES = ("softmax", "sigmoid")


def _own_loss(model: keras.Model) -> Any:
    """Return the loss a single-output model was compiled with, or None."""
    loss = model.loss if model.compiled else None
    if isinstance(loss, dict):
        loss = next(iter(loss.values()), None)
    elif isinstance(loss, list | tuple):
        loss = loss[0] if loss else None
    return keras.losses.get(loss)


def _from_logits(model: keras.Model) -> bool:
    operation = model.outputs[0]._keras_history.operation
    while isinstance(operation, keras.Model):
        operation = operation.outputs[0]._keras_history.operation
    activation = getattr(operation, "activation", None)
    name = type(operation).__name__ if activation is None else getattr(activation, "__name__", "")
    if name.lower() in _PROBABILITIES:
        return False
    if name == "linear":
        return True
    raise InvalidArgument(
        f"Expected an output that is softmax, sigmoid or linear, got '{operation.name}' ({type(operation).__name__}, "
        f"activation '{name}'). Compile the model with the loss it was trained with."
    )


def _infer_loss(model: keras.Model, labels: np.ndarray) -> keras.losses.Loss:
    classes = model.output_shape[-1]
    single = labels.ndim == 1 or labels.shape[1:] == (1,)
    if len(model.output_shape) == 2 and single and classes == 1 and np.isin(labels, (0, 1)).all():
        return keras.losses.BinaryCrossentropy(from_logits=_from_logits(model))
    if len(model.output_shape) == 2 and single and classes > 1 and np.equal(np.mod(labels, 1), 0).all():
        return keras.losses.SparseCategoricalCrossentropy(from_logits=_from_logits(model))
    if labels.ndim == 2 and labels.shape[1] == classes > 1 and np.allclose(labels.sum(axis=1), 1, atol=1e-3):
        return keras.losses.CategoricalCrossentropy(from_logits=_from_logits(model))
    raise InvalidArgument(
        f"Expected integer classes, one-hot rows, or 0 and 1 for a single unit, got labels of shape {labels.shape} for an "
        f"output of shape {model.output_shape}. Correct them, or compile the model with the loss it was trained with."
    )


def _check_classes(labels: np.ndarray, classes: int) -> None:
    if not np.equal(np.mod(labels, 1), 0).all():
        raise InvalidArgument(f"Expected integer class labels, got values such as {labels.flat[0]}. Pass the class indices.")
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidArgument(
            f"Expected labels in [0, {classes}), since the model has {classes} outputs; got {labels.min()} to "
            f"{labels.max()}. Number the classes from 0, in the order of the model's outputs."
        )


def _check_places(model: keras.Model, labels: np.ndarray, sparse: bool) -> None:
    """Check labels of an output with a class for each of several places, such as the pixels of a U-Net, as Keras takes them."""
    rows, got = model.output_shape[1:], labels.shape[1:]
    wanted, what, other = rows, "one-hot rows", "keras.ops.one_hot makes them of class indices"
    if sparse:
        wanted, what, other = rows[:-1], "class indices", "argmax(axis=-1) makes them of one-hot rows"
        got = got[:-1] if len(got) == len(rows) and got[-1] == 1 else got
    if len(got) != len(wanted) or any(length not in (None, came) for length, came in zip(wanted, got, strict=True)):
        raise InvalidArgument(
            f"Expected {what} of shape (n, {', '.join(map(str, wanted))}) for the loss that '{model.name}' is compiled with, "
            f"got labels of shape {labels.shape}: {other}."
        )


def choose_objective(model: keras.Model, labels: np.ndarray) -> tuple[Any, Callable[[Any], Any]]:
    """Return the loss to train with, and the function that brings labels into its shape.

    The loss is the model's own if it is compiled with one; else it is cross-entropy, inferred from the labels and from
    the last activation. Integer labels become one-hot rows where the loss is categorical, and the other way round.

    Args:
        model: a built model with one output.
        labels: all labels, or a first batch of them.
    Returns:
        The loss, called with (labels, predictions), and the function from labels to labels (NumPy or tensors).
    Raises:
        InvalidArgument: if the labels do not fit the model's output, or no loss can be inferred.
    """
    loss = _own_loss(model) or _infer_loss(model, labels)
    sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy) or loss is keras.losses.get(
        "sparse_categorical_crossentropy"
    )
    categorical = isinstance(loss, keras.losses.CategoricalCrossentropy) or loss is keras.losses.get("categorical_crossentropy")
    binary = isinstance(loss, keras.losses.BinaryCrossentropy) or loss is keras.losses.get("binary_crossentropy")
    if binary and (labels.min() < 0 or labels.max() > 1):
        raise InvalidArgument(f"Expected labels 0 and 1, got {labels.min()} to {labels.max()}. Number the two classes 0 and 1.")
    call = loss if isinstance(loss, keras.losses.Loss) else lambda y, p: keras.ops.mean(loss(y, p))
    if not (sparse or categorical):
        if labels.ndim == 1 and len(model.output_shape) == 2 and model.output_shape[1] == 1:
            return call, lambda y: keras.ops.reshape(y, (-1, 1))  # as Keras' own fit does
        return call, lambda y: y
    if len(model.output_shape) != 2:
        _check_places(model, labels, sparse)
        return call, lambda y: y
    classes = model.output_shape[-1]
    indices = labels.ndim == 1 or labels.shape[1:] == (1,)
    if indices:
        _check_classes(labels, classes)
    elif labels.shape[1:] != (classes,):
        raise InvalidArgument(
            f"Expected labels of shape (n,), (n, 1) or (n, {classes}), got {labels.shape}. Pass class indices or one-hot rows."
        )
    if categorical and indices:
        return call, lambda y: keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y, (-1,)), "int32"), classes)
    if sparse and not indices:
        return call, lambda y: keras.ops.argmax(y, axis=-1)
    return call, lambda y: y
