"""A certificate for an exported file: what it is, what it was made of, and what was measured of it."""

import gzip
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

import kerasnas
from kerasnas.decided_classes import model_classes
from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.export.benchmark import Latency
from kerasnas.export.certificate import Certificate, certificate_path, tensor_rows
from kerasnas.export.file_classes import class_threshold, file_classes, file_threshold
from kerasnas.export.functional_view import functional_view
from kerasnas.export.in_batches import at_once, run_in_batches
from kerasnas.export.litert_file import ATOL
from kerasnas.export.measured import measured
from kerasnas.export.model_digest import model_sha256, weights_sha256
from kerasnas.export.processor import processor
from kerasnas.export.quantization import Quantization
from kerasnas.export.runner import Runner, format_of
from kerasnas.export.samples import check_labels, check_samples, shapes_of
from kerasnas.export.self_test import record_self_test
from kerasnas.export.verification import Verification
from kerasnas.export.verify import run_keras, verify

if TYPE_CHECKING:
    from kerasnas.export.onnx_file import OnnxFile

__all__ = ["certify"]

_PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
_PARITY_SAMPLES = 64
_BATCH = 64


def certify(
    file: "str | os.PathLike[str] | OnnxFile | Quantization",
    *,
    model: keras.Model | None = None,
    x: Any = None,
    y: Any = None,
    latency: Latency | None = None,
    compression: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, Any] | None = None,
    atol: float | None = None,
    min_agreement: float = 0.9,
    path: str | os.PathLike[str] | None = None,
) -> Certificate:
    """Measure an exported file and write what is known of it beside it: model.json beside model.onnx.

    Whoever gets the two files can ask `kerasnas verify model.onnx`, or `Certificate.load("model.json").check("model.onnx")`,
    whether the file is the certified one and computes on that machine what it did on this one.

    Args:
        file: the exported file: a path, an `OnnxFile`, a `Quantization`, or any other record that stands for a path, and
            has `verification` if it was compared with Keras already: that counts if neither the file nor `model` was changed
            since, else they are compared again, by the same bounds.
        model: the Keras model that it was made of; without it its weights, parity and accuracy stay unknown.
        x: samples as the file takes them, shape (samples, ...); several inputs as a list or a dict by name. For accuracy, and,
            where the file was not compared already, parity on 64 of them; None compares on random samples.
        y: column of each sample's class, shape (samples,).
        latency: as `benchmark` measured it on this machine; None measures it, where there is a way.
        compression: what was done to the model before, in order, each with "method" and plain values; a quantisation of the
            file is added.
        provenance: where the model comes from, plain values: a search's folder, the winner's trial_id and hyperparameters, ...
        atol: largest difference from `model` that is allowed where `file` is the path of a float file, in the units of the
            outputs; None for what is allowed when a file of its format is written, see `verify`.
        min_agreement: share of the samples to which a quantised file must give the same class as `model`, in [0, 1]; of an
            output without classes, least 1 - its relative difference. A single column names a class where it is a
            probability, or where `y` tells the classes. It is not for the record of a file that was compared when it was made.
        path: where the certificate goes; beside the file by default.

    Returns:
        The certificate that was written.

    Raises:
        InvalidArgument: if an argument is not as described, or another file lies where the certificate would go.
        ExportMismatch: if the file does not load, gives NaN, or does not agree with `model`; then nothing is written.

    Example:
        >>> file = to_onnx(model, "digits.onnx", x=x_test)  # doctest: +SKIP
        >>> print(certify(file, model=model, x=x_test, y=y_test))  # doctest: +SKIP
    """
    place = Path(os.fspath(file))
    kind = format_of(place)
    if not place.is_file():
        raise InvalidArgument(f"Expected an exported file at {place}, found none. Make one with kerasnas.export.to_onnx.")
    if y is not None and x is None:
        raise InvalidArgument("Expected samples beside their classes, got y alone. Pass x, too.")
    if not (isinstance(min_agreement, int | float) and 0 <= min_agreement <= 1):
        raise InvalidArgument(f"Expected min_agreement within [0, 1], got {min_agreement!r}. It is a share of the samples.")
    _check_plain(compression=list(compression), provenance=provenance)
    facts, runner = kind.facts(place), kind.open(place)
    content = place.read_bytes()
    steps = [*map(dict, compression), *_quantized(file, runner)]
    lossy = any(step["method"] == "quantize" for step in steps)
    samples = None if x is None else check_samples(runner.inputs, x)
    if latency is None and kind.latency is not None:
        latency = kind.latency(place, None if samples is None else shapes_of(runner.inputs, samples))
    certificate = Certificate(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        file={
            "name": place.name,
            "format": kind.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "gzip_bytes": len(gzip.compress(content, compresslevel=9, mtime=0)),
            **facts,
        },
        model=None
        if model is None
        else {
            "name": model.name,
            "parameters": int(model.count_params()),
            "weights_sha256": weights_sha256(model),
        },
        inputs=tuple(tensor_rows(runner.inputs, runner.stored[0])),
        outputs=tuple(tensor_rows(runner.output_specs, runner.stored[1])),
        labels=_from_metadata(runner, "labels", tuple),
        preprocessing=_from_metadata(runner, "preprocessing"),
        parity=_parity(
            file,
            runner,
            model,
            samples,
            sha256=hashlib.sha256(content).hexdigest(),
            lossy=lossy,
            atol=atol,
            min_agreement=min_agreement,
            labelled=y is not None,
        ),
        accuracy=None if samples is None or y is None else _accuracy(place, runner, model, samples, y),
        latency=None if latency is None else latency.to_dict(),
        compression=tuple(steps),
        provenance=None if provenance is None else dict(provenance),
        self_test=record_self_test(runner, kind.open(place, plain=True), lossy=lossy),
        versions={"kerasnas": kerasnas.__version__, "python": platform.python_version(), **_versions()},
        machine={**processor(), "runtime": runner.runtime},
        measured=measured(lossy=lossy),
    )
    certificate.write(certificate_path(place) if path is None else path)
    return certificate


