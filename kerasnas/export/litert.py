"""Export of a Keras model to a verified LiteRT file, in real numbers or in integers."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

import kerasnas
from kerasnas.atomic import atomic_path
from kerasnas.decided_classes import model_classes
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export.culprit import blame
from kerasnas.export.file_classes import class_threshold, ending_facts, file_classes
from kerasnas.export.functional_view import FunctionalView, functional_view
from kerasnas.export.in_batches import run_in_batches
from kerasnas.export.litert_file import ATOL, LiteRTFile
from kerasnas.export.onnx import columns_of
from kerasnas.export.op_handlers import layer_of
from kerasnas.export.samples import check_labels, check_samples
from kerasnas.export.saved_model import save_for_litert, signature_names
from kerasnas.export.tf2onnx_repairs import scope_of
from kerasnas.export.verify import run_keras, verify
from kerasnas.export_checks import check_class_names, check_computation, check_preprocessing, check_shares, is_within
from kerasnas.guessing import warn_of_guessing
from kerasnas.litert import LITERT_FORMATS, append_facts, convert_saved_model, open_litert

__all__ = ["to_litert"]

Format = Literal["float32", "float16", "int8", "int16"]
_INTEGERS = ("int8", "int16")


def to_litert(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    format: Format = "float32",
    calibration: Any = None,
    x: Any = None,
    y: Any = None,
    labels: Sequence[object] | None = None,
    preprocessing: str | Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    atol: float | None = None,
    max_loss: float = 0.01,
    min_agreement: float = 0.9,
) -> LiteRTFile:
    """Export a Keras model to a LiteRT (TensorFlow Lite) file that was measured to do what the model does.

    The model is converted at inference, with LiteRT's own operators only, and run beside Keras at batch sizes 1 and 7. Real
    formats must agree within `atol`; integer formats, on samples that calibration did not see, must give the same class (of
    a single column the side of its threshold, if it is a probability or there is `y`) in a share of `min_agreement`, and
    with `y` lose at most `max_loss` of accuracy. Only a file that does is put at `path`; otherwise whatever lay there
    stays.

    Args:
        model: a built Functional or Sequential model that computes in float32.
        path: where the file goes; must end in .tflite.
        format: "float32"; "float16", half the size, weights alone; "int8", a quarter of the size, weights, arithmetic, inputs
            and outputs in 8 bits; "int16", likewise with activations, inputs and outputs of 16 bits and weights of 8.
        calibration: samples that the ranges of the integer formats are found on, shape (samples, ...), at least 4 (a hundred
            or more are good); several inputs as a list or a dict by name.
        x: samples to compare on, likewise. None takes every other sample of `calibration`, which then does not serve
            for the ranges; without `calibration` 32 random ones, as `to_onnx` does.
        y: column of each sample's class, shape (samples,), of a single column class 0 or 1: of `x` if given, else of
            `calibration`.
        labels: names of the classes in the order of the output's columns.
        preprocessing: what goes in, as for `to_onnx`.
        batch_size: size that the file is fixed to; None leaves it free. Fixed to 1 the file needs fewer operators, which
            microcontrollers want and recurrent layers need, unless built with unroll=True, as integer formats ask of them.
        atol: largest absolute difference of real formats, in the units of the outputs, > 0; 1e-4 for float32, which
            grows with large outputs, see `verify`; 1e-2 for float16.
        max_loss: largest loss of accuracy that integer formats may have, a share of the samples in [0, 1].
        min_agreement: least agreement that they must have, in [0, 1].

    Returns:
        LiteRTFile with the path, the operators and the measured figures. `labels`, `preprocessing` and versions stand in the
        file, in a zip archive behind the model (`unzip -p model.tflite kerasnas.json`).

    Raises:
        InvalidArgument: if the model or another argument is not as described.
        KerasNASError: if an operator has no counterpart in LiteRT; the message names it and its layer.
        ExportMismatch: if the file does not do what the model does; the message holds the measured figures.

    Example:
        >>> file = to_litert(model, "digits.tflite", format="int8", calibration=x_train, y=y_train)  # doctest: +SKIP
        >>> file.verification.top1_agreement, file.accuracy, file.keras_accuracy  # doctest: +SKIP
        ({'digit': 0.998}, 0.972, 0.975)
    """
    target = Path(os.fspath(path))
    if target.suffix != ".tflite":
        raise InvalidArgument(f"Expected a path that ends in .tflite, got {str(target)!r}. Call it {target.stem}.tflite.")
    if format not in LITERT_FORMATS:
        raise InvalidArgument(f"Expected a format of {', '.join(LITERT_FORMATS)}, got {format!r}. The default is float32.")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise InvalidArgument(f"Expected batch_size to be a whole number >= 1 or None, got {batch_size!r}. Pass 1.")
    check_shares(max_loss=max_loss, min_agreement=min_agreement)
    tolerance = ATOL.get(format) if atol is None else atol
    view = functional_view(model)
    check_computation(model)
    if format in _INTEGERS:
        _check_unrolled(model, format)
    names = check_class_names(labels, columns_of(view))
    check_preprocessing(preprocessing)
    seen, samples, classes = _check_data(view, format, calibration, x, y)
    facts: dict[str, Any] = {
        "model_name": model.name,
        "format": format,
        "preprocessing": preprocessing,
        "kerasnas_version": kerasnas.__version__,
        "keras_version": keras.__version__,
        **ending_facts(view),
    }
    if format in _INTEGERS:
        facts["quantization"] = {"format": format, "calibration_samples": len(seen[0])}
    try:
        with atomic_path(target) as draft:
            content = _convert(view, format, seen, batch_size)
            draft.write_bytes(content)
            append_facts(draft, {**facts, **signature_names(view)}, names)
            verification = verify(
                model,
                draft,
                samples[0] if samples is not None and len(samples) == 1 else samples,
                atol=None if format in _INTEGERS else tolerance,
                min_agreement=min_agreement if format in _INTEGERS else None,
                batch_sizes=(1, 7) if batch_size is None else (batch_size,),
                threshold=class_threshold(view, labelled=len(classes) > 0) if format in _INTEGERS else None,
            )
            verification.raise_for_mismatch()
            session = open_litert(draft)
            accuracy = keras_accuracy = None
            if samples is not None and len(classes):
                came = file_classes(draft, run_in_batches(session, samples, batch_size or 32)[0])
                accuracy = float(np.mean(came == classes))
                keras_accuracy = float(np.mean(model_classes(view.model, run_keras(view, samples)[0]) == classes))
                warn_of_guessing(keras_accuracy, classes)
            if accuracy is not None and keras_accuracy is not None and not is_within(keras_accuracy - accuracy, max_loss):
                raise ExportMismatch(
                    f"Expected a file that loses at most {max_loss:g} of accuracy, but on {len(classes)} samples it has "
                    f"{accuracy:.4f} where Keras has {keras_accuracy:.4f}. Pass more samples for calibration, or take a format "
                    "of more bits."
                )
            return LiteRTFile.of(draft, format, verification, target, accuracy=accuracy, keras_accuracy=keras_accuracy)
    except InvalidArgument:
        raise
    except KerasNASError as error:
        raise _named(error, model, format, batch_size, tolerance) from error


def _check_unrolled(model: keras.Model, format: str) -> None:
    """Refuse loops over time: TensorFlow, measuring their ranges, ends the whole process."""
    loops = [
        f"{layer.name!r} ({type(layer).__name__})"
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.RNN) and not layer.unroll
    ]
    if loops:
        raise InvalidArgument(
            f"Expected recurrent layers without a loop for {format}, got {', '.join(loops)}. Build the model with unroll=True "
            "there and copy the weights, or take float32 or float16."
        )


def _check_data(
    view: FunctionalView, format: str, calibration: Any, x: Any, y: Any
) -> tuple[list[np.ndarray], list[np.ndarray] | None, np.ndarray]:
    """Return the samples for the ranges, those to compare on (None: random ones), and their classes (empty: unknown)."""
    seen = [] if calibration is None else check_samples(view.inputs, calibration)
    samples = None if x is None else check_samples(view.inputs, x)
    if format in _INTEGERS and (not seen or len(seen[0]) < 4):
        raise InvalidArgument(
            f"Expected at least 4 samples as calibration for {format}, got {len(seen[0]) if seen else 'none'}. "
            "Pass a hundred or more of the training samples."
        )
    classes = np.zeros(0, int)
    if y is not None:
        length = len(samples[0]) if samples is not None else len(seen[0]) if seen else 0
        columns = next((int(shape[1] or 2**31) for _, shape, _ in view.outputs[:1] if len(shape) == 2), 0)
        if columns == 0 or (columns == 1 and len(view.outputs) > 1):
            raise InvalidArgument("Expected an output of shape (batch, classes) to compare `y` with, got none. Leave out y.")
        classes = check_labels(y, length, columns)
    if samples is None and seen:
        samples, classes = [array[1::2] for array in seen], classes[1::2]
        seen = [array[::2] for array in seen]
    return seen, samples, classes


def _convert(view: FunctionalView, format: str, samples: Sequence[np.ndarray], batch_size: int | None) -> bytes:
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        save_for_litert(view, Path(folder), batch_size=batch_size)
        named = dict(zip(signature_names(view)["inputs"], samples, strict=True)) if samples else None
        return convert_saved_model(Path(folder), format=format, samples=named, batch_size=batch_size)


def _named(
    error: KerasNASError, model: keras.Model, format: str, batch_size: int | None, tolerance: float | None
) -> KerasNASError:
    """Return the error with the layers that it stands for, where they can be told."""
    text = str(error)
    layers = {scope_of(layer.name): layer for layer in model._flatten_layers(include_self=False)}
    places = [layer_of(place, layers) for place in re.findall(r"\(in '([^']+)'\)", text)]
    found = [layers[name] for name in dict.fromkeys(places) if name is not None]
    if found:
        kinds = ", ".join(dict.fromkeys(f"{layer.name!r} ({type(layer).__name__})" for layer in found))
        return type(error)(f"{text.rstrip('. ')}. It is the layer {kinds}.")
    if format in _INTEGERS:  # alone, on samples of its own, a layer says little of what it does to the ranges
        return error

    def attempt(alone: keras.Model) -> None:
        view = functional_view(alone)
        with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(_convert(view, format, (), batch_size))
            append_facts(path, signature_names(view), None)
            sizes = (1, 7) if batch_size is None else (batch_size,)
            verify(alone, path, atol=tolerance, batch_sizes=sizes).raise_for_mismatch()

    return type(error)(f"{text.rstrip('. ')}. {blame(model, attempt)}")
