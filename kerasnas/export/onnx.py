"""Export of a Keras model to a verified ONNX file."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

import kerasnas
from kerasnas.atomic import atomic_path
from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.export.convert import convert
from kerasnas.export.culprit import blame, try_onnx
from kerasnas.export.file_classes import ending_facts
from kerasnas.export.functional_view import FunctionalView, functional_view
from kerasnas.export.onnx_file import OnnxFile
from kerasnas.export.samples import check_samples
from kerasnas.export.slim import require_onnxslim, slimmed
from kerasnas.export.verify import verify
from kerasnas.export_checks import check_class_names, check_computation, check_preprocessing

if TYPE_CHECKING:
    import onnx

__all__ = ["columns_of", "to_onnx"]

_OPSETS = range(13, 19)  # tf2onnx 1.17 refuses later ones; earlier ones lack operators that Keras layers need


def to_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    opset: int = 17,
    labels: Sequence[object] | None = None,
    preprocessing: str | Mapping[str, Any] | None = None,
    x: Any = None,
    atol: float = 1e-4,
    slim: bool = False,
) -> OnnxFile:
    """Export a Keras model to an ONNX file that was measured to compute the same.

    The model is converted through tf2onnx at inference (no dropout, no augmentation), checked, and run beside Keras at
    batch sizes 1 and 7. Only a file that agrees is put at `path`; otherwise whatever lay there stays. Inputs and
    outputs bear the names of the model's input layers and last layers, and their first dimension is free and called
    "batch". `model` is left as it is.

    Args:
        model: a built Functional or Sequential model that computes in float32 (or float64).
        path: where the file goes; must end in .onnx.
        opset: version of the standard ONNX operators, 13 to 18.
        labels: names of the classes in the order of the output's columns.
        preprocessing: what goes in, for whoever runs the file: a sentence, or facts such as
            {"input": "raw pixels", "range": [0, 16]}, where `range` is the lowest and highest value of an input.
        x: samples to compare on, shape (samples, ...); several inputs as a list or a dict by name. None draws 32 from a
            fixed seed: uniform in the `range` of `preprocessing`, in [0, 1] where there is none.
        atol: largest absolute difference from Keras that passes, in the units of the outputs, > 0; the default grows with
            outputs above 26, see `verify`.
        slim: whether onnxslim folds and merges what it can, before the file is compared with Keras.

    Returns:
        OnnxFile with the path, the shapes, and the measured differences. The file's metadata holds `labels` and
        `preprocessing` as JSON where given, `model_name`, `kerasnas_version` and `keras_version`, of a single column
        the `threshold` above which it means class 1, and of several that are sigmoids the `ending` "sigmoid".

    Raises:
        InvalidArgument: if the model is unbuilt, subclassed or of mixed precision, Keras does not run on TensorFlow, or
            another argument is not as described.
        KerasNASError: if an operator has no counterpart in ONNX; the message names it and its layer.
        ExportMismatch: if the file does not agree with Keras; the message holds the measured difference and the layers
            that do not agree alone.
        MissingExtra: if `slim` is asked for and onnxslim is not installed.

    Example:
        >>> file = to_onnx(model, "digits.onnx", labels=range(10), x=x_test)  # doctest: +SKIP
        >>> file.verification.worst  # doctest: +SKIP
        2.4e-07
    """
    target = Path(os.fspath(path))
    if target.suffix != ".onnx":
        raise InvalidArgument(f"Expected a path that ends in .onnx, got {str(target)!r}. Call it {target.stem}.onnx.")
    if opset not in _OPSETS:
        raise InvalidArgument(f"Expected an opset from {_OPSETS[0]} to {_OPSETS[-1]}, got {opset!r}. The default is 17.")
    view = functional_view(model, allow_texts=True)
    check_computation(model)
    names = check_class_names(labels, columns_of(view))
    check_preprocessing(preprocessing)
    if x is not None:
        check_samples(view.inputs, x)  # before the work of converting
    if slim:
        require_onnxslim()
    try:
        proto = convert(view, opset=opset)
        if slim:
            proto = slimmed(proto)
        _write_metadata(proto, model, names, preprocessing, ending_facts(view))
        with atomic_path(target) as draft:
            draft.write_bytes(proto.SerializeToString())
            verification = verify(model, draft, x, atol=atol)
            verification.raise_for_mismatch()
    except InvalidArgument:
        raise
    except KerasNASError as error:
        if "(layer '" in str(error):
            raise
        raise type(error)(f"{str(error).rstrip('. ')}. {blame(model, partial(try_onnx, opset=opset, atol=atol))}") from error
    return OnnxFile.of(target, verification)


def columns_of(view: FunctionalView) -> int | None:
    """Return how many columns the output has; None if that is free, or there are several outputs."""
    return view.outputs[0][1][-1] if len(view.outputs) == 1 else None


def _write_metadata(
    proto: "onnx.ModelProto",
    model: keras.Model,
    labels: tuple[str, ...] | None,
    preprocessing: str | Mapping[str, Any] | None,
    facts: Mapping[str, float | str],
) -> None:
    import onnx

    proto.producer_name, proto.producer_version = "kerasnas", kerasnas.__version__
    metadata = {
        "model_name": model.name,
        "kerasnas_version": kerasnas.__version__,
        "keras_version": keras.__version__,
        **{name: json.dumps(value) for name, value in facts.items()},
    }
    if labels is not None:
        metadata["labels"] = json.dumps(labels)
    if preprocessing is not None:
        metadata["preprocessing"] = json.dumps(preprocessing)
    onnx.helper.set_model_props(proto, metadata)
