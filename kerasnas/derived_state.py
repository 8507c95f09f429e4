"""What layers compute with that they derived from their weights, and that setting the weights alone leaves as it was."""

from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["check_derived", "derive"]

_EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def derive(layer: Any) -> None:
    """Let a layer derive anew what it computes with from its weights."""
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def check_derived(model: keras.Model) -> None:
    """Raise InvalidArgument unless each Normalization of a model, nested or wrapped, computes with the weights that it holds.

    Otherwise the model is not the one that it would be after saving and loading it.
    """
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.layers.Normalization):
            continue
        try:
            stale = _is_stale(layer)
        except (NotImplementedError, TypeError) as error:  # TensorFlow's and JAX's, of a value that was only traced
            raise InvalidArgument(
                f"Expected the Normalization {layer.name!r} to hold the mean and variance that it computes with, but they were "
                "made while the layer around it was traced, and Keras cannot predict with them. Call layer.finalize_state() of "
                "that layer, or build it in the `build` of the layer around it."
            ) from error
        if stale:
            raise InvalidArgument(
                f"Expected the Normalization {layer.name!r} to compute with the mean and variance in its weights, but it "
                "computes with others: set_weights does not hand them on. Call layer.finalize_state() of that layer, or copy "
                "weights by model.save_weights('w.weights.h5') and load_weights."
            )


def _is_stale(layer: keras.layers.Normalization) -> bool:
    # Given as arguments, or without a shape to build from, there are no weights of them.
    if layer.input_mean is not None or getattr(layer, "adapt_mean", None) is None:
        return False
    for used, weight in ((layer.mean, layer.adapt_mean), (layer.variance, layer.adapt_variance)):
        came, expected = (keras.ops.convert_to_numpy(each).astype("float64") for each in (used, weight))
        # Rounded in half precision where it computes in it, and by the last bit where weights were averaged.
        eps = _EPSILONS.get(keras.backend.standardize_dtype(used.dtype), 2.0**-23)
        if not np.allclose(came, expected.reshape(came.shape), rtol=16 * eps, atol=1e-30, equal_nan=True):
            return True
    return False
