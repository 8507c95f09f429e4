"""Which layer of a model is it that cannot be exported?"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import keras

from kerasnas.errors import KerasNASError
from kerasnas.export.convert import convert
from kerasnas.export.functional_view import functional_view
from kerasnas.export.verify import verify

__all__ = ["culprits"]


def culprits(model: keras.Model, *, opset: int, atol: float) -> list[str]:
    """Return the layers that cannot be exported even alone, as "'name' (Class)", innermost first named.

    Each layer is taken out of the model with its weights, and converted and compared with Keras on random inputs in
    [0, 1]. A layer that is a model itself is looked into. This takes as long as that many exports.

    Args:
        model: a built Functional or Sequential model whose export failed.
        opset: version of the standard ONNX operators.
        atol: largest absolute difference that passes, > 0.

    Returns:
        One entry for each such layer, in the model's order; empty if every layer alone can be exported.
    """
    found: list[str] = []
    for operation, alone in _alone(functional_view(model).model):
        name = f"{operation.name!r} ({type(operation).__name__})"
        if name not in found and not _exports(alone, opset, atol):
            inner = culprits(operation, opset=opset, atol=atol) if isinstance(operation, keras.Model) else []
            found += [entry for entry in inner or [name] if entry not in found]
    return found


def _alone(model: keras.Model) -> Iterator[tuple[keras.Operation, Callable[[], keras.Model]]]:
    """Yield each operation with a way to the model that is nothing but one call of it."""
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if not node.is_input:
                yield node.operation, partial(keras.Model, node.input_tensors, node.output_tensors)


def _exports(alone: Callable[[], keras.Model], opset: int, atol: float) -> bool:
    try:
        model = alone()
        proto = convert(functional_view(model), opset=opset)
        with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(proto.SerializeToString())
            return verify(model, path, atol=atol).passed
    except KerasNASError:
        return False
