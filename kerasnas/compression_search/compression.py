"""What came of a compression search: every file as it was measured, and the one that was chosen: frozen records."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasnas.atomic import atomic_path
from kerasnas.compression_search.goal import Goal
from kerasnas.errors import InvalidArgument
from kerasnas.pareto import pareto_front

if TYPE_CHECKING:
    import keras

    from kerasnas.compress import ScratchControl

__all__ = ["Candidate", "Compression", "file_name", "front_of", "gain_caveat", "loss_text", "times"]


@dataclass(frozen=True)
class Candidate:
    """One file: a network, pruned or not, in one format.

    Attributes:
        trial: number of the network; 0 is the original.
        format: "float32", a name from `kerasnas.export.quantization_formats.FORMATS`, or "LiteRT int8" and the like.
        size_bytes: size of the file, bytes.
        gzip_bytes: its size after gzip at level 9, bytes.
        latency_ms: median of one call with one sample on one thread, milliseconds; the quietest of several rounds.
        original_ms: the same of the original's float file in the same rounds.
        accuracy: share of the held-out samples that the file gets right, in [0, 1].
        loss: how much less that is than of the original's float file; negative where it is more.
        loss_error: standard error of `loss`, from the samples on which the two disagree and one more in each direction; 0 of
            the original's float file.
        parameters: numbers in the weights.
        macs: multiply-accumulates for one sample.
        original_bytes: size of the original's float file.
    """

    trial: int
    format: str
    size_bytes: int
    gzip_bytes: int
    latency_ms: float
    original_ms: float
    accuracy: float
    loss: float
    loss_error: float
    parameters: int
    macs: int
    original_bytes: int

    @property
    def reduction(self) -> float:
        """How many times smaller than the original's float file."""
        return self.original_bytes / self.size_bytes

    @property
    def speedup(self) -> float:
        """How many times as fast as the original's float file, measured side by side."""
        return self.original_ms / self.latency_ms

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        return dict(self.__dict__)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Candidate":
        """Return the candidate that `to_dict` told of."""
        return cls(**{field.name: content[field.name] for field in fields(cls)})


def file_name(stem: str, format: str) -> str:
    """Return what a file in a format is called: "3-U8S8.onnx", "3-LiteRT-int8.tflite"."""
    return f"{stem}-{format.replace(' ', '-')}.{'tflite' if format.startswith('LiteRT') else 'onnx'}"


def front_of(candidates: list[Candidate]) -> list[Candidate]:
    """Return the candidates that no other beats in accuracy, size and latency together, the smallest first."""
    scores = [(c.accuracy, -c.size_bytes, -c.latency_ms / c.original_ms) for c in candidates]
    front = [candidates[int(i)] for i in pareto_front(np.asarray(scores).reshape(len(scores), 3))] if scores else []
    return sorted(front, key=lambda c: c.size_bytes)


