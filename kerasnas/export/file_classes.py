"""Which class the outputs of a file name."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.decided_classes import Makers, decided_classes, single_threshold
from kerasnas.litert import makers

__all__ = ["file_classes"]


def file_classes(file: str | os.PathLike[str], outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of each row of what an ONNX or LiteRT file with one output gave.

    Of a single column it is 1 above 0.5 if the graph ends in a sigmoid, else above 0.
    """
    if outputs.shape[1] > 1:
        return decided_classes(outputs, 0.0)
    path = Path(os.fspath(file))
    ends, found = makers(path.read_bytes()) if path.suffix == ".tflite" else _onnx_makers(path)
    return decided_classes(outputs, single_threshold(ends, found))


def _onnx_makers(path: Path) -> tuple[list[str], Makers]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    made = {name: (node.op_type, list(node.input)) for node in graph.node for name in node.output}
    return [output.name for output in graph.output], made
