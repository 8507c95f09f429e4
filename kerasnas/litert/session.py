"""A LiteRT file opened on the CPU."""

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.litert.facts import read_facts
from kerasnas.litert.quiet import quiet

__all__ = ["LiteRTSession", "open_litert"]


@dataclass(frozen=True)
class LiteRTSession:
    """An opened file: what goes in, what comes out, and a way to run it.

    Attributes:
        path: the file.
        inputs: name, shape (None for a free dimension) and NumPy dtype of each input as `run` takes it; what the file holds
            in integers goes in and comes out in real numbers.
        output_specs: name, shape and NumPy dtype of each output, likewise.
        facts: what the file says of itself, see `read_facts`.
        runtime: what runs it, with its version.
        handle: the interpreter.
        tensors: the interpreter's descriptions of the inputs, then of the outputs.
    """

    path: Path
    inputs: tuple[tuple[str, tuple[int | None, ...], str], ...]
    output_specs: tuple[tuple[str, tuple[int | None, ...], str], ...]
    facts: Mapping[str, Any]
    runtime: str
    handle: Any
    tensors: tuple[Mapping[str, Any], ...]

    provider = "XNNPACK"  # and LiteRT's own kernels for what it does not take

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(name for name, _, _ in self.output_specs)

    @property
    def stored(self) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
        """Of each input, and of each output: how the file holds it, where integers stand for real numbers; else empty."""
        rows = tuple(map(_stored, self.tensors))
        return rows[: len(self.inputs)], rows[len(self.inputs) :]

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, as texts of JSON: `labels`, `preprocessing`, `quantization` and more."""
        return {key: json.dumps(value) for key, value in self.facts.items() if value is not None}

    def run(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for one batch, in the order of `output_specs`; the batch size may change from call to call."""
        held = self.prepare(arrays)()
        return [_to_reals(array, tensor) for array, tensor in zip(held, self.tensors[len(self.inputs) :], strict=True)]

    def prepare(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
        """Return a call that runs this batch and gives all outputs as the file holds them, integers where it holds those.

        What is no work of the network is done before: converting to the integers of the file, and making room. The call
        is good until another batch is prepared or run.
        """
        # By place: converting changes neither the number of inputs nor their order.
        given = [
            (tensor["index"], _to_tensor(arrays[name], tensor))
            for (name, _, _), tensor in zip(self.inputs, self.tensors, strict=False)
        ]
        shapes = {detail["index"]: tuple(detail["shape"]) for detail in self.handle.get_input_details()}
        if any(shapes[index] != array.shape for index, array in given):
            for index, array in given:
                self.handle.resize_tensor_input(index, array.shape)
            with quiet():  # says on standard error that it makes a delegate
                self.handle.allocate_tensors()
        taken = [tensor["index"] for tensor in self.tensors[len(self.inputs) :]]

        def call() -> list[np.ndarray]:
            for index, array in given:
                self.handle.set_tensor(index, array)
            self.handle.invoke()
            return [self.handle.get_tensor(index) for index in taken]

        return call

    @property
    def value_range(self) -> tuple[float, float]:
        """Lowest and highest input value: `range` of the preprocessing in the facts, (0, 1) where there is none."""
        try:
            low, high = map(float, self.facts["preprocessing"]["range"])
        except (KeyError, TypeError, ValueError):
            return 0.0, 1.0
        return (low, high) if low < high else (0.0, 1.0)


def open_litert(path: Path, *, threads: int = 1, plain: bool = False) -> LiteRTSession:
    """Open a LiteRT file, in ai_edge_litert if it is installed, else in the interpreter that TensorFlow still holds.

    Args:
        path: the file.
        threads: that one operator may use, >= 1.
        plain: whether LiteRT's own kernels compute all of it, without XNNPACK.

    Raises:
        InvalidArgument: if there is no such file.
        ExportMismatch: if the interpreter cannot load it.
    """
    if not path.is_file():
        raise InvalidArgument(f"Expected a LiteRT file at {path}, got nothing. Make one with kerasnas.export.to_litert.")
    interpreter, runtime = _interpreter(plain)
    try:
        with quiet():
            handle = interpreter(model_path=str(path), num_threads=threads)
            handle.allocate_tensors()
    except Exception as error:
        raise ExportMismatch(f"Expected a file that {runtime} can load, but {path.name} stopped it: {error}") from error
    facts = read_facts(path)
    inputs, outputs = _named(handle, "input", facts), _named(handle, "output", facts)
    return LiteRTSession(
        path=path,
        inputs=tuple((name, _shape(tensor), _dtype(tensor)) for name, tensor in inputs),
        output_specs=tuple((name, _shape(tensor), _dtype(tensor)) for name, tensor in outputs),
        facts=facts,
        runtime=runtime,
        handle=handle,
        tensors=tuple(tensor for _, tensor in [*inputs, *outputs]),
    )


def _interpreter(plain: bool) -> tuple[Callable[..., Any], str]:
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        import tensorflow as tf

        def deprecated(**settings: Any) -> Any:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated", category=UserWarning
                )
                return tf.lite.Interpreter(**settings)

        make, kinds, runtime = deprecated, tf.lite.experimental.OpResolverType, f"TensorFlow Lite {tf.__version__}"
    else:
        make, kinds, runtime = interpreter.Interpreter, interpreter.OpResolverType, f"LiteRT {version('ai-edge-litert')}"
    resolver = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else kinds.AUTO
    return partial(make, experimental_op_resolver_type=resolver), runtime


def _named(handle: Any, kind: str, facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return (name, tensor) for each input or output: the names of the Keras model, else those of the signature or the file."""
    tensors = {tensor["name"]: tensor for tensor in getattr(handle, f"get_{kind}_details")()}
    for signature in handle.get_signature_list():
        runner = handle.get_signature_runner(signature)
        tensors = getattr(runner, f"get_{kind}_details")()
        break
    names = facts.get(f"{kind}s") or {}
    ordered = [name for name in names if name in tensors] or list(tensors)
    return [(names.get(name, name), tensors[name]) for name in ordered]


def _shape(tensor: Mapping[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if length < 0 else int(length) for length in tensor["shape_signature"])


def _dtype(tensor: Mapping[str, Any]) -> str:
    return "float32" if tensor["quantization"][0] else np.dtype(tensor["dtype"]).name


def _stored(tensor: Mapping[str, Any]) -> dict[str, Any]:
    scale, zero_point = tensor["quantization"]
    if not scale:
        return {}
    return {"dtype": np.dtype(tensor["dtype"]).name, "scale": float(scale), "zero_point": int(zero_point)}


def _to_tensor(array: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    if not scale:
        return array.astype(tensor["dtype"])
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.round(array / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def _to_reals(array: np.ndarray, tensor: Mapping[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    return np.asarray((array.astype("float32") - zero_point) * np.float32(scale)) if scale else array
