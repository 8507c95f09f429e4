"""Which class the outputs of a file name."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.decided_classes import Makers, decided_classes, model_threshold, single_threshold
from kerasnas.export.functional_view import FunctionalView
from kerasnas.litert import makers, read_facts

__all__ = ["class_threshold", "ending_facts", "file_classes", "file_threshold"]


def ending_facts(view: FunctionalView) -> dict[str, float | str]:
    """Return what a file is told of the end of its network.

    Of a single column the `threshold`, above which it means class 1; of several that are sigmoids that their `ending` is one,
    each a probability of its own; nothing of other outputs. A hard sigmoid goes into a file as additions, clips and products,
    of which nobody could tell that they end in one.
    """
    shapes = [shape for _, shape, _ in view.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        return {}
    threshold = model_threshold(view.model)
    if shapes[0][1] == 1:
        return {"threshold": threshold}
    return {"ending": "sigmoid"} if threshold > 0 else {}


def class_threshold(view: FunctionalView, *, labelled: bool) -> float | None:
    """Return above what the only column of a model's only output means class 1; None where it may be a number.

    It names a class where it is the probability of a sigmoid, or where there are labels.
    """
    if [len(shape) == 2 and shape[1] for _, shape, _ in view.outputs] != [1]:
        return None
    threshold = model_threshold(view.model)
    return threshold if threshold > 0 or labelled else None


def file_classes(file: str | os.PathLike[str], outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of each row of what an ONNX or LiteRT file with one output gave.

    Of a single column it is 1 above the threshold of the file.
    """
    return decided_classes(outputs, 0.0 if outputs.shape[1] > 1 else file_threshold(file))


def file_threshold(file: str | os.PathLike[str]) -> float:
    """Return above what the single column of an ONNX or LiteRT file with one output means class 1.

    It is what the file tells; where it tells nothing, 0.5 if the graph ends in a sigmoid, else 0.
    """
    path = Path(os.fspath(file))
    told, (ends, found) = _litert(path) if path.suffix == ".tflite" else _onnx(path)
    return float(told) if told in (0.0, 0.5) else single_threshold(ends, found)


def _litert(path: Path) -> tuple[Any, tuple[list[int], Makers]]:
    return read_facts(path).get("threshold"), makers(path.read_bytes())


def _onnx(path: Path) -> tuple[Any, tuple[list[str], Makers]]:
    import onnx

    proto = onnx.load(path, load_external_data=False)
    told = next((entry.value for entry in proto.metadata_props if entry.key == "threshold"), "")
    made = {name: (node.op_type, list(node.input)) for node in proto.graph.node for name in node.output}
    return {"0.0": 0.0, "0.5": 0.5}.get(told), ([output.name for output in proto.graph.output], made)
