"""A model as a table of layers."""

import math
from typing import Any

__all__ = ["layer_table"]


def layer_table(model: Any) -> list[dict[str, Any]]:
    """Return one plain row for each layer of a built Keras model: name, kind, output shape, parameters, MACs, inputs.

    MACs (multiply-accumulate operations for one sample) are counted for layers with a kernel: the size of the kernel times
    the positions at which it is applied; None where that rule does not hold.
    """
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": _shape(layer),
            "parameters": int(layer.count_params()) if layer.built else 0,
            "macs": _macs(layer),
            "inputs": _inputs(layer),
        }
        for layer in model.layers
    ]


def _shape(layer: Any) -> list[int | None] | None:
    try:
        output = layer.output
    except (AttributeError, ValueError):  # called several times, or never
        return None
    return list(output.shape[1:]) if hasattr(output, "shape") else None


def _inputs(layer: Any) -> list[str]:
    try:
        inputs = layer.input
    except (AttributeError, ValueError):
        return []
    tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
    names = [getattr(getattr(t, "_keras_history", None), "operation", None) for t in tensors]
    return [operation.name for operation in names if operation is not None and operation is not layer]


def _macs(layer: Any) -> int | None:
    kernels = [w for w in layer.weights if w.name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
    if not kernels:
        return 0
    shape = [length for length in _shape(layer) or [] if length is not None]
    if len(shape) != len(_shape(layer) or [None]) or type(layer).__name__.endswith("Transpose"):
        return None
    if type(layer).__name__ == "Dense":
        positions = math.prod(shape[:-1])
    elif "Conv" in type(layer).__name__:
        spatial = shape[1:] if getattr(layer, "data_format", None) == "channels_first" else shape[:-1]
        positions = math.prod(spatial)
    else:
        return None
    return int(positions * sum(math.prod(kernel.shape) for kernel in kernels))
