"""What an exported ONNX file is: a frozen record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasnas.export.verification import Verification

if TYPE_CHECKING:
    import onnx

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

    @classmethod
    def of(cls, file: Path, verification: Verification, path: Path | None = None) -> "OnnxFile":
        """Return the record of a file, which will lie at `path`; where it is by default."""
        import onnx

        proto = onnx.load(file, load_external_data=False)
        known = {entry.key: entry.value for entry in proto.metadata_props}
        return cls(
            path=path or file,
            opset=max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
            inputs={value.name: _shape(value) for value in proto.graph.input},
            outputs={value.name: _shape(value) for value in proto.graph.output},
            size_bytes=file.stat().st_size,
            labels=tuple(json.loads(known["labels"])) if "labels" in known else None,
            verification=verification,
        )

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

    def __str__(self) -> str:
        tensors = {**self.inputs, **self.outputs}
        shapes = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in tensors.items())
        return f"{self.path}, {self.size_bytes / 1000:.1f} kB, opset {self.opset}\n  {shapes}\n  {self.verification}"


def _shape(value: "onnx.ValueInfoProto") -> tuple[int | str, ...]:
    return tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
