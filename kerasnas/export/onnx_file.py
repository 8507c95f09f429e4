"""What an exported ONNX file is: a frozen record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasnas.export.verification import Verification

__all__ = ["OnnxFile"]


@dataclass(frozen=True)
class OnnxFile:
    """A verified ONNX file on disk; it stands wherever a path to the file does.

    Attributes:
        path: where the file lies.
        opset: version of the standard ONNX operators that it uses.
        inputs: name -> shape, in the order of the model; a dimension that is free is a name, the first one "batch".
        outputs: name -> shape, likewise.
        size_bytes: size of the file, bytes.
        labels: names of the classes in the order of the output's columns, or None.
        verification: how far the file was measured to be from its Keras model.
    """

    path: Path
    opset: int
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    size_bytes: int
    labels: tuple[str, ...] | None
    verification: Verification

    def __fspath__(self) -> str:
        return str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        return {
            "path": str(self.path),
            "opset": self.opset,
            "inputs": {name: list(shape) for name, shape in self.inputs.items()},
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
            "size_bytes": self.size_bytes,
            "labels": None if self.labels is None else list(self.labels),
            "verification": self.verification.to_dict(),
        }
