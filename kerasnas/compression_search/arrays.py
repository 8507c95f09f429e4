"""Inputs and class indices: checked, and split."""

from typing import Any

import keras
import numpy as np
from sklearn.model_selection import train_test_split

from kerasnas.compress.channels.scratch import class_indices
from kerasnas.compress.training_data import all_samples
from kerasnas.errors import InvalidArgument

__all__ = ["labelled", "split"]


def labelled(model: keras.Model, data: Any) -> tuple[Any, Any]:
    """Return inputs and class indices, checked.

    Raises:
        InvalidArgument: if the data or the model are not those of a classifier with one input and one output.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise InvalidArgument(f"Expected data as (inputs, labels), got {type(data).__name__}. Pass labels beside the inputs.")
    if not isinstance(model, keras.Model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidArgument("Expected a built keras.Model with one input and one output.")
    x, y = all_samples(model, *data)
    return x, class_indices(y, model.output_shape)


def split(model: keras.Model, data: Any, held_out: Any, seed: int) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return inputs and classes to train on, and those to judge by.

    Args:
        model: whose inputs and classes they are.
        data: (inputs, labels).
        held_out: (inputs, labels) to judge by, or the share of `data` that is split off for it, stratified.
        seed: of the split.

    Raises:
        InvalidArgument: as `labelled`, or if there are too few samples.
    """
    x, y = labelled(model, data)
    if not isinstance(held_out, int | float):
        return (x, y), labelled(model, held_out)
    number = round(held_out * len(x))
    if min(number, len(x) - number) < 2:
        raise InvalidArgument(f"Expected enough samples to hold out {held_out:.0%} of them, got {len(x)}.")
    counts = np.bincount(y)
    stratify = y if counts[counts > 0].min() >= 2 and number >= np.count_nonzero(counts) <= len(x) - number else None
    ours, theirs = train_test_split(np.arange(len(x)), test_size=number, random_state=seed % 2**32, stratify=stratify)
    return (x[ours], y[ours]), (x[theirs], y[theirs])
