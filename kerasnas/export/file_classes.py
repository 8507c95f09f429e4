"""Which class the outputs of a file name."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.decided_classes import Makers, decided_classes, model_threshold, single_threshold
from kerasnas.export.functional_view import FunctionalView
from kerasnas.litert import makers, read_facts

__all__ = ["ending_facts", "file_classes", "threshold_facts"]


def threshold_facts(view: FunctionalView) -> dict[str, float]:
    """Return what a file is told of a single column: above what it means class 1; nothing of other outputs.

    A hard sigmoid goes into a file as additions, clips and products, of which nobody could tell that they end in one.
    """
    shapes = [shape for _, shape, _ in view.outputs]
    single = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] == 1
    return {"threshold": model_threshold(view.model)} if single else {}


def ending_facts(view: FunctionalView) -> dict[str, str]:
    """Return what a LiteRT file is told of several columns that end in a sigmoid: each is a probability of its own."""
    shapes = [shape for _, shape, _ in view.outputs]
    several = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] != 1
    return {"ending": "sigmoid"} if several and model_threshold(view.model) > 0 else {}


def file_classes(file: str | os.PathLike[str], outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of each row of what an ONNX or LiteRT file with one output gave.

    Of a single column it is 1 above the threshold that the file tells; where it tells none, above 0.5 if the graph ends in a
    sigmoid, else above 0.
    """
    if outputs.shape[1] > 1:
        return decided_classes(outputs, 0.0)
    path = Path(os.fspath(file))
    told, (ends, found) = _litert(path) if path.suffix == ".tflite" else _onnx(path)
    return decided_classes(outputs, told if told in (0.0, 0.5) else single_threshold(ends, found))


def _litert(path: Path) -> tuple[Any, tuple[list[int], Makers]]:
    return read_facts(path).get("threshold"), makers(path.read_bytes())


def _onnx(path: Path) -> tuple[Any, tuple[list[str], Makers]]:
    import onnx

    proto = onnx.load(path, load_external_data=False)
    told = next((entry.value for entry in proto.metadata_props if entry.key == "threshold"), "")
    made = {name: (node.op_type, list(node.input)) for node in proto.graph.node for name in node.output}
    return {"0.0": 0.0, "0.5": 0.5}.get(told), ([output.name for output in proto.graph.output], made)
