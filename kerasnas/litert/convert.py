"""From a SavedModel to the bytes of a LiteRT file."""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kerasnas.errors import KerasNASError
from kerasnas.litert.quiet import quiet

__all__ = ["LITERT_FORMATS", "convert_saved_model"]

LITERT_FORMATS = ("float32", "float16", "int8", "int16")

_LOCATED = re.compile(r'error: loc\((?:callsite\()*fused\["(\w+):", "([^"@]+)')
_NOT_IN_LITERT = re.compile(r"(?:Custom|TF Select) ops: (.+)")


def convert_saved_model(
    folder: Path, *, format: str = "float32", samples: Mapping[str, np.ndarray] | None = None, batch_size: int | None = None
) -> bytes:
    """Convert a SavedModel with one signature called "serve" to LiteRT, with built-in operators only.

    Args:
        folder: where the SavedModel lies.
        format: "float32"; "float16", weights of half the size, computed in float32; "int8", weights and arithmetic; or
            "int16", activations of 16 bits and weights of 8. A model that already simulates int8 goes without samples.
        samples: for the ranges of the integer formats: name of each input in the signature -> shape (samples, ...).
        batch_size: of the signature; None for any.

    Raises:
        KerasNASError: if LiteRT has no such operator; the message names operators and where in the graph they stand.
    """
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serve"])
        if format != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if format == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if format in ("int8", "int16"):
            kinds = tf.lite.OpsSet
            wide = kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if samples is not None:
                converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8 if format == "int8" else wide]
                converter.representative_dataset = lambda: _in_batches(samples, batch_size or 1)
            if all(array.dtype == np.float32 for array in (samples or {}).values()):
                converter.inference_input_type = getattr(tf, format)
                converter.inference_output_type = getattr(tf, format)
        try:
            with warnings.catch_warnings():
                # The calibration itself still runs in it.
                warnings.filterwarnings(
                    "ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated", category=UserWarning
                )
                warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected", category=UserWarning)
                content: bytes = converter.convert()
        except Exception as error:
            raise KerasNASError(_explain(error, format)) from error
    return content


def _in_batches(samples: Mapping[str, np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield all samples, `size` at a time; the last ones are filled up from the first."""
    length = len(next(iter(samples.values())))
    for start in range(0, length, size):
        rows = np.arange(start, start + size) % length
        yield {name: array[rows] for name, array in samples.items()}


def _explain(error: Exception, format: str) -> str:
    """Return what the converter's pages of MLIR come down to: "Svd (in 'net/culprit/Svd')"."""
    text = str(error)
    located = dict.fromkeys(f"{operator} (in {scope!r})" for operator, scope in _LOCATED.findall(text))
    named = located or dict.fromkeys(_NOT_IN_LITERT.findall(text))
    why = "; ".join(named) or " ".join(text.split())[:300]
    fixed = " A free batch size is what such operators often stop at: pass batch_size=1." if "TensorList" in text else ""
    return f"Expected operators that LiteRT has in {format}, but the converter stopped at {why.rstrip('. ')}.{fixed}"
