"""What is checked before a model is written to a file, of whatever format."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["check_class_names", "check_computation", "check_preprocessing", "check_shares", "is_within"]


def is_within(loss: float, most: float) -> bool:
    """Tell whether a loss is at most so much; NaN is not.

    1 - 198 / 200 is a little more than 0.01 to a computer.
    """
    return loss <= most + 1e-9


def check_computation(model: keras.Model) -> None:
    """Raise InvalidArgument unless Keras runs on TensorFlow and the layers compute in float32 or float64."""
    if keras.config.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected Keras to run on TensorFlow, got {keras.config.backend()!r}. Save the model as a .keras file and "
            "export it in a process started with KERAS_BACKEND=tensorflow."
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16") or getattr(layer, "quantization_mode", None):
            raise InvalidArgument(
                f"Expected layers that compute in float32, but {layer.name!r} has the dtype policy "
                f"{layer.dtype_policy.name!r}. Rebuild the model under float32 and hand the weights over by "
                "model.save_weights('w.weights.h5') and rebuilt.load_weights('w.weights.h5'), since set_weights leaves out "
                "what an adapted Normalization computes with; the exported file can be made smaller then."
            )


def check_class_names(labels: Sequence[object] | None, columns: int | None) -> tuple[str, ...] | None:
    """Return the labels as strings, or raise InvalidArgument unless there is one for each of several columns."""
    if labels is None:
        return None
    if isinstance(labels, str):
        raise InvalidArgument(f"Expected a sequence of labels, got the string {labels!r}. Pass a list of strings.")
    names = tuple(str(label) for label in labels)
    if columns is not None and columns > 1 and len(names) != columns:
        raise InvalidArgument(f"Expected {columns} labels, one per output column, got {len(names)}. Pass them all.")
    return names


def check_preprocessing(preprocessing: str | Mapping[str, Any] | None) -> None:
    """Raise InvalidArgument unless JSON can hold it and its `range`, if any, is a pair of rising numbers."""
    try:
        json.dumps(preprocessing, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"Expected preprocessing that JSON can hold, but {error}. Use plain values.") from error
    if isinstance(preprocessing, Mapping) and "range" in preprocessing:
        came = preprocessing["range"]
        is_pair = isinstance(came, list | tuple) and len(came) == 2 and all(isinstance(v, int | float) for v in came)
        if not (is_pair and all(map(math.isfinite, came)) and came[0] < came[1]):
            raise InvalidArgument(f"Expected range to be [lowest, highest], got {came!r}. Pass e.g. [0, 255].")


def check_shares(**shares: float) -> None:
    """Raise InvalidArgument unless each is a number within [0, 1]; NaN is none."""
    for name, share in shares.items():
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InvalidArgument(f"Expected {name} within [0, 1], got {share!r}. It is a share of the samples.")
