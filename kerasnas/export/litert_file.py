"""What an exported LiteRT file is: a frozen record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasnas.export.verification import Verification
from kerasnas.litert.facts import read_facts
from kerasnas.litert.operators import operators
from kerasnas.litert.session import open_litert

__all__ = ["ATOL", "LiteRTFile"]

# Largest difference from Keras that is allowed unless another one is asked for; of whole numbers another measure tells.
ATOL = {"float32": 1e-4, "float16": 1e-2}


@dataclass(frozen=True)
class LiteRTFile:
    """A verified LiteRT file on disk; it stands wherever a path to the file does.

    Attributes:
        path: where the file lies.
        format: "float32", "float16", "int8" or "int16".
        inputs: name -> shape, in the order of the model; None is a free dimension.
        outputs: names.
        operators: operator -> how often it stands in the file: what an interpreter for microcontrollers must know.
        size_bytes: size of the file, bytes.
        labels: names of the classes in the order of the output's columns, or None.
        verification: how far the file was measured to be from its Keras model.
        accuracy: of the file on the samples that it was verified on, a share in [0, 1]; None without classes `y`.
        keras_accuracy: of the Keras model on the same samples.
    """

    path: Path
    format: str
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    operators: Mapping[str, int]
    size_bytes: int
    labels: tuple[str, ...] | None
    verification: Verification
    accuracy: float | None
    keras_accuracy: float | None

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def of(
        cls,
        file: Path,
        format: str,
        verification: Verification,
        path: Path | None = None,
        *,
        accuracy: float | None = None,
        keras_accuracy: float | None = None,
    ) -> "LiteRTFile":
        """Return the record of a file, which will lie at `path`; where it is by default."""
        session, labels = open_litert(file), read_facts(file).get("labels")
        return cls(
            path=path or file,
            format=format,
            inputs={name: shape for name, shape, _ in session.inputs},
            outputs=session.outputs,
            operators=operators(file.read_bytes()),
            size_bytes=file.stat().st_size,
            labels=None if labels is None else tuple(labels),
            verification=verification,
            accuracy=accuracy,
            keras_accuracy=keras_accuracy,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        return {
            **self.__dict__,
            "path": str(self.path),
            "inputs": {name: list(shape) for name, shape in self.inputs.items()},
            "outputs": list(self.outputs),
            "operators": dict(self.operators),
            "labels": None if self.labels is None else list(self.labels),
            "verification": self.verification.to_dict(),
        }

    def __str__(self) -> str:
        lines = [f"{self.path}, {self.size_bytes / 1000:.1f} kB, {self.format}", f"  {self.verification}"]
        if self.accuracy is not None:
            lines.append(f"  accuracy {self.accuracy:.4f}, the Keras model {self.keras_accuracy:.4f}")
        return "\n".join([*lines, f"  operators: {', '.join(self.operators)}"])
