"""The files of one network: all formats are made at once, run on the held-out samples and timed in turns."""

import gzip
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.scratch import paired_error
from kerasnas.compression_search.compression import Candidate, file_name
from kerasnas.cost import cost_of
from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.export import benchmark, to_litert, to_onnx
from kerasnas.export.file_classes import file_classes
from kerasnas.export.in_batches import at_once, run_in_batches
from kerasnas.export.quantization_formats import FORMATS, prepare, write_quantized
from kerasnas.export.quantization_measures import check_standard
from kerasnas.export.quantized_file import write_quantized_file
from kerasnas.export.samples import check_samples, shapes_of
from kerasnas.export.session import open_file, open_session
from kerasnas.search.disk import disk_full

__all__ = ["FORMATS_TRIED", "LEAST_BYTES", "LITERT", "Bench", "check_formats", "side_by_side"]

# Half precision, weights alone in 8 bits, and what 8-bit kernels there are: signed and unsigned activations; the dynamic ones
# are slow.
FORMATS_TRIED = ("float16", "int8 weights", "S8S8", "U8S8", "U8S8 reduce_range", "U8U8")
_BATCH, _REPEATS = 256, 60
# The formats of `to_litert`, by their names here.
LITERT: dict[str, Any] = {f"LiteRT {name}": name for name in ("float32", "float16", "int8", "int16")}
# Of a weight; the others take one.
LEAST_BYTES = {"float32": 4.0, "float16": 2.0, "LiteRT float32": 4.0, "LiteRT float16": 2.0}


def check_formats(formats: Sequence[str]) -> None:
    """Raise InvalidArgument unless all are formats that a file can be written in."""
    known = [*FORMATS, *LITERT]
    if isinstance(formats, str) or any(name not in known for name in formats):
        raise InvalidArgument(f"Expected formats from {known}, got {formats!r}; float32 is always among them.")


@dataclass(frozen=True, eq=False)
class Bench:
    """What the files of all networks are made with and judged by.

    Attributes:
        formats: beside float32.
        calibration: inputs that the ranges of 8-bit activations come from.
        x: held-out inputs.
        truth: their classes.
        rounds: how often each file is timed.
        export: arguments of `to_onnx`.
    """

    formats: Sequence[str]
    calibration: NDArray[Any]
    x: NDArray[Any]
    truth: NDArray[np.int64]
    rounds: int
    export: Mapping[str, Any]

    def write(self, model: keras.Model, folder: Path, stem: str) -> tuple[dict[str, Path], dict[str, str]]:
        """Write a network in all formats; return the files by format, and why others could not be made.

        Raises:
            KerasNASError: if not even the float file can be made.
        """
        plain = folder / f"{stem}-float32.onnx"
        to_onnx(model, plain, **{"x": self.calibration[:64], **self.export})
        files, failures = {"float32": plain}, {}
        session = open_session(plain)
        (samples,) = check_samples(session.inputs, self.calibration)
        named = {session.inputs[0][0]: samples}
        with tempfile.TemporaryDirectory(prefix="kerasnas-") as work:
            prepared, made = Path(work) / "prepared.onnx", Path(work) / "made.onnx"
            for name in self.formats:
                target = folder / file_name(stem, name)
                try:
                    if name in LITERT:
                        said = {key: value for key, value in self.export.items() if key in ("labels", "preprocessing")}
                        calibration = None if "float" in name else self.calibration
                        # How often it must agree is the goal's business, which judges it by its accuracy.
                        to_litert(model, target, format=LITERT[name], calibration=calibration, min_agreement=0.0, **said)
                        files[name] = target
                        continue
                    if not prepared.exists():
                        prepare(plain, prepared)
                    write_quantized(prepared, made, FORMATS[name], named)
                    check_standard(made)
                    write_quantized_file(made, target, session, {"format": name, "calibration_samples": len(samples)})
                    files[name] = target
                except Exception as error:  # of onnxruntime and LiteRT, any: the other formats remain
                    fullest = min((folder, Path(work)), key=lambda place: shutil.disk_usage(place).free)
                    if isinstance(error, OSError) and (full := disk_full(error, fullest)) is not None:
                        raise full from error
                    failures[name] = " ".join(str(error).split())[:200]
        return files, failures

    def right(self, file: Path, x: Any = None, truth: Any = None) -> NDArray[np.bool_]:
        """Return for each held-out (or given) sample whether the file gives its class.

        Raises:
            KerasNASError: if the file gives NaN.
        """
        session = open_file(file)
        (samples,) = check_samples(session.inputs, self.x if x is None else x)
        (scores,) = run_in_batches(session, [samples], at_once(session.metadata, min(_BATCH, len(samples))))
        if not np.isfinite(scores).all():
            raise KerasNASError(f"{file.name} gives NaN or infinity on the held-out samples.")
        return np.asarray(file_classes(file, scores) == (self.truth if truth is None else truth))

    def measure(
        self, model: keras.Model, files: Mapping[str, Path], trial: int, original: tuple[Path, NDArray[np.bool_]]
    ) -> tuple[list[Candidate], dict[str, str]]:
        """Return a candidate for each file, and why others failed; `original` is its float file, and what that gets right."""
        cost = cost_of(model)
        rows: dict[str, Candidate] = {}
        failures: dict[str, str] = {}
        for name, file in files.items():
            try:
                right = self.right(file)
            except KerasNASError as error:
                failures[name] = str(error)
                continue
            content = file.read_bytes()
            rows[name] = Candidate(
                trial=trial,
                format=name,
                size_bytes=len(content),
                gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
                latency_ms=float("nan"),
                original_ms=float("nan"),
                accuracy=float(right.mean()),
                loss=float(original[1].mean() - right.mean()),
                loss_error=0.0 if file.samefile(original[0]) else paired_error(original[1], right),
                parameters=cost.parameters,
                macs=cost.macs,
                original_bytes=original[0].stat().st_size,
            )
        timed = side_by_side({name: files[name] for name in rows}, original[0], self.rounds, self.x)
        return [replace(rows[name], latency_ms=ms, original_ms=base) for name, (ms, base) in timed.items()], failures


def side_by_side(files: Mapping[str, Path], original: Path, rounds: int, x: NDArray[Any]) -> dict[str, tuple[float, float]]:
    """Return the latency of each file and that of the original, milliseconds: in turns, the quietest of some rounds counts.

    Where a file leaves sizes free, those of the samples `x` are timed.
    """
    # Timed twice, the original would be faster or slower than itself.
    others = {name: file for name, file in files.items() if not file.samefile(original)}
    timed = {name: (file, shapes_of(open_file(file).inputs, [x])) for name, file in {**others, "": original}.items()}
    times = [
        {name: benchmark(file, repeats=_REPEATS, warmup=10, shapes=shapes).median_ms for name, (file, shapes) in timed.items()}
        for _ in range(rounds)
    ]
    least = {name: min(one[name] for one in times) for name in times[0]}
    return {name: (least.get(name, least[""]), least[""]) for name in files}
