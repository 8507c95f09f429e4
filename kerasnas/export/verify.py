"""Does an ONNX or LiteRT file compute what its Keras model computes?"""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.decided_classes import decided_classes
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export.functional_view import FunctionalView, functional_view
from kerasnas.export.in_batches import run_in_batches
from kerasnas.export.litert_file import ATOL
from kerasnas.export.model_digest import model_sha256
from kerasnas.export.samples import check_samples, draw_samples, numpy_dtype
from kerasnas.export.session import AnySession, open_file
from kerasnas.export.silence import silence
from kerasnas.export.verification import Verification

__all__ = ["run_keras", "verify"]

_RANDOM_SAMPLES = 32
_KERAS_BATCH = 128
_ATOL = 1e-4
# More than this share of the largest value of an output is no rounding, however small; what float32 cannot tell from 0 is.
_SHARE, _NOTHING = 0.1, 1.2e-7
# Roundings of float32, at the usual value of an output, that the default bound leaves room for: above values of 1000
# 1e-4 is less than one. Networks of up to eight layers, dense, convolutional and recurrent, were measured to differ by 0 to 9.
_ROUNDINGS = 32


def verify(
    model: keras.Model,
    file: str | os.PathLike[str],
    x: Any = None,
    *,
    atol: float | None = _ATOL,
    min_agreement: float | None = None,
    batch_sizes: Sequence[int] = (1, 7),
    threshold: float | None = None,
) -> Verification:
    """Compare an ONNX or LiteRT file with its Keras model, sample by sample and output by output.

    Keras runs at inference (`training=False`), with TensorFlow on the CPU, where no TF32 rounding blurs the comparison.
    The file runs in onnxruntime or LiteRT over all samples at each batch size; the last batch is filled up from the first
    samples, so that every run has the full size. A sample's output must not depend on the others in its batch.

    Args:
        model: a built Functional or Sequential model.
        file: path to the file, or an `OnnxFile` or `LiteRTFile`; one that ends in .tflite is for LiteRT. Inputs and outputs are
            matched by name, else by order.
        x: samples as the model takes them, shape (samples, ...); several inputs as a list in the order of
            `model.inputs` or a dict by name. None draws 32 from a fixed seed: uniform in the `range` of the file's
            preprocessing metadata, in [0, 1] where there is none; whole numbers of the same range for integer inputs.
        atol: largest absolute difference that passes, in the units of the outputs, > 0. Up to the default, and of files in
            float16, a tenth of the largest value of an output is the bound where that is less: 1e-4 says nothing of outputs
            of 1e-5. At the default, 1e-4, 32 roundings of float32 at the median size of an output's smallest column are the
            bound where they are more, which is above 26: no file can be within 1e-4 of prices of 200,000. None judges by
            agreement alone.
        min_agreement: least share of samples of the same class that passes, in [0, 1]; for an output without classes, least 1 -
            its relative difference. None does not judge by it. Of several columns the largest is the class.
        batch_sizes: sizes to run the file at, each >= 1.
        threshold: above what an output of a single column means class 1, such as 0.5; None where it is a number.

    Returns:
        Verification with the measured differences; its `raise_for_mismatch` makes a failure an exception.

    Raises:
        InvalidArgument: if the model, `x`, `atol` or `batch_sizes` is not as described, or the file is missing.
        ExportMismatch: if the runtime cannot load the file, or it has other inputs or outputs than the model.
        KerasNASError: if Keras cannot run the model on these samples on the CPU.

    Example:
        >>> print(verify(model, "digits.onnx", x_test))  # doctest: +SKIP
        passed: largest difference probabilities 2.4e-07 (at most 0.0001) over 360 samples (given) at batch sizes ...
    """
    if atol is not None and not (math.isfinite(atol) and atol > 0):
        raise InvalidArgument(f"Expected atol > 0, got {atol!r}. The default is 1e-4.")
    if min_agreement is None and atol is None:
        raise InvalidArgument("Expected atol or min_agreement to judge by, got None for both. Pass one of them.")
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise InvalidArgument(f"Expected min_agreement within [0, 1], got {min_agreement!r}. It is a share of the samples.")
    sizes = tuple(batch_sizes)
    if not sizes or any(not isinstance(size, int | np.integer) or size < 1 for size in sizes):
        raise InvalidArgument(f"Expected batch sizes >= 1, got {batch_sizes!r}. Pass whole numbers such as (1, 7).")
    view = functional_view(model, allow_texts=True)
    session = open_file(file)
    content = Path(os.fspath(file)).read_bytes()
    if x is None:
        low, high = session.value_range
        samples = draw_samples(view.inputs, _RANDOM_SAMPLES, value_range=(low, high), texts=view.texts)
        data = f"uniform in [{low:g}, {high:g}], seed 0"
    else:
        samples = check_samples(view.inputs, x)
        data = "given"
    names = [name for name, _, _ in view.outputs]
    expected = run_keras(view, samples)
    is_half = "float16" in session.metadata.get("format", "")
    bounds = {} if atol is None else {name: _bound(atol, y, is_half) for name, y in zip(names, expected, strict=True)}
    difference = dict.fromkeys(names, 0.0)
    relative = dict.fromkeys(names, 0.0)
    agreement: dict[str, float] = {}
    reason = None
    for size in sizes:
        try:
            came = _run_file(view, session, samples, int(size))
            for name, y, z in zip(names, expected, came, strict=True):
                difference[name] = float(np.maximum(difference[name], _difference(y, z)))  # np.maximum keeps NaN
                relative[name] = float(np.maximum(relative[name], _relative(y, z)))
                if y.ndim == 2 and (y.shape[1] > 1 or threshold is not None):
                    expects, gave = (decided_classes(scores, threshold or 0.0) for scores in (y, z))
                    agrees = float(np.mean(expects == gave))
                    agreement[name] = min(agreement.get(name, 1.0), agrees)
        except _DoesNotRun as error:
            reason = f"it does not run at batch size {size}: {error}"
            difference = relative = dict.fromkeys(names, math.nan)
            break
    if reason is None:
        over = []
        for name, y in zip(names, expected, strict=True):
            if not difference[name] <= bounds.get(name, math.inf):
                told = f", whose largest value is {_largest(y):.3g}" if bounds.get(name, atol) != atol else ""
                over.append(f"{difference[name]:.3g} in {name!r}{told}")
        reason = f"the largest difference is {', '.join(over)}" if over else None
    if reason is None and min_agreement is not None:
        close = {name: agreement.get(name, float(np.maximum(0, 1 - relative[name]))) for name in names}  # keeps NaN
        far = [f"{value:.3g} in {name!r}" for name, value in close.items() if not value >= min_agreement]
        reason = f"the agreement is {', '.join(far)}" if far else None
    return Verification(
        passed=reason is None,
        reason=reason,
        max_abs_difference=difference,
        top1_agreement=agreement,
        relative_difference=relative,
        atol=None if atol is None else float(atol),
        bounds=bounds,
        min_agreement=None if min_agreement is None else float(min_agreement),
        batch_sizes=tuple(int(size) for size in sizes),
        n_samples=len(samples[0]),
        data=data,
        runtime=session.runtime,
        provider=session.provider,
        file_sha256=hashlib.sha256(content).hexdigest(),
        model_sha256=model_sha256(view.model),
    )


