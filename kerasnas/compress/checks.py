"""What fine-tuning is checked for before it begins, and after it."""

import math
import numbers
from typing import Any

import keras
import numpy as np

from kerasnas.derived_state import check_derived
from kerasnas.errors import InvalidArgument, KerasNASError

__all__ = ["check_converged", "check_model", "check_parity", "check_settings"]

_PARITY = 1e-5  # absolute, relative to the largest output if that is above 1


def check_parity(model: keras.Model, twin: Any, inputs: Any) -> None:
    """Raise KerasNASError unless `twin` computes at inference what `model` does."""
    expected = np.asarray(model(inputs, training=False), dtype="float32")
    got = np.asarray(twin(inputs, training=False), dtype="float32")
    difference = float(np.abs(got - expected).max())
    if not difference <= _PARITY * max(1.0, float(np.abs(expected).max())):
        raise KerasNASError(
            f"Expected a copy that computes what '{model.name}' computes, it differs by {difference:.2g} on the first "
            "rows. A layer holds state that neither its config nor its weights do: add it to get_config()."
        )


def check_settings(epochs: int, batch_size: int, learning_rate: float) -> None:
    """Raise InvalidArgument unless Keras runs on TensorFlow and the settings are in their ranges."""
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected the TensorFlow backend, got '{keras.backend.backend()}': tfmot runs only there. Save the "
            "model with model.save('model.keras') and compress it in a process started with KERAS_BACKEND=tensorflow."
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InvalidArgument(f"Expected {name} to be an integer of at least 1, got {value!r}.")
    if not isinstance(learning_rate, numbers.Real) or not 0 < learning_rate < math.inf:
        raise InvalidArgument(f"Expected learning_rate > 0, got {learning_rate!r}. Adam's usual value is 1e-3.")


def check_model(model: Any) -> None:
    """Raise InvalidArgument unless it is a built model of one input and one output that computes with its weights."""
    if not isinstance(model, keras.Model):
        hint = " Load it with keras 3 (keras.saving.load_model)." if "keras" in type(model).__module__ else ""
        raise InvalidArgument(f"Expected a keras.Model of Keras 3, got {type(model).__module__}.{type(model).__name__}.{hint}")
    if not model.built:
        raise InvalidArgument(f"Expected a built model, '{model.name}' has no weights yet. Give it a keras.Input, or train it.")
    if not hasattr(model, "outputs"):
        raise InvalidArgument(f"Expected a Sequential or Functional model, got the subclassed {type(model).__name__}.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidArgument(
            f"Expected one input and one output, '{model.name}' has {len(model.inputs)} and {len(model.outputs)}."
        )
    check_derived(model)


def check_converged(model: Any, learning_rate: float) -> None:
    """Raise KerasNASError unless every weight of a model that was trained, in Keras or tf_keras, is a finite number."""
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise KerasNASError(f"Training diverged at learning_rate={learning_rate}: some weights are NaN. Lower learning_rate.")
