"""What can be said of the data and settings of a search before any trial is trained."""

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.objectives import direction_of

__all__ = [
    "COSTS",
    "check_data",
    "check_direction",
    "check_input_shape",
    "check_metrics",
    "check_objective",
    "check_validation_freq",
    "epochs_of",
]

# The metrics that the engine itself knows of every network.
COSTS = ("parameters", "macs", "activation_bytes", "latency_ms")


def check_data(fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the shape of one sample of x; None for what is no array.

    Raises:
        InvalidArgument: for empty arrays, lengths that differ, NaN or infinity, callbacks that are none, or epochs without
            validation.
    """
    check_validation_freq(fit_kwargs.get("validation_freq", 1))
    for callback in keras.tree.flatten(fit_kwargs.get("callbacks") or []):  # as Keras takes them: lists in lists, too
        if not isinstance(callback, keras.callbacks.Callback):
            raise InvalidArgument(f"Expected `callbacks` to be a list of keras.callbacks.Callback, got {callback!r} in it.")
    x = fit_kwargs.get("x", fit_args[0] if fit_args else None)
    y = fit_kwargs.get("y", fit_args[1] if len(fit_args) > 1 else None)
    validation = fit_kwargs.get("validation_data")
    pairs = [("x", x, y)]
    if isinstance(validation, tuple | list) and len(validation) >= 2:
        pairs.append(("validation_data", validation[0], validation[1]))
    shape = None
    for name, inputs, targets in pairs:
        if _holds_nan(inputs):
            if isinstance(inputs, np.ndarray):
                raise InvalidArgument(f"Expected finite numbers in {name}, got NaN or infinity. Clean or fill them first.")
            warnings.warn(f"One of {name} holds NaN or infinity: unless a layer fills them, all will be NaN.", stacklevel=3)
        if _holds_nan(targets):
            warnings.warn(
                f"The labels of {name} hold NaN or infinity: unless the loss passes over them, it will be NaN.", stacklevel=3
            )
        if not isinstance(inputs, np.ndarray):
            continue
        if len(inputs) == 0:
            raise InvalidArgument(f"Expected {name} to hold samples, got shape {inputs.shape}.")
        for labels in _outputs(targets):
            if hasattr(labels, "__len__") and len(labels) != len(inputs):
                raise InvalidArgument(f"Expected a label for each sample of {name}, got {len(inputs)} and {len(labels)}.")
        if name == "x":
            shape = inputs.shape[1:]
    return shape


def _holds_nan(values: Any) -> bool:
    """Tell whether an array, or one of those in a dict, list or tuple, holds NaN or infinity."""
    if isinstance(values, dict):
        return any(map(_holds_nan, values.values()))
    if isinstance(values, list | tuple):
        return any(_holds_nan(part) for part in values if isinstance(part, np.ndarray | dict | list | tuple))
    return isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all()


def check_validation_freq(given: Any) -> None:
    """Raise InvalidArgument if epochs would pass without validation: which epoch is the best could not be told."""
    if given != 1:
        raise InvalidArgument(
            f"Expected validation after each epoch, got validation_freq={given!r}: trials are compared epoch by epoch. Leave "
            "it out; where validation takes long, pass fewer samples as validation_data."
        )


def _outputs(targets: Any) -> list[Any]:
    """Return the labels of each output, where there are several."""
    if isinstance(targets, Mapping):
        return list(targets.values())
    several = isinstance(targets, list | tuple) and all(isinstance(labels, np.ndarray) for labels in targets)
    return list(targets) if several else [targets]


def epochs_of(fit_args: tuple[Any, ...], fit_kwargs: Mapping[str, Any]) -> int:
    """Return the epochs that `keras.Model.fit` would train for with these arguments: the fourth, or by name; 1 by default.

    What else stands there is for a `fit` of one's own.
    """
    given = fit_kwargs.get("epochs", fit_args[3] if len(fit_args) > 3 else 1)
    return int(given) if isinstance(given, int | np.integer) and not isinstance(given, bool) else 1


def check_input_shape(model: Any, sample: tuple[int, ...] | None) -> None:
    """Raise InvalidArgument if a model of one input does not take samples of that shape."""
    shape = model.input_shape if model.built and len(model.inputs or ()) == 1 else None
    if not isinstance(shape, tuple) or sample is None:
        return
    wanted, came = shape[1:], sample
    if abs(len(wanted) - len(came)) == 1:  # Keras adds a last axis of length 1, or takes it away
        longer = max(wanted, came, key=len)
        wanted, came = (part[:-1] if part is longer and part[-1] == 1 else part for part in (wanted, came))
    if len(wanted) != len(came) or any(a not in (None, b) for a, b in zip(wanted, came, strict=True)):
        raise InvalidArgument(f"The model takes inputs of shape {shape[1:]}, but x has samples of {sample}.")


def check_objective(hypermodel: kt.HyperModel, objective: Any, fit_kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if Keras' own `fit` will not measure the objective, for want of validation data."""
    scored = fit_kwargs.get("validation_data") is not None or fit_kwargs.get("validation_split")
    if type(hypermodel).fit is kt.HyperModel.fit and objective.name.startswith("val_") and not scored:
        raise InvalidArgument(
            f"The objective {objective.name!r} needs validation data, got none. "
            "Pass validation_data=(x, y) or validation_split to search(), or choose an objective without 'val_'."
        )


def check_direction(objective: Any) -> None:
    """Warn of a metric to be minimised that is larger for better networks: KerasTuner minimises what it does not know."""
    for part in getattr(objective, "objectives", [objective]):
        if part.direction == "min" and direction_of(part.name) == "max":
            warnings.warn(
                f"The search minimises {part.name!r}, which is larger for better networks: pass the oracle "
                f'objective=keras_tuner.Objective("{part.name}", "max").',
                stacklevel=3,
            )


def check_metrics(hypermodel: kt.HyperModel, objective: Any) -> None:
    """Raise InvalidArgument if a HyperModel that names its `metrics` will not measure the objective on validation data.

    An attribute `metrics` that does not hold names alone is taken for something else.
    """
    metrics = getattr(hypermodel, "metrics", None)
    if not isinstance(metrics, list | tuple) or not all(isinstance(name, str) for name in metrics):
        return
    parts = [getattr(part, "metric", part.name) for part in getattr(objective, "objectives", [objective])]
    known = [*(f"val_{name}" for name in metrics), "val_loss", *COSTS]
    for name in parts:
        if name in (*metrics, "loss"):
            raise InvalidArgument(
                f"Expected an objective measured on validation data, got {name!r}, by which whatever overfits would win. "
                f"Choose 'val_{name}'."
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InvalidArgument(f"Expected an objective of {', '.join(known)}, got {name!r}. Did you mean {near!r}?")
