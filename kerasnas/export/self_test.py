"""A few fixed samples and what a file gave for them, so that a device can check itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasnas.errors import ExportMismatch
from kerasnas.export.runner import Runner
from kerasnas.export.samples import TensorSpec, numpy_dtype

__all__ = ["fixed_samples", "record_self_test", "self_test_difference"]

_SAMPLES = 3
_NUMBERS = 64  # of each output that are kept
_FREE_SIZE = 32
_LEAST_ATOL = 1e-4
_MOST_SPREAD = 32  # the tolerance, four times the spread, stays below an eighth of the largest output
_SEED = 0


def fixed_samples(
    specs: Sequence[TensorSpec], n_samples: int, *, value_range: Sequence[float], seed: int = 0
) -> list[np.ndarray]:
    """Return one array for each input, by arithmetic that any language does alike.

    Element k, counted from 0 through an array in row-major order, is low + (high - low) * u(k), in double precision, then in
    the input's dtype. u(k) = fmix32(k + 1 + seed * 0x9E3779B9) / 2**32, all modulo 2**32. Of whole-number inputs it is
    lowest + floor(u(k) * (highest - lowest + 1)) over the whole numbers of the range, of booleans u(k) >= 0.5, of texts the
    digit floor(10 * u(k)). A free dimension other than the first gets size 32.

    Args:
        specs: name, shape and dtype of each input; the first dimension is the batch.
        n_samples: samples per input.
        value_range: lowest and highest value.
        seed: a whole number >= 0.

    Returns:
        Arrays of shape (n_samples, ...).

    Source:
        fmix32 is the end of MurmurHash3 (Appleby, public domain).
    """
    low, high = map(float, value_range)
    arrays = []
    for _, shape, dtype in specs:
        size = (n_samples, *(_FREE_SIZE if length is None else length for length in shape[1:]))
        u = _hashed(int(np.prod(size)), seed).reshape(size) / 2.0**32
        values: np.ndarray
        if dtype == "string":
            values = np.floor(u * 10).astype(int).astype(str)
        elif dtype == "bool":
            values = u >= 0.5
        elif np.issubdtype(np.dtype(dtype), np.integer):
            lowest = int(np.ceil(low))
            values = lowest + np.floor(u * (max(lowest, int(np.floor(high))) - lowest + 1))
        else:
            values = low + (high - low) * u
        arrays.append(values.astype(numpy_dtype(dtype)))
    return arrays


def _hashed(count: int, seed: int) -> np.ndarray:
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed * 0x9E3779B9 % 2**32)) & mask
    h = ((h ^ (h >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & mask
    h = ((h ^ (h >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & mask
    return h ^ (h >> np.uint64(16))


def record_self_test(runner: Runner, plain: Runner, *, lossy: bool = False) -> dict[str, Any]:
    """Run the fixed samples; return them and what came as plain values that JSON can hold.

    Args:
        runner: the file as it runs on this machine.
        plain: the same file without optimisation for this machine: how far the two lie apart says what is to be expected of
            another machine, above all of 8-bit arithmetic.
        lossy: whether the file is quantised: then a step of 8 bits is allowed, since other processors round otherwise.

    Raises:
        ExportMismatch: if the file does not run, gives NaN or infinity, or, unless quantised, gives something else without
            optimisation, by more than a 32nd of its largest output.
    """
    fixed = [shape[0] for _, shape, _ in runner.inputs if shape and shape[0] is not None]
    batch = int(fixed[0]) if fixed else 1  # one at a time, as a device does, unless the file wants more
    test: dict[str, Any] = {
        "seed": _SEED,
        "samples": max(_SAMPLES // batch, 1) * batch,
        "batch_size": batch,
        "range": list(runner.value_range),
    }
    came, plainly = _outputs(runner, test), _outputs(plain, test)
    spread = max(float(np.max(np.abs(y - z), initial=0.0)) for y, z in zip(came, plainly, strict=True))
    largest = max(float(np.max(np.abs(y), initial=0.0)) for y in came)
    if not lossy and spread > max(_LEAST_ATOL, largest / _MOST_SPREAD):
        raise ExportMismatch(
            "Expected a file of real numbers that gives much the same by optimised and by plain arithmetic, but on the fixed "
            f"samples they differ by {spread:.3g}, where the largest output is {largest:.3g}. No other machine could be held "
            "to such outputs: look for a layer that blows up small differences, or inputs outside the range of preprocessing."
        )
    test["atol"] = max(_LEAST_ATOL * max(1.0, largest), 4 * spread, largest / 128 if lossy else 0.0)
    if lossy:  # or nothing that the file could give would be too far
        test["atol"] = min(test["atol"], largest / 2) if largest else test["atol"]
    test["outputs"] = {}
    for (name, _, _), y in zip(runner.output_specs, came, strict=True):
        places = np.unique(np.linspace(0, y.size - 1, min(y.size, _NUMBERS)).round().astype(int))
        flat = y.reshape(-1)
        test["outputs"][name] = {
            "shape": list(y.shape),
            "places": places.tolist(),
            "values": flat[places].tolist(),
            "mean": float(np.mean(flat)) if flat.size else 0.0,
        }
    return test


def self_test_difference(runner: Runner, test: Mapping[str, Any]) -> float:
    """Return how far the file's outputs are from the recorded ones, at most, in the units of the outputs.

    Raises:
        ExportMismatch: if the file does not run, gives NaN or infinity, or outputs of other names or shapes.
    """
    worst = 0.0
    came = dict(zip((name for name, _, _ in runner.output_specs), _outputs(runner, test), strict=True))
    for name, expected in test["outputs"].items():
        if name not in came:
            raise ExportMismatch(f"Expected the output {name!r}, the file has {sorted(came)}. Export the model again.")
        y = came[name]
        if list(y.shape) != list(expected["shape"]):
            raise ExportMismatch(f"Expected {name!r} of shape {list(expected['shape'])}, got {list(y.shape)}.")
        flat = y.reshape(-1)
        differences = [*np.abs(flat[list(expected["places"])] - np.asarray(expected["values"]))]
        worst = max([worst, *map(float, differences), abs(float(np.mean(flat)) - expected["mean"]) if flat.size else 0.0])
    return worst


def _outputs(runner: Runner, test: Mapping[str, Any]) -> list[np.ndarray]:
    arrays = fixed_samples(runner.inputs, test["samples"], value_range=test["range"], seed=test["seed"])
    batches = []
    for start in range(0, test["samples"], test["batch_size"]):
        rows = slice(start, start + test["batch_size"])
        feed = {name: array[rows] for (name, _, _), array in zip(runner.inputs, arrays, strict=True)}
        try:
            batches.append([np.asarray(y, "float64") for y in runner.run(feed)])
        except Exception as error:
            raise ExportMismatch(
                f"Expected a file that runs on the fixed samples, but {type(error).__name__}: {error}"
            ) from error
    outputs = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    if not all(np.all(np.isfinite(y)) for y in outputs):
        raise ExportMismatch("Expected finite outputs for the fixed samples, got NaN or infinity. Do not ship this file.")
    return outputs
