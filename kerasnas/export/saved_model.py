"""A Keras model as the SavedModel that LiteRT's converter reads."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from kerasnas.errors import KerasNASError
from kerasnas.export.functional_view import FunctionalView
from kerasnas.export.samples import TensorSpec
from kerasnas.export.silence import silence
from kerasnas.export.tf2onnx_repairs import plain_scopes, scope_of

__all__ = ["save_for_litert", "signature_names"]


def save_for_litert(view: FunctionalView, folder: Path, *, batch_size: int | None) -> None:
    """Save a model at inference, with one signature called "serve" whose names are those of `signature_names`.

    Not through a concrete function: from one the converter of TensorFlow 2.21 makes files that give NaN, silently.

    Raises:
        KerasNASError: if TensorFlow cannot trace the model.
    """
    import tensorflow as tf

    names = signature_names(view)

    def serve(*tensors: Any) -> dict[str, Any]:
        y = view.model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        outputs = y if len(view.outputs) > 1 else [y]
        return {name: tf.identity(tensor) for name, tensor in zip(names["outputs"], outputs, strict=True)}

    signature = [
        tf.TensorSpec((batch_size, *shape[1:]), dtype, name=name)
        for name, (_, shape, dtype) in zip(names["inputs"], view.inputs, strict=True)
    ]
    with silence(), plain_scopes(), _plain_variables(view.model):
        name, view.model.name = view.model.name, scope_of(view.model.name)
        try:
            archive = keras.export.ExportArchive()
            archive.track(view.model)
            archive.add_endpoint("serve", serve, input_signature=signature)
            archive.write_out(folder, verbose=False)
        except Exception as error:
            raise KerasNASError(
                f"Expected a model that TensorFlow can trace, but {name!r} stopped with {type(error).__name__}: {error}"
            ) from error
        finally:
            view.model.name = name


def signature_names(view: FunctionalView) -> dict[str, dict[str, str]]:
    """Return the names of inputs and outputs in the signature, where Python must be able to use them -> those in Keras."""
    return {"inputs": _identifiers(view.inputs), "outputs": _identifiers(view.outputs)}


def _identifiers(specs: Sequence[TensorSpec]) -> dict[str, str]:
    plain = [name if re.fullmatch("[A-Za-z]\\w*", name, re.ASCII) else f"tensor_{i}" for i, (name, _, _) in enumerate(specs)]
    return {ours: name for ours, (name, _, _) in zip(plain, specs, strict=True)}


@contextmanager
def _plain_variables(model: keras.Model) -> Iterator[None]:
    """Let variables bear any name: TensorFlow saves none that holds a space or a letter beyond ASCII."""
    renamed = [(v.value, v.value._handle_name) for v in model.variables if hasattr(v.value, "_handle_name")]
    try:
        for variable, name in renamed:
            plain, _, rest = name.partition(":")
            variable._handle_name = f"{scope_of(plain)}:{rest}"
        yield
    finally:
        for variable, name in renamed:
            variable._handle_name = name
