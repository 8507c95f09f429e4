"""A classifier in an ONNX or LiteRT file, run on the CPU."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.decided_classes import single_threshold
from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.litert import makers, open_litert, read_facts

__all__ = ["FileClassifier", "FileInput"]

_KINDS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
# What leaves answers as far apart as they were.
_PASSING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


@dataclass(frozen=True)
class FileInput:
    """What a file takes.

    Attributes:
        name: of the input.
        shape: with the batch first; None for a size that is free.
        kind: its type as the file's format calls it, such as "tensor(float)" in ONNX.
        dtype: that type in NumPy; None if it has none of numbers.
    """

    name: str
    shape: tuple[int | None, ...]
    kind: str
    dtype: np.dtype[Any] | None


@dataclass(frozen=True)
class _Opened:
    inputs: tuple[FileInput, ...]
    outputs: tuple[str, ...]
    run: Callable[[dict[str, np.ndarray]], Any]
    rounding: float
    sigmoid: bool


class FileClassifier:
    """An ONNX or LiteRT file with one output; a file of a fixed batch size is given copies of the last sample to fill it.

    Args:
        path: of the file, or what stands for one (`OnnxFile`, `LiteRTFile`); a name that ends in .tflite is LiteRT.

    Attributes:
        path: of the file.
        inputs: what it takes, in its order; LiteRT's integers that stand for real numbers are taken as those.
        rounding: how far answers lie apart at least, for a LiteRT file that answers in integers and an ONNX file that
            rounds its answers in the end (QuantizeLinear, DequantizeLinear); else 0.
        sigmoid: whether it is known to end in a sigmoid, so that each answer is a probability of its own.

    Raises:
        InvalidArgument: if there is no such file, its runtime cannot load it, or it has several outputs.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        is_litert = self.path.suffix == ".tflite"
        if not self.path.is_file():
            raise InvalidArgument(f"Expected {'a LiteRT' if is_litert else 'an ONNX'} file; there is none at {self.path}.")
        if self.path.suffix in (".keras", ".h5"):
            raise InvalidArgument(
                f"Expected an ONNX or LiteRT file; {self.path.name} is a Keras model. Pass keras.models.load_model(path)."
            )
        opened = _litert(self.path) if is_litert else _onnx(self.path)
        if len(opened.outputs) != 1:
            raise InvalidArgument(
                f"Expected a file with one output; {self.path.name} came with {', '.join(opened.outputs)}. Wrap it in a "
                "function that returns one of them."
            )
        self.inputs, self._run = opened.inputs, opened.run
        self.rounding, self.sigmoid = opened.rounding, opened.sigmoid

    def __call__(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the output for a batch of samples.

        Args:
            arrays: one of shape (batch, ...) for each input, in the order of `inputs`; they are cast to what it takes.
        """
        fixed = next((one.shape[0] for one in self.inputs if one.shape and one.shape[0] is not None), None)
        count = len(arrays[0])
        step = count if fixed is None else fixed
        parts = []
        for start in range(0, count, step):
            batch = [array[start : start + step] for array in arrays]
            missing = step - len(batch[0])
            feeds = {
                one.name: np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]).astype(one.dtype)
                for one, part in zip(self.inputs, batch, strict=True)
            }
            parts.append(np.asarray(self._run(feeds))[: len(batch[0])])
        return np.concatenate(parts)


def _onnx(path: Path) -> _Opened:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common public class
        raise InvalidArgument(f"Expected an ONNX file; onnxruntime cannot load {path}: {error}") from error
    inputs = tuple(
        FileInput(
            name=one.name,
            shape=tuple(size if isinstance(size, int) else None for size in one.shape),
            kind=one.type,
            dtype=np.dtype(_KINDS[one.type]) if one.type in _KINDS else None,
        )
        for one in session.get_inputs()
    )
    outputs = tuple(one.name for one in session.get_outputs())
    rounding, sigmoid = _onnx_end(path)
    return _Opened(inputs, outputs, lambda feeds: session.run(None, feeds)[0], rounding, sigmoid)


def _onnx_end(path: Path) -> tuple[float, bool]:
    """Return the one scale of the DequantizeLinear that an ONNX graph ends in, 0 without one, and whether it is a sigmoid."""
    from onnx import load, numpy_helper

    model = load(path, load_external_data=False)
    graph, told = model.graph, {entry.key: entry.value for entry in model.metadata_props}
    nodes = {name: node for node in graph.node for name in node.output}
    end = graph.output[0].name
    made = {name: (node.op_type, list(node.input)) for name, node in nodes.items()}
    sigmoid = told.get("ending") == '"sigmoid"' or single_threshold([end], made) > 0
    while end in nodes and nodes[end].op_type in _PASSING:
        end = nodes[end].input[0]
    scale = nodes[end].input[1] if end in nodes and nodes[end].op_type == "DequantizeLinear" else None
    scales = [numpy_helper.to_array(one) for one in graph.initializer if one.name == scale]
    return float(scales[0].item()) if scales and scales[0].size == 1 else 0.0, sigmoid


def _litert(path: Path) -> _Opened:
    try:
        session = open_litert(path)
    except ExportMismatch as error:
        raise InvalidArgument(str(error)) from error
    inputs = tuple(FileInput(name, shape, dtype, np.dtype(dtype)) for name, shape, dtype in session.inputs)
    rounding = float(session.tensors[len(inputs)]["quantization"][0])
    sigmoid = read_facts(path).get("ending") == "sigmoid" or single_threshold(*makers(path.read_bytes())) > 0
    return _Opened(inputs, session.outputs, lambda feeds: session.run(feeds)[0], rounding, sigmoid)