def _quantized(file: Any, runner: Runner) -> list[dict[str, Any]]:
    """Return how the file was quantised, as the record tells it, or else the file itself; no row where it was not."""
    if isinstance(file, Quantization) and file.chosen.name == "float32":
        return []
    told = _from_metadata(runner, "quantization")
    row = {"method": "quantize", **told} if isinstance(told, dict) else {}
    if isinstance(file, Quantization):
        row |= {
            "method": "quantize",
            "format": file.chosen.name,
            "goal": file.goal,
            "max_loss": file.max_loss,
            "loss": file.chosen.loss,
            "measured_samples": file.n_measured,
            "reason": file.reason,
        }
    return [row] if row else []


def _parity(
    file: Any,
    runner: Runner,
    model: keras.Model | None,
    samples: list[np.ndarray] | None,
    *,
    sha256: str,
    lossy: bool,
    atol: float | None,
    min_agreement: float,
    labelled: bool,
) -> dict[str, Any] | None:
    verification = getattr(file, "verification", None)
    judged = isinstance(verification, Verification)  # by the export itself
    if not isinstance(verification, Verification):
        if model is None:
            return None
        fixed = _fixed_batch(runner)
        allowed: dict[str, Any] = {} if atol is None else {"atol": atol}
        if lossy:
            threshold = class_threshold(functional_view(model, allow_texts=True), labelled=labelled)
            if threshold is not None and threshold != file_threshold(file):
                threshold = None  # the same number would be another class
            allowed = {"atol": None, "min_agreement": min_agreement, "threshold": threshold}
        elif atol is None and _from_metadata(runner, "format") in ATOL:
            allowed = {"atol": ATOL[_from_metadata(runner, "format")]}  # as `to_litert` allows
        verification = _verify_again(file, model, samples, batch_sizes=(1, 7) if fixed is None else (fixed,), **allowed)
    elif model is None:
        if verification.file_sha256 != sha256:
            raise ExportMismatch(
                f"Expected the file that was compared with its Keras model, but {Path(file).name} was changed since. Pass the "
                "model to compare them again, or the path instead of the record."
            )
    elif verification.file_sha256 != sha256 or not _is_same(model, verification.model_sha256):
        verification = _verify_again(
            file,
            model,
            samples,
            atol=verification.atol,
            min_agreement=verification.min_agreement,
            batch_sizes=verification.batch_sizes,
        )
        if not verification.passed:
            raise ExportMismatch(
                f"Expected the model that {Path(file).name} was made of, and the file as it was made, but one of them was "
                f"changed since they were compared: {verification}. Export the model again."
            )
    told = verification.to_dict()
    if judged or not lossy:
        verification.raise_for_mismatch()
        asked, allowed_text = verification.min_agreement, verification.allowed
        bounds = [] if allowed_text is None else [f"at most {allowed_text} is allowed"]
        criterion = ", ".join([*bounds, *([] if asked is None else [f"an agreement of at least {asked:g} is asked"])])
        return {**told, "criterion": criterion}
    criterion = _agreement(verification)
    if not verification.passed:
        first = "Pass samples as x, quantise" if samples is None else "Quantise"  # its ranges are not those of random ones
        raise ExportMismatch(
            f"Expected a quantised file that agrees with its Keras model, but {criterion}; {verification}. {first} it to "
            "another format, or lower min_agreement."
        )
    return {**told, "criterion": criterion}