@dataclass(frozen=True, eq=False)
class Compression:
    """What `compress` found; it stands wherever a path to the chosen file does.

    Attributes:
        path: the chosen file: .onnx, or .tflite if it is one of LiteRT.
        model: its network in Keras, in float32.
        goal: what was asked for; None if it was one network.
        original: the original's float file.
        chosen: the chosen candidate.
        rows: every file that was measured.
        pareto: the files that are kept and that no other of them beats in accuracy, size and latency together, the smallest
            first. A file goes when another beats it; latencies that are measured again may tell the two apart otherwise.
        settings: how the chosen network was made: ratios, importance, fine-tuning.
        n_held_out: samples that the candidates were judged on; no candidate was trained on them.
        control: the chosen network beside one of its size from scratch; None without pruning, or if it was not asked for.
        test: "original", "chosen" accuracy, "loss", "loss_error" and "n" on test data that chose nothing; None without.
        reason: why this one, in a few sentences.
        seconds: that the search took.
        sha256: of the chosen file; a later search in the same directory puts another at `path`.
        replaces: a sentence on the file of an earlier goal that lay at `path`; None if there was none.
    """

    path: Path
    model: "keras.Model"
    goal: Goal | None
    original: Candidate
    chosen: Candidate
    rows: tuple[Candidate, ...]
    pareto: tuple[Candidate, ...]
    settings: Mapping[str, Any]
    n_held_out: int
    control: "ScratchControl | None"
    test: Mapping[str, float] | None
    reason: str
    seconds: float
    sha256: str | None = None
    replaces: str | None = None

    @property
    def keeps_bounds(self) -> bool:
        """Whether the chosen file keeps the bounds of the goal; without a goal there are none."""
        return self.goal is None or not self.goal.excess(self.chosen)

    def __fspath__(self) -> str:
        return str(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold; candidates are told by their place in `rows`."""
        return {
            "path": self.path.name,
            "sha256": self.sha256,
            "goal": None if self.goal is None else self.goal.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
            "original": self.rows.index(self.original),
            "chosen": self.rows.index(self.chosen),
            "pareto": [self.rows.index(row) for row in self.pareto],
            "settings": dict(self.settings),
            "n_held_out": self.n_held_out,
            "control": None if self.control is None else self.control.to_dict(),
            "test": None if self.test is None else dict(self.test),
            "reason": self.reason,
            "seconds": self.seconds,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Draw all files by size and accuracy, the front, the original and the chosen one marked, as a .png or .svg file.

        Raises:
            InvalidArgument: if `path` ends otherwise.
        """
        from matplotlib.figure import Figure

        from kerasnas.compression_search.chart import draw

        path = Path(path)
        if path.suffix.lower() not in (".png", ".svg"):
            raise InvalidArgument(f"Expected a path that ends in .png or .svg, got {str(path)!r}.")
        figure = Figure(figsize=(7.6, 4.2), dpi=120, layout="constrained")
        draw(figure.subplots(), self.to_dict())
        with atomic_path(path) as draft:
            figure.savefig(draft)
        return path

    def __str__(self) -> str:
        """Return the front as a table, and what is to be said of the chosen file."""
        head = f"{'file':<32}{'accuracy':>9}{'loss, points':>15}{'kB':>9}{'smaller':>9}{'gzip kB':>9}{'ms':>9}{'faster':>8}"
        lines = [f"{head}{'parameters':>12}{'MACs':>9}"]
        shown = [self.original, *(row for row in self.pareto[::-1] if row is not self.original)]
        for row in shown if self.chosen in shown else [*shown, self.chosen]:
            name = f"{'original' if row.trial == 0 else f'network {row.trial}'}, {row.format}"
            loss = f"{100 * row.loss:.2f} ± {196 * row.loss_error:.2f}"
            lines.append(
                f"{'*' if row == self.chosen else ' '}{name:<31}{row.accuracy:>9.4f}{loss:>15}{row.size_bytes / 1000:>9.1f}"
                f"{row.reduction:>8.1f}x"
                f"{row.gzip_bytes / 1000:>9.1f}{row.latency_ms:>9.4f}{row.speedup:>7.1f}x{row.parameters:>12,}"
                f"{row.macs / 1e6:>8.2f}M"
            )
        lines.append(f"* {self.reason}")
        if self.replaces is not None:
            lines.append(self.replaces)
        if self.test is not None:
            lines.append(_test_text(self.test))
        if self.control is not None:
            lines.append(f"Same size from scratch: {self.control}.")
        return "\n".join(lines)


def loss_text(loss: float, error: float) -> str:
    """Return "a loss of 0.76 ± 0.80 points (95 %)", and of a negative loss "a gain of ..."."""
    what = "loss" if loss >= 0 else "gain"
    return f"a {what} of {100 * abs(loss):.2f} ± {196 * error:.2f} points (95 %)"


def gain_caveat(row: Candidate) -> str:
    """Return what is to be said of a pruned network that is better than the original; else nothing."""
    if row.trial == 0 or -row.loss <= 1.96 * row.loss_error:
        return ""
    return " It was trained for longer than the original, which might gain as much from that: train the original longer first."


def times(ratio: float, more: str, less: str) -> str:
    """Return "2.0 times faster", or "1.25 times slower" for 0.8."""
    return f"{ratio:.1f} times {more}" if ratio >= 1 else f"{1 / ratio:.2f} times {less}"


def _test_text(test: Mapping[str, float]) -> str:
    """Return the accuracies on test data as a sentence."""
    text = f"On {int(test['n']):,} test samples, which chose nothing: {test['original']:.4f} became {test['chosen']:.4f}"
    return f"{text}, {loss_text(test['loss'], test['loss_error'])}."
