"""An ONNX file opened in onnxruntime on the CPU, or a LiteRT file in its own runtime."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.export.samples import TensorSpec
from kerasnas.litert import LiteRTSession, open_litert

__all__ = ["AnySession", "Session", "open_file", "open_session"]

PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class Session:
    """An opened file: what goes in, what comes out, and a way to run it.

    Attributes:
        path: the file.
        inputs: name, shape (None for a free dimension) and NumPy dtype of each input.
        outputs: names.
        output_specs: name, shape and NumPy dtype of each output.
        metadata: the file's metadata as text.
        onnxruntime_version: what runs it.
        handle: the `onnxruntime.InferenceSession`.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    output_specs: tuple[TensorSpec, ...]
    metadata: dict[str, str]
    onnxruntime_version: str
    handle: Any

    provider = PROVIDER

    def run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for one batch, in the order of `outputs`."""
        outputs: list[np.ndarray] = self.handle.run(None, arrays)
        return outputs

    def prepare(self, arrays: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
        """Return a call that runs this batch: the file takes the arrays as they are."""
        return partial(self.run, arrays)

    @property
    def runtime(self) -> str:
        """What runs the file, with its version."""
        return f"onnxruntime {self.onnxruntime_version}"

    @property
    def stored(self) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """Nothing for each input and output: `run` takes and gives what the file does."""
        return ({},) * len(self.inputs), ({},) * len(self.output_specs)

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest input value: `range` of the preprocessing in the metadata, (0, 1) where there is none."""
        try:
            low, high = map(float, json.loads(self.metadata.get("preprocessing", "null"))["range"])
        except (KeyError, TypeError, ValueError):
            return 0.0, 1.0
        return (low, high) if low < high else (0.0, 1.0)


AnySession = Session | LiteRTSession


def open_file(file: str | os.PathLike[str], *, threads: int = 1) -> AnySession:
    """Open a file in LiteRT if it ends in .tflite, else as `open_session` does."""
    path = Path(os.fspath(file))
    return open_litert(path, threads=threads) if path.suffix == ".tflite" else open_session(path, threads=threads)


def open_session(file: str | os.PathLike[str], *, threads: int = 1, plain: bool = False) -> Session:
    """Open an ONNX file in onnxruntime, on the CPU.

    Args:
        file: path to the file, or an `OnnxFile`.
        threads: that one operator may use, >= 1.
        plain: whether the graph is run node by node as it stands in the file, without optimisation for this machine.

    Returns:
        The opened file.

    Raises:
        InvalidArgument: if there is no such file.
        ExportMismatch: if onnxruntime cannot load it.
    """
    import onnxruntime

    path = Path(os.fspath(file))
    if not path.is_file():
        raise InvalidArgument(f"Expected an ONNX file at {path}, got nothing. Make one with kerasnas.export.to_onnx.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # failures are raised, and need not be printed as well
    try:
        handle = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except Exception as error:
        raise ExportMismatch(
            f"Expected a file that onnxruntime {onnxruntime.__version__} can load, but {path.name} stopped it: {error}"
        ) from error
    return Session(
        path=path,
        inputs=_specs(handle.get_inputs()),
        outputs=tuple(node.name for node in handle.get_outputs()),
        output_specs=_specs(handle.get_outputs()),
        metadata=dict(handle.get_modelmeta().custom_metadata_map),
        onnxruntime_version=onnxruntime.__version__,
        handle=handle,
    )


def _specs(nodes: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple((node.name, _shape(node.shape), _dtype(node.type)) for node in nodes)


def _shape(dimensions: list[Any]) -> tuple[int | None, ...]:
    return tuple(length if isinstance(length, int) else None for length in dimensions)


def _dtype(onnx_type: str) -> str:
    """Return the NumPy name of a type such as "tensor(float)"."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
