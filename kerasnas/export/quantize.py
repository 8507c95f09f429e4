"""A verified ONNX file in fewer bits: several formats are made, measured, and the best for a goal is kept."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from kerasnas.atomic import atomic_path
from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.export.benchmark import benchmark
from kerasnas.export.file_classes import file_threshold
from kerasnas.export.instruction_set import instruction_set
from kerasnas.export.quantization import Quantization, QuantizationCandidate
from kerasnas.export.quantization_formats import FORMATS, prepare, write_quantized
from kerasnas.export.quantization_measures import check_standard, measure, run_all, weigh, weighted_operators
from kerasnas.export.quantization_reason import reason_for
from kerasnas.export.quantized_file import write_quantized_file
from kerasnas.export.samples import check_labels, check_samples, shapes_of
from kerasnas.export.sensitive_nodes import sensitive_nodes
from kerasnas.export.session import Session, open_session
from kerasnas.export_checks import is_within
from kerasnas.guessing import warn_of_guessing

__all__ = ["quantize"]

Goal = Literal["latency", "size", "accuracy"]
_LEAST_OPSET = 13  # the first with a scale for each channel


def quantize(
    file: str | os.PathLike[str],
    calibration: Any,
    *,
    path: str | os.PathLike[str] | None = None,
    y: Any = None,
    goal: Goal = "latency",
    formats: Sequence[str] = tuple(FORMATS),
    max_loss: float = 0.01,
    min_agreement: float = 0.9,
    rounds: int = 5,
) -> Quantization:
    """Make an ONNX file smaller or faster by holding it in 8 or 16 bits, if that is measured to do no harm.

    Each format is made, checked (full check, standard operators, no NaN, batch sizes 1 and 7) and run beside the float file,
    side by side in time. Every other sample is for the ranges of the activations, the others are for measuring. Of the
    formats that lose at most `max_loss` the best for the goal is kept; the float file is one of them. If a static format loses
    more, the layers that hurt it most are found by leaving out one at a time, and left in float as far as that is needed.

    Args:
        file: path to a float32 ONNX file, or an `OnnxFile`.
        calibration: samples as the file takes them, shape (samples, ...), at least 4; several inputs as a list in the
            order of the file or a dict by name. A hundred or more of the kind that will come make good ranges.
        path: where the picked file goes, must end in .onnx; None puts it beside `file`, called NAME-quantized.onnx.
        y: column of each sample's class, shape (samples,), in the one output of shape (batch, classes), or class 0 or 1 of
            a single column; then the loss is of accuracy, else of agreement with `file`.
        goal: "latency", the least median; "size", the fewest bytes; "accuracy", the least loss of those that are smaller
            or faster than the float file.
        formats: names from `kerasnas.export.quantization_formats.FORMATS` to try.
        max_loss: largest loss that is accepted, a share of the samples in [0, 1].
        min_agreement: least agreement with `file` that is accepted even where accuracy does not suffer, in [0, 1].
        rounds: how often each file's latency is measured, >= 1; the quietest round counts.

    Returns:
        Quantization with a row for each candidate. Its `path` is `file` itself, and nothing is written, where no format is
        better. The metadata of `file` is carried over; `quantization` is added to it, as JSON.

    Raises:
        InvalidArgument: if an argument is not as described, or the file is of another dtype or of an opset below 13.
        ExportMismatch: if onnxruntime cannot load the file.

    Example:
        >>> quantized = quantize("digits.onnx", x_train, y=y_train, goal="latency")  # doctest: +SKIP
        >>> print(quantized)  # doctest: +SKIP

    Source:
        Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference";
        the formats are those of onnxruntime.quantization.
    """
    session = open_session(file)
    target = session.path.with_name(f"{session.path.stem}-quantized.onnx") if path is None else Path(os.fspath(path))
    _check(session, target, goal, formats, rounds, max_loss=max_loss, min_agreement=min_agreement)
    arrays = check_samples(session.inputs, calibration)
    if len(arrays[0]) < 4:
        raise InvalidArgument(f"Expected at least 4 samples, got {len(arrays[0])}. Pass a hundred or more.")
    named = {name: array for (name, _, _), array in zip(session.inputs, arrays, strict=True)}
    seen, held = ({name: array[start::2] for name, array in named.items()} for start in (0, 1))
    expected = run_all(session, held, 32)
    truth = None if y is None else _truth(y, len(arrays[0]), expected)[1::2]
    threshold = _threshold(session, expected, truth)
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        work = Path(folder)
        weighted = prepare(session.path, work / "prepared.onnx")
        files = {"float32": session.path}
        known: dict[str, Any] = {"weighted": weighted_operators(work / "prepared.onnx"), "threshold": threshold}
        found = [measure("float32", session.path, expected, held, truth, **known)]
        accuracy = found[0].accuracy
        caveat = "" if accuracy is None or truth is None else warn_of_guessing(accuracy, truth)

        def attempt(name: str, title: str, left: Sequence[str] = ()) -> QuantizationCandidate:
            made = work / f"{len(files)}.onnx"
            try:
                write_quantized(work / "prepared.onnx", made, FORMATS[name], seen, left_in_float=left)
                check_standard(made)
                candidate = measure(title, made, expected, held, truth, left_in_float=left, **known)
                facts = {
                    "format": title,
                    "calibration_samples": len(seen[session.inputs[0][0]]),
                    "agreement": candidate.agreement,
                    "left_in_float": list(left),
                }
                write_quantized_file(made, made, session, facts)
                candidate = weigh(candidate, made)  # what the file tells of itself takes room, too
            except Exception as error:
                return _failed(title, error)
            files[title] = made
            return _with_loss(candidate, found[0])

        found += [attempt(name, name) for name in dict.fromkeys(formats)]

        def accepts(candidate: QuantizationCandidate) -> bool:
            return is_within(candidate.loss, max_loss) and candidate.agreement >= min_agreement  # NaN, of a failure, is neither

        found += _mend(found, attempt, weighted, accepts)
        found = _with_latencies(found, files, rounds, shapes_of(session.inputs, arrays))
        fit = [candidate for candidate in found[1:] if accepts(candidate)]
        chosen = _choose(found[0], fit, goal)
        instructions, exact = instruction_set()
        reason = reason_for(
            chosen,
            found,
            goal=goal,
            max_loss=max_loss,
            min_agreement=min_agreement,
            fit=fit,
            instructions=instructions,
            exact=exact,
            n_measured=len(held[session.inputs[0][0]]),
            by_class=threshold is not None or all(z.ndim == 2 and z.shape[1] > 1 for z in expected),
        )
        if chosen.name != "float32":
            with atomic_path(target) as draft:
                shutil.copyfile(files[chosen.name], draft)
    return Quantization(
        path=session.path if chosen.name == "float32" else target,
        chosen=chosen,
        candidates=tuple(found),
        goal=goal,
        max_loss=max_loss,
        reason=f"{reason} {caveat}".rstrip(),
        instruction_set=instructions,
        n_calibration=len(next(iter(seen.values()))),
        n_measured=len(next(iter(held.values()))),
        onnxruntime_version=session.onnxruntime_version,
    )


def _check(session: Session, target: Path, goal: str, formats: Sequence[str], rounds: int, **shares: float) -> None:
    import onnx

    if target.suffix != ".onnx":
        raise InvalidArgument(f"Expected a path that ends in .onnx, got {str(target)!r}. Call it {target.stem}.onnx.")
    if target.resolve() == session.path.resolve():
        raise InvalidArgument(f"Expected another path than that of the float file, got {str(target)!r}. Keep the float file.")
    if goal not in get_args(Goal):
        raise InvalidArgument(f"Expected a goal of {', '.join(get_args(Goal))}, got {goal!r}. The default is latency.")
    unknown = [name for name in formats if name not in FORMATS]
    if isinstance(formats, str) or unknown or not formats:
        raise InvalidArgument(f"Expected formats from {list(FORMATS)}, got {formats!r}. Pass a list of these names.")
    for name, share in shares.items():
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InvalidArgument(f"Expected {name} within [0, 1], got {share!r}. It is a share of the samples.")
    if not isinstance(rounds, int) or rounds < 1:
        raise InvalidArgument(f"Expected rounds to be a whole number >= 1, got {rounds!r}. The default is 5.")
    fixed = [name for name, shape, _ in session.inputs if shape and shape[0] is not None]
    if fixed:
        raise InvalidArgument(
            f"Expected a free batch size, but that of input {fixed[0]!r} is fixed. Export it with a free one."
        )
    proto = onnx.load(session.path, load_external_data=False)
    dtypes = {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in proto.graph.initializer if len(tensor.dims) > 1}
    if not dtypes <= {"FLOAT", "INT32", "INT64"} or any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        raise InvalidArgument(f"Expected a float32 file, got weights of {sorted(dtypes)}. Pass the file that to_onnx wrote.")
    opset = max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < _LEAST_OPSET:
        raise InvalidArgument(f"Expected an opset of at least {_LEAST_OPSET}, got {opset}. Export the model again.")


def _truth(y: Any, length: int, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return `y` as the class of each sample in the one output that has classes; a single column, alone, has two."""
    columns = [z.shape[1] for z in outputs if z.ndim == 2 and (z.shape[1] > 1 or len(outputs) == 1)]
    if len(columns) != 1:
        raise InvalidArgument(
            f"Expected one output of shape (batch, classes) to compare `y` with, got {len(columns) or 'none'}. Leave out y."
        )
    return check_labels(y, length, columns[0])


