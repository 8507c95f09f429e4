"""The outcome of a quantisation: what was tried, what was measured, and what was picked: frozen records."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Quantization", "QuantizationCandidate"]


@dataclass(frozen=True)
class QuantizationCandidate:
    """One format of a file, as it was measured.

    Attributes:
        name: of the format; "float32" is the file as it was.
        size_bytes: size of the file, bytes.
        gzip_bytes: its size after gzip at level 9, bytes.
        latency_ms: median of one call with one sample on one thread, milliseconds; the least of several rounds.
        agreement: share of samples with the same class as the float file, in [0, 1]: the largest column, or whether the only
            one, if it is the probability of a sigmoid or there are labels, lies above its threshold; of any other output 1
            minus its relative difference, at least 0; the least over outputs and batch sizes.
        relative_difference: root mean square difference from the float file over the standard deviation of its outputs;
            the largest over outputs and batch sizes.
        accuracy: share of samples whose label is that class, in [0, 1], or None without labels.
        loss: of accuracy where there are labels, else of agreement; against the float file.
        kernels: operator -> how many onnxruntime runs after it has fused what it can on this machine.
        fused: "n of m": of the operators with weights, recurrent layers among them, how many run in 8 bits; empty where none
            was to.
        left_in_float: names of the nodes that the file leaves in float because they hurt. onnxruntime may fuse one with the
            rounding before and after it, and run it in 8 bits all the same: then `fused` counts it, and so it was measured.
        failure: why there is no such file, or None; then the figures are NaN or 0.
    """

    name: str
    size_bytes: int
    gzip_bytes: int
    latency_ms: float
    agreement: float
    relative_difference: float
    accuracy: float | None
    loss: float
    kernels: Mapping[str, int]
    fused: str
    left_in_float: tuple[str, ...] = ()
    failure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold; what was not measured becomes None."""
        plain = {key: None if value != value else value for key, value in self.__dict__.items()}  # NaN differs from itself
        return {**plain, "kernels": dict(self.kernels), "left_in_float": list(self.left_in_float)}


@dataclass(frozen=True)
class Quantization:
    """What was tried and what was picked; it stands wherever a path to the picked file does.

    Attributes:
        path: the picked file; the float file itself where nothing was better.
        chosen: the picked candidate.
        candidates: all of them, the float file first.
        goal: "latency", "size" or "accuracy".
        max_loss: largest loss that was accepted.
        reason: why this one, in a few sentences.
        instruction_set: what this machine's processor has for 8-bit arithmetic.
        n_calibration: samples that the ranges of the activations were found on.
        n_measured: other samples, on which agreement and accuracy were measured.
        onnxruntime_version: what made and ran the files.
    """

    path: Path
    chosen: QuantizationCandidate
    candidates: tuple[QuantizationCandidate, ...]
    goal: str
    max_loss: float
    reason: str
    instruction_set: str
    n_calibration: int
    n_measured: int
    onnxruntime_version: str

    def __fspath__(self) -> str:
        return str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        return {
            **self.__dict__,
            "path": str(self.path),
            "chosen": self.chosen.name,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def __str__(self) -> str:
        lines = [f"{'format':<28}{'kB':>9}{'ms':>9}{'agreement':>11}{'accuracy':>10}  8-bit operators"]
        for c in self.candidates:
            mark = "*" if c is self.chosen else " "
            if c.failure is not None:
                lines.append(f"{mark}{c.name:<27}  not made: {c.failure}")
                continue
            accuracy = "" if c.accuracy is None else f"{c.accuracy:.4f}"
            note = f", {len(c.left_in_float)} in float in the file" if c.left_in_float else ""
            figures = f"{c.size_bytes / 1000:>9.1f}{c.latency_ms:>9.3f}{c.agreement:>11.4f}{accuracy:>10}"
            lines.append(f"{mark}{c.name:<27}{figures}  {c.fused}{note}")
        return "\n".join([*lines, self.reason, f"The file: {self.path}"])
