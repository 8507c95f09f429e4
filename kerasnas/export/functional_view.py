"""A Keras model seen as one flat functional model with one name for each tensor that goes in or comes out."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from kerasnas.derived_state import check_derived
from kerasnas.errors import InvalidArgument
from kerasnas.export.samples import TensorSpec

__all__ = ["FunctionalView", "functional_view"]


@dataclass(frozen=True)
class FunctionalView:
    """A model over the same layers and weights, with flat and named inputs and outputs.

    Attributes:
        model: takes and gives one tensor, or a list of tensors where there are several.
        inputs: name, shape and dtype of each input, in the order of `model.inputs`, called as the input layers are.
        outputs: likewise, called as the last layers (or operations) are.
        texts: name of an input of texts -> words that its layers tell apart, and one that they do not know where they may.
    """

    model: keras.Model
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    texts: Mapping[str, tuple[str, ...]]


def functional_view(model: keras.Model, *, allow_texts: bool = False) -> FunctionalView:
    """Return `model` as a flat functional model.

    Sequential, nested and dict-shaped models all come out alike. Nothing is copied and `model` is left as it is.
    Tensors of the same name get _1, _2, ... in their order.

    Args:
        model: a built Functional or Sequential model, or a subclass that was made by passing inputs and outputs.
        allow_texts: whether an input may hold texts, if all that reads it is StringLookup layers of a plain table.

    Returns:
        A view that shares the layers of `model` and bears its name.

    Raises:
        InvalidArgument: if `model` is not a Keras 3 model, is not built, has no graph of layers, takes texts, or does not
            compute with the weights that it holds.
    """
    if not isinstance(model, keras.Model):
        came = f"{type(model).__module__}.{type(model).__name__}"
        raise InvalidArgument(f"Expected a Keras 3 model (keras.Model), got {came}. Load or rebuild it with `keras`.")
    try:
        inputs, outputs = list(model.inputs), list(model.outputs)
    except (AttributeError, TypeError, ValueError):
        inputs, outputs = [], []
    if not inputs or not outputs:
        if isinstance(model, keras.Sequential):
            raise InvalidArgument(
                f"Expected a built model, but {model.name!r} does not know its input shape yet. Call "
                "model.build((None, ...)) or fit it first, or begin it with keras.Input."
            )
        raise InvalidArgument(
            f"Expected a Functional or Sequential model, got {model.name!r}, which is the subclassed model "
            f"{type(model).__name__} and has no graph of layers. Rebuild it as keras.Model(inputs, outputs)."
        )
    taken: set[str] = set()
    input_specs = tuple(_spec(tensor, taken) for tensor in inputs)
    output_specs = tuple(_spec(tensor, taken) for tensor in outputs)
    flat = keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name)
    if type(model).call not in (type(flat).call, keras.Sequential.call):
        raise InvalidArgument(
            f"Expected a model that computes what its graph of layers does, but {type(model).__name__} has its own `call`. "
            "Rebuild it as keras.Model(inputs, outputs)."
        )
    check_derived(model)
    texts = _texts(flat, allow_texts)
    return FunctionalView(model=flat, inputs=input_specs, outputs=output_specs, texts=texts)


def _texts(model: keras.Model, allowed: bool) -> dict[str, tuple[str, ...]]:
    """Return words for each input of texts.

    Raises:
        InvalidArgument: if an input holds texts and is read by anything but tables, or none are allowed.
    """
    found: dict[str, tuple[str, ...]] = {}
    for tensor in model.inputs:
        if tensor.dtype != "string":
            continue
        readers = [
            operation
            for operation in model.operations
            if any(source is tensor for node in operation._inbound_nodes for source in node.input_tensors)
        ]
        name = tensor._keras_history.operation.name
        if not (allowed and readers and all(map(_is_plain_table, readers))):
            told = ", ".join(f"{operation.name!r} ({type(operation).__name__})" for operation in readers)
            raise InvalidArgument(
                f"Expected inputs that are numbers, but the input {name!r} holds texts, which go to the layer "
                f"{told or 'nothing'}. Leave that layer out of the model and look the texts up before it."
                + (
                    " Only a StringLookup without mask and with at most one index for unknown words can stay."
                    if allowed
                    else ""
                )
            )
        known = [set(reader.get_vocabulary(include_special_tokens=False)) for reader in readers]
        words = sorted(set.intersection(*known) if any(r.num_oov_indices == 0 for r in readers) else set.union(*known))
        found[name] = (*words, *(["a word that no vocabulary holds"] if all(r.num_oov_indices for r in readers) else []))
    return found


def _is_plain_table(operation: keras.Operation) -> bool:
    return (
        isinstance(operation, keras.layers.StringLookup)
        and not operation.invert
        and operation.mask_token is None
        and operation.num_oov_indices <= 1
    )


def _spec(tensor: keras.KerasTensor, taken: set[str]) -> TensorSpec:
    # An unnamed Input makes a tensor called keras_tensor_12, but a layer called input_layer, which outlives saving.
    base = name = tensor._keras_history.operation.name
    repeat = 0
    while name in taken:
        repeat += 1
        name = f"{base}_{repeat}"
    taken.add(name)
    return name, tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)
