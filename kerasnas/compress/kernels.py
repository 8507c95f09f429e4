"""Which weights of a model pruning may set to zero."""

from collections.abc import Iterator
from typing import NamedTuple

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["Kernel", "prunable_kernels", "walk_layers"]

# Depthwise kernels are left alone: they hold few weights, each of which feeds a whole channel.
_KERNELS = (
    (keras.layers.Dense, "kernel"),
    (keras.layers.EinsumDense, "kernel"),  # the projections inside attention layers
    (keras.layers.Conv1D, "kernel"),
    (keras.layers.Conv2D, "kernel"),
    (keras.layers.Conv3D, "kernel"),
    (keras.layers.Conv1DTranspose, "kernel"),
    (keras.layers.Conv2DTranspose, "kernel"),
    (keras.layers.Conv3DTranspose, "kernel"),
    (keras.layers.SeparableConv1D, "pointwise_kernel"),
    (keras.layers.SeparableConv2D, "pointwise_kernel"),
)


class Kernel(NamedTuple):
    """A prunable variable and the name of the layer that owns it."""

    layer: str
    variable: keras.Variable


def prunable_kernels(model: keras.Model) -> list[Kernel]:
    """Return the kernels of every dense, convolution and pointwise layer, nested ones too, each once.

    Raises:
        InvalidArgument: if a kernel is quantised, or has a LoRA update beside it.
    """
    kernels: dict[int, Kernel] = {}
    for layer in walk_layers(model):
        attribute = next((name for kind, name in _KERNELS if isinstance(layer, kind)), None)
        if attribute is None or not layer.built:
            continue
        variable = getattr(layer, attribute)
        # With LoRA `kernel` is a sum of tensors; a quantised layer keeps integers there.
        if not isinstance(variable, keras.Variable) or not keras.backend.is_float_dtype(variable.dtype):
            raise InvalidArgument(
                f"Expected floating-point kernels; layer '{layer.name}' ({type(layer).__name__}) has a quantised kernel "
                "or a LoRA update. Prune before quantising, and merge LoRA weights first (save and reload the model)."
            )
        kernels.setdefault(id(variable), Kernel(layer.name, variable))
    return list(kernels.values())


def walk_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield a layer and all layers inside it; a shared one comes up as often as it is shared."""
    yield layer
    # `_layers` enters wrappers and attention too; that of a model also holds its private functional graph.
    for child in layer.layers if isinstance(layer, keras.Model) else layer._layers:
        yield from walk_layers(child)
