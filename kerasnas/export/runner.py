"""A file of any format, opened so that it can be run: what the formats have in common."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.export.benchmark import Latency, benchmark
from kerasnas.export.samples import TensorSpec
from kerasnas.export.session import open_file, open_session
from kerasnas.litert import open_litert, operators

__all__ = ["FORMATS", "FileFormat", "Runner", "format_of"]


class Runner(Protocol):
    """An opened file; `kerasnas.export.session.Session` is one."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape (None for a free dimension) and NumPy dtype of each input."""

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and NumPy dtype of each output."""

    @property
    def stored(self) -> tuple[Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
        """Of each input, and each output: `dtype`, `scale`, `zero_point` of the file's own integers; empty for real numbers."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata as text: `labels`, `preprocessing` and `quantization` hold JSON."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest input value."""

    @property
    def runtime(self) -> str:
        """What runs the file, with its version."""

    def run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for one batch, in the order of `output_specs`."""


@dataclass(frozen=True)
class FileFormat:
    """How files of one format are run.

    Attributes:
        name: of the format.
        open: opens a file; with plain=True by the runtime's plainest arithmetic, without optimisation for this machine.
        facts: what else a certificate says of a file, under these keys.
        latency: measures a file, on samples of the given shapes by input; None where nothing does.
    """

    name: str
    open: Callable[..., Runner]
    facts: Callable[[Path], dict[str, Any]]
    latency: Callable[..., Latency] | None


def _onnx_facts(path: Path) -> dict[str, Any]:
    import onnx

    proto = onnx.load(path, load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        raise InvalidArgument(f"Expected a file that holds its weights, but {path.name} keeps some in another. Merge them.")
    return {"opset": max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))}


def _litert_facts(path: Path) -> dict[str, Any]:
    return {"operators": operators(path.read_bytes())}


def _latency(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> Latency:
    """Measure three times; the quietest counts, since nothing makes a file faster than it is."""
    fixed = [shape[0] for _, shape, _ in open_file(path).inputs if shape and shape[0] is not None]
    rounds = (benchmark(path, batch_size=fixed[0] if fixed else 1, repeats=100, shapes=shapes) for _ in range(3))
    return min(rounds, key=lambda latency: latency.median_ms)


# A format is a row here, by the end of its files' names.
FORMATS: dict[str, FileFormat] = {
    ".onnx": FileFormat("onnx", open_session, _onnx_facts, _latency),
    ".tflite": FileFormat("litert", open_litert, _litert_facts, _latency),
}


def format_of(file: str | os.PathLike[str]) -> FileFormat:
    """Return the format of a file by the end of its name.

    Raises:
        InvalidArgument: if it is none that can be run here.
    """
    path = Path(os.fspath(file))
    if path.suffix not in FORMATS:
        raise InvalidArgument(
            f"Expected a file that ends in {' or '.join(FORMATS)}, got {str(path)!r}. Export the model first."
        )
    return FORMATS[path.suffix]
