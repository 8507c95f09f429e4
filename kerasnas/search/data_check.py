"""What can be said of the data of a search before any trial is trained."""

from collections.abc import Mapping
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["check_data", "check_input_shape", "check_objective"]


def check_data(fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the shape of one sample of x; None for what is no array.

    Raises:
        InvalidArgument: for empty arrays, lengths that differ, NaN or infinity.
    """
    x = fit_kwargs.get("x", fit_args[0] if fit_args else None)
    y = fit_kwargs.get("y", fit_args[1] if len(fit_args) > 1 else None)
    validation = fit_kwargs.get("validation_data")
    pairs = [("x", x, y)]
    if isinstance(validation, tuple | list) and len(validation) >= 2:
        pairs.append(("validation_data", validation[0], validation[1]))
    shape = None
    for name, inputs, targets in pairs:
        if not isinstance(inputs, np.ndarray):
            continue
        if len(inputs) == 0:
            raise InvalidArgument(f"Expected {name} to hold samples, got shape {inputs.shape}.")
        if targets is not None and hasattr(targets, "__len__") and len(targets) != len(inputs):
            raise InvalidArgument(f"Expected a label for each sample of {name}, got {len(inputs)} and {len(targets)}.")
        if np.issubdtype(inputs.dtype, np.floating) and not np.isfinite(inputs).all():
            raise InvalidArgument(f"Expected finite numbers in {name}, got NaN or infinity. Clean or fill them first.")
        if name == "x":
            shape = inputs.shape[1:]
    return shape


def check_input_shape(model: Any, sample: tuple[int, ...] | None) -> None:
    """Raise InvalidArgument if a model of one input does not take samples of that shape."""
    shape = model.input_shape if model.built and len(model.inputs or ()) == 1 else None
    if not isinstance(shape, tuple) or sample is None:
        return
    if len(shape) != len(sample) + 1 or any(a not in (None, b) for a, b in zip(shape[1:], sample, strict=True)):
        raise InvalidArgument(f"The model takes inputs of shape {shape[1:]}, but x has samples of {sample}.")


def check_objective(hypermodel: kt.HyperModel, objective: Any, fit_kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if Keras' own `fit` will not measure the objective, for want of validation data."""
    scored = fit_kwargs.get("validation_data") is not None or fit_kwargs.get("validation_split")
    if type(hypermodel).fit is kt.HyperModel.fit and objective.name.startswith("val_") and not scored:
        raise InvalidArgument(
            f"The objective {objective.name!r} needs validation data, got none. "
            "Pass validation_data=(x, y) or validation_split to search(), or choose an objective without 'val_'."
        )
