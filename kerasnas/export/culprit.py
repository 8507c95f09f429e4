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

__all__ = ["blame", "culprits", "try_onnx"]


def blame(model: keras.Model, export: Callable[[keras.Model], object]) -> str:
    """Return a sentence that names what `culprits` finds."""
    found = culprits(model, export)
    if not found:
        return "Each layer alone can be exported: it is how they stand together, or the samples."
    return f"It is the layer {found[0]}." if len(found) == 1 else f"It is the layers {', '.join(found)}."


def culprits(model: keras.Model, export: Callable[[keras.Model], object]) -> list[str]:
    """Return the layers that cannot be exported even alone, as "'name' (Class)", innermost first named.

    Each layer is taken out of the model with its weights. A layer that is a model itself is looked into. This takes as long
    as that many exports.

    Args:
        model: a built Functional or Sequential model whose export failed.
        export: writes a model and compares what it wrote with Keras; raises KerasNASError where it cannot or they differ.

    Returns:
        One entry for each such layer, in the model's order; empty if every layer alone can be exported.
    """
    found: list[str] = []
    for operation, alone in _alone(functional_view(model, allow_texts=True).model):
        name = f"{operation.name!r} ({type(operation).__name__})"
        if name not in found and not _exports(alone, export):
            inner = culprits(operation, export) if isinstance(operation, keras.Model) else []
            found += [entry for entry in inner or [name] if entry not in found]
    return found


def _alone(model: keras.Model) -> Iterator[tuple[keras.Operation, Callable[[], keras.Model]]]:
    """Yield each operation with a way to the model that is nothing but one call of it."""
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if not node.is_input:
                given = list({id(tensor): tensor for tensor in node.input_tensors}.values())  # h twice, in attention of itself
                yield node.operation, partial(keras.Model, given, node.output_tensors)


def _exports(alone: Callable[[], keras.Model], export: Callable[[keras.Model], object]) -> bool:
    try:
        model = alone()
    except ValueError:  # Keras cannot take out a call of a layer on its own output; its first call is tried as well
        return True
    try:
        export(model)
    except KerasNASError:
        return False
    return True


def try_onnx(model: keras.Model, *, opset: int, atol: float) -> None:
    """Export to ONNX and to nowhere, compared on random samples in [0, 1]; raise KerasNASError where that fails."""
    proto = convert(functional_view(model, allow_texts=True), opset=opset)
    with tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        verify(model, path, atol=atol).raise_for_mismatch()