def _threshold(session: Session, outputs: Sequence[np.ndarray], truth: np.ndarray | None) -> float | None:
    """Return above what a single column, alone, means class 1; None of other outputs, and of what may be no class at all."""
    if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] != 1:
        return None
    threshold = file_threshold(session.path)
    return threshold if threshold > 0 or truth is not None else None  # without labels a score is a number like any other


def _failed(name: str, error: Exception) -> QuantizationCandidate:
    text = " ".join(str(error).split())[:200]
    because = text if isinstance(error, KerasNASError) else f"{type(error).__name__}: {text}"
    return QuantizationCandidate(name, 0, 0, math.nan, math.nan, math.nan, None, math.nan, {}, "", (), because)


def _with_loss(candidate: QuantizationCandidate, plain: QuantizationCandidate) -> QuantizationCandidate:
    """Return the candidate with its loss of accuracy, where that is known; more accurate than float is no loss."""
    if candidate.accuracy is None or plain.accuracy is None:
        return candidate
    return replace(candidate, loss=max(0.0, plain.accuracy - candidate.accuracy))


def _mend(
    found: Sequence[QuantizationCandidate],
    attempt: Callable[[str, str, Sequence[str]], QuantizationCandidate],
    weighted: Sequence[str],
    accepts: Callable[[QuantizationCandidate], bool],
) -> list[QuantizationCandidate]:
    """Return the static format that loses too much, but least of those, with its sensitive nodes left in float."""
    static = [c for c in found if c.failure is None and c.name in FORMATS and FORMATS[c.name].kind == "static"]
    losing = [candidate for candidate in static if not accepts(candidate)]
    if not losing or len(weighted) < 2:
        return []
    least = min(losing, key=lambda c: c.relative_difference)
    mended = sensitive_nodes(least, weighted, lambda left: attempt(least.name, f"{least.name}, mixed", left), accepts)
    return [] if mended is None else [mended]


def _with_latencies(
    found: Sequence[QuantizationCandidate], files: Mapping[str, Path], rounds: int, shapes: Mapping[str, Sequence[int]]
) -> list[QuantizationCandidate]:
    """Return the candidates with their latencies, measured in turns: another process must not decide which is fastest."""
    times: dict[str, list[float]] = {candidate.name: [] for candidate in found if candidate.failure is None}
    for _ in range(rounds):
        for name, measured in times.items():
            measured.append(benchmark(files[name], repeats=60, warmup=10, shapes=shapes).median_ms)
    return [replace(c, latency_ms=min(times[c.name])) if c.name in times else c for c in found]


def _choose(plain: QuantizationCandidate, fit: Sequence[QuantizationCandidate], goal: str) -> QuantizationCandidate:
    if goal == "latency":
        return min([plain, *fit], key=lambda c: (c.latency_ms, c.size_bytes))
    if goal == "size":
        return min([plain, *fit], key=lambda c: (c.size_bytes, c.latency_ms))
    better = [c for c in fit if c.size_bytes < plain.size_bytes or c.latency_ms < plain.latency_ms]
    return min(better or [plain], key=lambda c: (c.loss, c.relative_difference))
