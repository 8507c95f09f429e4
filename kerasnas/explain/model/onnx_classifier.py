"""A classifier in an ONNX file, run by onnxruntime on the CPU."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["OnnxClassifier", "OnnxInput"]

_KINDS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True)
class OnnxInput:
    """What a file takes.

    Attributes:
        name: of the input.
        shape: with the batch first; None for a size that is free.
        kind: its type as ONNX calls it, such as "tensor(float)".
        dtype: that type in NumPy; None if it has none of numbers.
    """

    name: str
    shape: tuple[int | None, ...]
    kind: str
    dtype: np.dtype[Any] | None


class OnnxClassifier:
    """An ONNX file with one output; a file of a fixed batch size is given copies of the last sample to fill it.

    Args:
        path: of the file, or what stands for one (`OnnxFile`).

    Attributes:
        path: of the file.
        inputs: what it takes, in its order.

    Raises:
        InvalidArgument: if there is no such file, onnxruntime cannot load it, or it has several outputs.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import onnxruntime

        self.path = Path(path)
        if not self.path.is_file():
            raise InvalidArgument(f"Expected an ONNX file; there is none at {self.path}.")
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common public class
            raise InvalidArgument(f"Expected an ONNX file; onnxruntime cannot load {self.path}: {error}") from error
        self.inputs = tuple(
            OnnxInput(
                name=one.name,
                shape=tuple(size if isinstance(size, int) else None for size in one.shape),
                kind=one.type,
                dtype=np.dtype(_KINDS[one.type]) if one.type in _KINDS else None,
            )
            for one in self._session.get_inputs()
        )
        outputs = self._session.get_outputs()
        if len(outputs) != 1:
            raise InvalidArgument(
                f"Expected an ONNX file with one output; {self.path.name} came with "
                f"{', '.join(one.name for one in outputs)}. Wrap it in a function that returns one of them."
            )

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
            parts.append(np.asarray(self._session.run(None, feeds)[0])[: len(batch[0])])
        return np.concatenate(parts)