def _agreement(verification: Verification) -> str:
    """Return in words how far a quantised file agrees, and what is asked of it."""
    least = min(verification.top1_agreement.values(), default=None)
    found = [] if least is None else [f"the same class for {least:.1%}"]
    numbers = [value for name, value in verification.relative_difference.items() if name not in verification.top1_agreement]
    if numbers:
        found.append(f"a relative difference of {float(np.max(numbers)):.3g} in what has no classes")  # np.max keeps NaN
    asked = verification.min_agreement
    return ", ".join([*found, *([f"an agreement of at least {asked:.1%} is asked of a quantised file"] if asked else [])])


def _is_same(model: keras.Model, sha256: str | None) -> bool:
    return sha256 is not None and model_sha256(functional_view(model, allow_texts=True).model) == sha256


def _verify_again(file: Any, model: keras.Model, samples: list[np.ndarray] | None, **bounds: Any) -> Verification:
    few = None
    if samples is not None:  # those of a folder come class by class
        places = np.sort(np.random.default_rng(0).permutation(len(samples[0]))[:_PARITY_SAMPLES])
        few = [array[places] for array in samples]
    return verify(model, file, few if few is None or len(few) > 1 else few[0], **bounds)


def _fixed_batch(runner: Runner) -> int | None:
    """Return the only batch size that the file takes, or None."""
    return next((int(shape[0]) for _, shape, _ in runner.inputs if shape and shape[0] is not None), None)


def _accuracy(place: Path, runner: Runner, model: keras.Model | None, samples: list[np.ndarray], y: Any) -> dict[str, Any]:
    if len(runner.output_specs) != 1 or len(runner.output_specs[0][1]) != 2:
        raise InvalidArgument("Expected one output of shape (batch, classes) to compare `y` with. Leave out y.")
    (scores,) = run_in_batches(runner, samples, _fixed_batch(runner) or at_once(runner.metadata, _BATCH))
    labels, given = check_labels(y, len(samples[0]), scores.shape[1]), file_classes(place, scores)
    known = None
    if model is not None:
        view = functional_view(model, allow_texts=True)
        known = float(np.mean(model_classes(view.model, run_keras(view, samples)[0]) == labels))
    return {"file": float(np.mean(given == labels)), "model": known, "samples": len(labels)}


def _from_metadata(runner: Runner, key: str, kind: Any = None) -> Any:
    try:
        value = json.loads(runner.metadata.get(key, "null"))
    except ValueError:
        return None
    return value if kind is None or value is None else kind(map(str, value))


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _check_plain(*, compression: list[Any], provenance: Any) -> None:
    if any(not isinstance(step, Mapping) or not isinstance(step.get("method"), str) for step in compression):
        raise InvalidArgument(f"Expected each step of compression to name its method, got {compression!r:.80}.")
    if provenance is not None and not isinstance(provenance, Mapping):
        raise InvalidArgument(f"Expected provenance as a mapping, got {type(provenance).__name__}. Pass a dict.")
    try:
        json.dumps([compression, provenance], allow_nan=False, default=dict)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"Expected compression and provenance that JSON can hold, but {error}. Use plain values."
        ) from error
