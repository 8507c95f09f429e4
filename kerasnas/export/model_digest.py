"""When two Keras models are one and the same, or a model is what it was: digests."""

import hashlib
import json
import sys
import warnings
from typing import Any

import keras
import numpy as np

__all__ = ["model_sha256", "weights_sha256"]


def weights_sha256(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights; that of a model that was saved and loaded is the same.

    In the order of `model.weights`, each as the line "DTYPE [SHAPE]", such as "float32 [3, 3, 1, 8]", and its numbers in
    row-major order, little-endian.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight.value))
        digest.update(f"{array.dtype.name} {list(array.shape)}\n".encode())
        digest.update((array if sys.byteorder == "little" else array.byteswap()).tobytes())
    return digest.hexdigest()


def model_sha256(model: keras.Model) -> str | None:
    """Return the SHA-256 of all that decides what a Functional or Sequential model computes, and of the names in it.

    That is its configuration, its weights and the vocabularies that its layers hold. None where a layer cannot tell its
    configuration: then nothing can be said of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = keras.saving.serialize_keras_object(model.get_config())
            tables = [_table(layer) for layer in model._flatten_layers(include_self=False)]
            described = json.dumps([settings, tables], sort_keys=True)
    except Exception:  # of layers that others wrote, any
        return None
    return hashlib.sha256(f"{described}\n{weights_sha256(model)}".encode()).hexdigest()


def _table(layer: Any) -> list[str] | None:
    """Return the vocabulary of a layer that looks something up: it is neither a weight nor, once adapted, a setting."""
    return [str(word) for word in layer.get_vocabulary()] if hasattr(layer, "get_vocabulary") else None
