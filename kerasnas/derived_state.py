"""What layers compute with that they derived from their weights, and that setting the weights alone leaves as it was."""

from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["check_derived", "derive"]


def derive(layer: Any) -> None:
    """Let a layer derive anew what it computes with from its weights."""
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def check_derived(model: keras.Model) -> None:
    """Raise InvalidArgument unless each Normalization of a model, nested or wrapped, computes with the weights that it holds.

    Otherwise the model is not the one that it would be after saving and loading it.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and _is_stale(layer):
            raise InvalidArgument(
                f"Expected the Normalization {layer.name!r} to compute with the mean and variance in its weights, but it "
                "computes with others: set_weights does not hand them on. Call layer.finalize_state() of that layer, or copy "
                "weights by model.save_weights('w.weights.h5') and load_weights."
            )


def _is_stale(layer: keras.layers.Normalization) -> bool:
    if layer.input_mean is not None or not layer.built:  # given as arguments there are no weights of them
        return False
    for used, weight in ((layer.mean, layer.adapt_mean), (layer.variance, layer.adapt_variance)):
        # In the precision of what is used: a layer that computes in half precision rounds its weights.
        expected = keras.ops.cast(keras.ops.reshape(weight, used.shape), used.dtype)
        came, expected = keras.ops.convert_to_numpy(used), keras.ops.convert_to_numpy(expected)
        if not np.array_equal(came.astype("float64"), expected.astype("float64"), equal_nan=True):
            return True
    return False