def _bound(atol: float, y: np.ndarray, is_half: bool) -> float:
    """Return the largest difference that passes of an output: `atol`, unless the output's values are tiny, or large."""
    default, largest = ATOL["float16"] if is_half else _ATOL, _largest(y)
    if atol > default or not math.isfinite(largest):
        return float(atol)
    rounding = _ROUNDINGS * float(np.finfo(np.float32).eps) * _usual(y) if atol in (default, _ATOL) else 0.0
    return float(min(max(atol, rounding), max(_SHARE * largest, _NOTHING)))


def _largest(y: np.ndarray) -> float:
    return float(np.max(np.abs(y.astype(np.float64)), initial=0.0))


def _usual(y: np.ndarray) -> float:
    """Return the median size of an output's smallest column: a price beside probabilities must not loosen their bound."""
    columns = np.abs(y.astype(np.float64)).reshape(-1, y.shape[-1] if y.ndim > 1 else 1)
    return float(np.median(columns, axis=0).min()) if y.size else 0.0


class _DoesNotRun(Exception):
    """The runtime stopped, or gave an output of another shape."""


def run_keras(view: FunctionalView, samples: list[np.ndarray]) -> list[np.ndarray]:
    """Return all outputs of the model for all samples, at inference, on the CPU under TensorFlow."""
    batches = []
    device = keras.device("cpu:0") if keras.config.backend() == "tensorflow" else nullcontext()
    with silence(), device:  # TensorFlow warns of retracing at every grouped convolution that Keras runs
        for start in range(0, len(samples[0]), _KERAS_BATCH):
            batch = [array[start : start + _KERAS_BATCH] for array in samples]
            try:
                y = view.model(batch[0] if len(batch) == 1 else batch, training=False)
            except Exception as error:
                raise KerasNASError(
                    f"Expected a model that Keras can run on the CPU, but {view.model.name!r} stopped with "
                    f"{type(error).__name__}: {_plain(error)}{_remedy(error)}"
                ) from error
            batches.append([keras.ops.convert_to_numpy(t) for t in (y if len(view.outputs) > 1 else [y])])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _remedy(error: Exception) -> str:
    """Return what to do where TensorFlow's own kernels lack what those of oneDNN have, else nothing."""
    lacking = ("NHWC", "dilation rates larger than 1")
    if not any(words in str(error) for words in lacking):
        return ""
    return " Start Python with TF_ENABLE_ONEDNN_OPTS=1 in the environment: through oneDNN TensorFlow can."


