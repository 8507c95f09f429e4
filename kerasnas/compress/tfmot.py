"""Import tensorflow-model-optimization without letting it change which Keras the rest of the process sees."""

import importlib
import os
import threading
import warnings
from types import ModuleType

import keras

__all__ = ["load_tfmot"]

_VARIABLE = "TF_USE_LEGACY_KERAS"
_LOCK = threading.Lock()


def load_tfmot() -> ModuleType:
    """Return the tfmot module; `tf.keras` and the environment stay as they were.

    On import tfmot sets TF_USE_LEGACY_KERAS=1, whatever the user had there. TensorFlow reads the variable when
    `tf.keras` is first touched, and child processes inherit it. So `tf.keras` is resolved first, by the user's own
    setting, and the variable is put back afterwards. A user who chose legacy Keras, or imported tfmot before us, keeps
    what they have.
    """
    import tensorflow as tf

    with _LOCK:
        is_keras3 = tf.keras.Model is keras.Model  # touching it resolves the lazy loader
        before = os.environ.get(_VARIABLE)
        try:
            with warnings.catch_warnings():
                # tfmot compares versions with distutils, and says so in every process.
                warnings.filterwarnings("ignore", message="distutils Version classes", category=DeprecationWarning)
                module = importlib.import_module("tensorflow_model_optimization")
        finally:
            if before is None:
                os.environ.pop(_VARIABLE, None)
            else:
                os.environ[_VARIABLE] = before
        if is_keras3:
            # tfmot's registries resolve these two while the variable is set; without it they are what tf.keras is.
            tf.compat.v1.keras = tf.compat.v2.keras = tf.keras
    return module
