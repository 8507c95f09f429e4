"""Matrix products in full float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

__all__ = ["full_precision"]


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in float32 what GPUs compute with ten bits of mantissa by default (TensorFloat-32)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)
    elif backend == "jax":
        import jax

        with jax.default_matmul_precision("float32"):
            yield
    else:
        yield