def _plain(error: Exception) -> str:
    """Return the message of an error of Keras without its colours and its list of arguments."""
    return re.sub(r"\x1b\[\d*m", "", str(error)).split("\n\nArguments received")[0]


def _run_file(view: FunctionalView, session: AnySession, samples: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Return the file's outputs for all samples, run `size` at a time, in the order of the model's outputs."""
    fed = _order("inputs", [name for name, _, _ in view.inputs], [name for name, _, _ in session.inputs])
    given = _order("outputs", [name for name, _, _ in view.outputs], list(session.outputs))
    if len(given) != len(view.outputs):
        raise ExportMismatch(f"Expected {len(view.outputs)} outputs, {session.path} has {len(given)}. Export it again.")
    arrays = [samples[i].astype(numpy_dtype(dtype)) for i, (_, _, dtype) in zip(fed, session.inputs, strict=True)]
    try:
        whole = run_in_batches(session, arrays, size)
    except Exception as error:
        raise _DoesNotRun(error) from error
    return [whole[given.index(i)] for i in range(len(view.outputs))]


def _order(kind: str, keras_names: list[str], file_names: list[str]) -> list[int]:
    """Return for each name in the file its place among the model's; by name, else by order."""
    if set(file_names) <= set(keras_names):  # tf2onnx leaves out an input that nothing depends on
        return [keras_names.index(name) for name in file_names]
    if len(file_names) == len(keras_names):
        return list(range(len(keras_names)))
    raise ExportMismatch(f"Expected the {kind} {keras_names}, the file has {file_names}. Export the model again.")


def _difference(y: np.ndarray, z: np.ndarray) -> float:
    """Return the largest absolute difference; NaN if either side holds NaN or infinity."""
    if y.shape != z.shape:
        raise _DoesNotRun(f"an output has shape {('batch', *z.shape[1:])}, in Keras {('batch', *y.shape[1:])}")
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(z))):
        return math.nan
    return float(np.max(np.abs(y.astype(np.float64) - z.astype(np.float64)), initial=0.0))


def _relative(y: np.ndarray, z: np.ndarray) -> float:
    """Return the root mean square difference over the standard deviation of `y`; NaN as above."""
    if not (np.all(np.isfinite(y)) and np.all(np.isfinite(z))):
        return math.nan
    y, z = y.astype(np.float64), z.astype(np.float64)
    return float(np.sqrt(np.mean((y - z) ** 2))) / (float(np.std(y)) or 1.0) if y.size else 0.0
