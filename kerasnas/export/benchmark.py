"""How fast an ONNX or LiteRT file runs on this machine, and how large it is."""

import gzip
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.export.samples import draw_samples, shapes_of, shapes_text, with_shapes
from kerasnas.export.session import open_file

__all__ = ["Latency", "benchmark"]


@dataclass(frozen=True)
class Latency:
    """Measured latency of one call of a file, and its size.

    Attributes:
        median_ms: of the calls, milliseconds per call (not per sample).
        p90_ms: 90th percentile, milliseconds.
        mean_ms: milliseconds.
        batch_size: samples per call.
        repeats: calls measured.
        threads: that the runtime could use within one operator.
        size_bytes: size of the file, bytes.
        gzip_bytes: its size after gzip at level 9, which is what a download costs, bytes.
        runtime: what ran the file, with its version.
        provider: the execution provider of onnxruntime, or the delegate of LiteRT.
        machine: processor architecture and operating system.
        shapes: shape of one sample as it was timed, by input; of the inputs that leave sizes free, on which the time depends.
    """

    median_ms: float
    p90_ms: float
    mean_ms: float
    batch_size: int
    repeats: int
    threads: int
    size_bytes: int
    gzip_bytes: int
    runtime: str
    provider: str
    machine: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold."""
        return dict(self.__dict__)

    def __str__(self) -> str:
        return (
            f"median {self.median_ms:.3g} ms, p90 {self.p90_ms:.3g} ms per call of {self.batch_size}{shapes_text(self.shapes)} "
            f"({self.repeats} calls, {self.threads} thread(s), {self.runtime} on "
            f"{self.machine}); {self.size_bytes / 1000:.1f} kB, {self.gzip_bytes / 1000:.1f} kB gzipped"
        )


def benchmark(
    file: str | os.PathLike[str],
    *,
    batch_size: int = 1,
    repeats: int = 200,
    threads: int = 1,
    warmup: int = 20,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Latency:
    """Measure the latency of an ONNX or LiteRT file on the CPU, and its size.

    Each call is timed by itself on random samples (see `verify`); loading and the first `warmup` calls do not count, nor does
    converting real numbers to and from the integers of a LiteRT file, which is done in Python here.
    Latency depends on the machine and on what else runs there: compare only what was measured side by side.

    Args:
        file: path to the file, or an `OnnxFile` or `LiteRTFile`; one that ends in .tflite runs in LiteRT.
        batch_size: samples per call, >= 1.
        repeats: calls to measure, >= 1.
        threads: that the runtime may use within one operator, >= 1.
        warmup: calls before measuring, >= 0.
        shapes: shape of one sample, by input, for inputs that leave sizes free; 32 stands for what is free otherwise.

    Returns:
        Latency in milliseconds and sizes in bytes.

    Raises:
        InvalidArgument: if a number is out of its range, the file is missing, or it does not take this batch size or shape.
        ExportMismatch: if the runtime cannot load the file.

    Example:
        >>> print(benchmark("digits.onnx"))  # doctest: +SKIP
        median 0.05 ms, p90 0.052 ms per call of 1 (200 calls, 1 thread(s), onnxruntime 1.31.0 on x86_64 Linux); ...
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("repeats", repeats, 1),
        ("threads", threads, 1),
        ("warmup", warmup, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise InvalidArgument(f"Expected {name} to be a whole number >= {least}, got {value!r}. Pass one.")
    session = open_file(file, threads=threads)
    for name, shape, _ in session.inputs:
        if shape and shape[0] not in (None, batch_size):
            raise InvalidArgument(
                f"Expected a file that runs at batch size {batch_size}, but input {name!r} is fixed to {shape[0]}. "
                f"Pass batch_size={shape[0]}, or export a model with a free batch."
            )
    specs = with_shapes(session.inputs, shapes or {})
    samples = draw_samples(specs, batch_size, value_range=session.value_range)
    feed = {name: array for (name, _, _), array in zip(session.inputs, samples, strict=True)}
    call = session.prepare(feed)
    for _ in range(warmup):
        call()
    times_ms = np.empty(repeats)
    for i in range(repeats):
        start = time.perf_counter_ns()
        call()
        times_ms[i] = (time.perf_counter_ns() - start) / 1e6
    content = session.path.read_bytes()
    return Latency(
        median_ms=float(np.median(times_ms)),
        p90_ms=float(np.percentile(times_ms, 90)),
        mean_ms=float(np.mean(times_ms)),
        batch_size=batch_size,
        repeats=repeats,
        threads=threads,
        size_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
        runtime=session.runtime,
        provider=session.provider,
        machine=f"{platform.machine()} {platform.system()}",
        shapes=shapes_of(session.inputs, samples),
    )
