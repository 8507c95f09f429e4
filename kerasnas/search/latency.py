"""How long one sample takes on this machine, measured before a network is trained."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras

from kerasnas.errors import InvalidArgument
from kerasnas.export.convert import convert
from kerasnas.export.functional_view import functional_view
from kerasnas.export.samples import draw_samples
from kerasnas.export.session import open_session
from kerasnas.export_checks import check_computation

__all__ = ["measure_latency"]

_OPSET = 17
_BURSTS = 10
_BURST_S, _PAUSE_S = 0.04, 0.02


def measure_latency(model: keras.Model, *, runs: int = 20, threads: int = 1) -> float:
    """Measure how long onnxruntime takes for one sample on this machine's CPU, in milliseconds.

    The model is converted to ONNX and run on one random sample for about half a second, in ten bursts with pauses between them.
    It need not be trained: the values of weights do not matter.

    The result is the fastest call. Whatever else the machine does can only add to a call, and a neighbour on the same core
    adds about half to all calls for as long as it stays; so means and medians tell of the neighbours, and the fastest of
    many calls, spread over time, of the network. Compare only what was measured on one machine.

    Args:
        model: a built Functional or Sequential model that computes in float32 (or float64).
        runs: fewest calls to time, >= 10; a fast network is called more often.
        threads: that onnxruntime may use within one operator, >= 1.

    Returns:
        Milliseconds of one call with one sample.

    Raises:
        InvalidArgument: if a number is out of its range, the model cannot be exported, or Keras does not run on TensorFlow.
        KerasNASError: if an operator has no counterpart in ONNX.
    """
    for name, value, least in (("runs", runs, 10), ("threads", threads, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidArgument(f"Expected `{name}` to be a whole number >= {least}, got {value!r}.")
    if keras.config.backend() != "tensorflow":
        raise InvalidArgument(
            "Expected Keras to run on TensorFlow, through which a model is converted to measure its latency, got "
            f"{keras.config.backend()!r}. Limit macs or activation_bytes instead of latency_ms, or start the process with "
            "KERAS_BACKEND=tensorflow."
        )
    view = functional_view(model)
    check_computation(model)
    proto = convert(view, opset=_OPSET)
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        session = open_session(path, threads=threads)
    samples = draw_samples(session.inputs, 1)
    feed = {name: array for (name, _, _), array in zip(session.inputs, samples, strict=True)}
    session.run(feed)
    fastest_ns = min(_burst(lambda: session.run(feed), -(-runs // _BURSTS)) for _ in range(_BURSTS))
    return fastest_ns / 1e6


def _burst(call: Callable[[], object], runs: int) -> int:
    """Return the nanoseconds of the fastest of at least `runs` calls, the first of which, after a pause, only warms up."""
    time.sleep(_PAUSE_S)
    call()
    times: list[int] = []
    begin = time.perf_counter_ns()
    while len(times) < runs or time.perf_counter_ns() - begin < _BURST_S * 1e9:
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return min(times)
