"""Multiply-accumulates, layer by layer."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from kerasnas.cost.graph import Call, graph_of, inner_graph

__all__ = ["call_macs"]

Shape = tuple[int | None, ...]

# Weights of these are added, multiplied or looked up element by element.
_ELEMENTWISE = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.PReLU,
)
# Operations of keras.ops that multiply matrices and have no rule here, by class name.
_UNKNOWN_OPERATIONS = {
    "Conv",
    "ConvTranspose",
    "DepthwiseConv",
    "Dot",
    "DotProductAttention",
    "Einsum",
    "Inner",
    "SeparableConv",
    "Tensordot",
    "Vdot",
}


def call_macs(call: Call) -> tuple[int, bool]:
    """Return the multiply-accumulates of one call for one sample, and whether there is a rule for it.

    Without a rule a layer counts as if each of its matrices were applied at every position of its output.

    Args:
        call: with shapes that are fixed but for the batch.
    """
    operation = call.operation
    if not isinstance(operation, keras.Layer):
        if type(operation).__name__ == "Matmul":
            return _size(call.outputs[0].shape) * int(call.args[0].shape[-1]), True
        return 0, type(operation).__name__ not in _UNKNOWN_OPERATIONS
    if isinstance(operation, layers.MultiHeadAttention | layers.GroupQueryAttention):
        return _multi_head(call), True
    if isinstance(operation, layers.Embedding):
        return (_size(call.inputs[0].shape) * int(operation.input_dim) if call.kwargs.get("reverse") else 0), True
    return _layer_macs(operation, [x.shape for x in call.inputs], [x.shape for x in call.outputs])


def _layer_macs(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> tuple[int, bool]:
    if isinstance(layer, layers.Bidirectional):
        counts = [_layer_macs(each, inputs, outputs) for each in (layer.forward_layer, layer.backward_layer)]
        return sum(count for count, _ in counts), all(known for _, known in counts)
    if isinstance(layer, layers.Embedding):
        return 0, True
    if isinstance(layer, layers.TimeDistributed):
        count, known = _layer_macs(layer.layer, [_without_time(s) for s in inputs], [_without_time(s) for s in outputs])
        return int(inputs[0][1] or 0) * count, known
    if isinstance(layer, layers.SpectralNormalization):
        return _layer_macs(layer.layer, inputs, outputs)  # the power iteration runs in training alone
    if inner_graph(layer) is not None:
        counts = [call_macs(call) for call in graph_of(layer).calls]
        return sum(count for count, _ in counts), all(known for _, known in counts)
    for kinds, rule in _RULES:
        if isinstance(layer, kinds):
            found = rule(layer, inputs, outputs)
            if found is not None:
                return found, True
    matrices = [math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1]
    if isinstance(layer, _ELEMENTWISE) or not matrices:
        return 0, True
    return max(_size(shape[:-1]) for shape in outputs) * sum(matrices), False


def _dense(layer: Any, inputs: Sequence[Shape], _: Sequence[Shape]) -> int:
    return _size(inputs[0]) * int(layer.units)


def _einsum_dense(layer: Any, inputs: Sequence[Shape], _: Sequence[Shape]) -> int:
    # Every index of the input, times the indices of the kernel that the input has not.
    terms, _, _ = layer.equation.partition("->")
    own, _, kernel = terms.replace(" ", "").partition(",")
    new = [length for index, length in zip(kernel, layer.kernel.shape, strict=True) if index not in own]
    return _size(inputs[0]) * math.prod(new)


def _conv(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    return (
        _positions(layer, outputs[0])
        * math.prod(layer.kernel_size)
        * _channels(layer, inputs[0])
        // layer.groups
        * layer.filters
    )


def _conv_transpose(layer: Any, inputs: Sequence[Shape], _: Sequence[Shape]) -> int:
    # Every input position is spread over a whole window.
    return _size(inputs[0]) * math.prod(layer.kernel_size) * layer.filters // getattr(layer, "groups", 1)


def _depthwise(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    window = math.prod(layer.kernel_size) * layer.depth_multiplier
    return _positions(layer, outputs[0]) * window * _channels(layer, inputs[0])


def _separable(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    pointwise = layer.depth_multiplier * _channels(layer, inputs[0]) * layer.filters
    return _depthwise(layer, inputs, outputs) + _positions(layer, outputs[0]) * pointwise


def _recurrent(layer: Any, inputs: Sequence[Shape], _: Sequence[Shape]) -> int | None:
    cells = layer.cell.cells if isinstance(layer.cell, layers.StackedRNNCells) else [layer.cell]
    if not all(isinstance(cell, layers.SimpleRNNCell | layers.GRUCell | layers.LSTMCell) for cell in cells):
        return None
    kernels = [math.prod(kernel.shape) for cell in cells for kernel in (cell.kernel, cell.recurrent_kernel)]
    return int(inputs[0][1] or 0) * sum(kernels)


def _conv_lstm(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    kernels = math.prod(layer.cell.kernel.shape) + math.prod(layer.cell.recurrent_kernel.shape)
    frame = _without_time(outputs[0]) if layer.return_sequences else outputs[0]
    return int(inputs[0][1] or 0) * _positions(layer, frame) * kernels


def _attention(_: Any, inputs: Sequence[Shape], __: Sequence[Shape]) -> int:
    query, value = inputs[0], inputs[1]
    return int(query[1] or 0) * int(value[1] or 0) * (int(query[-1] or 0) + int(value[-1] or 0))


def _dot(layer: Any, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return _size(outputs[0]) * int(inputs[0][axis] or 0)


_RULES: tuple[tuple[Any, Callable[[Any, Sequence[Shape], Sequence[Shape]], int | None]], ...] = (
    (layers.Dense, _dense),
    (layers.EinsumDense, _einsum_dense),
    ((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _conv_transpose),
    ((layers.Conv1D, layers.Conv2D, layers.Conv3D), _conv),
    ((layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D), _conv_lstm),
    (layers.RNN, _recurrent),
    ((layers.Attention, layers.AdditiveAttention), _attention),
    (layers.Dot, _dot),
)


def _multi_head(call: Call) -> int:
    """Projections of query, key, value and output, and the products with keys and with values."""
    layer = call.operation
    arguments = inspect.signature(type(layer).call).bind(layer, *call.args, **call.kwargs).arguments
    query, value = arguments["query"].shape, arguments["value"].shape
    key = value if arguments.get("key") is None else arguments["key"].shape
    if isinstance(layer, layers.GroupQueryAttention):
        heads, key_heads = layer.num_query_heads, layer.num_key_value_heads
        key_dim = value_dim = layer.head_dim
        axes: tuple[int, ...] = (1,)
    else:
        heads = key_heads = layer.num_heads
        key_dim, value_dim, axes = layer.key_dim, layer.value_dim, tuple(layer._attention_axes)
    queries, sources = math.prod(query[1:-1]), math.prod(value[axis] for axis in axes)
    projections = _size(query) * heads * key_dim + _size(key) * key_heads * key_dim + _size(value) * key_heads * value_dim
    output = heads * value_dim * _size(call.outputs[0].shape)
    if hasattr(layer, "_gate_dense"):
        projections += _size(query) * heads * value_dim
    return int(projections + output + queries * sources * heads * (key_dim + value_dim))


def _size(shape: Shape) -> int:
    return math.prod(length or 0 for length in shape[1:])


def _positions(layer: Any, shape: Shape) -> int:
    spatial = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    return math.prod(length or 0 for length in spatial)


def _channels(layer: Any, shape: Shape) -> int:
    return int((shape[1] if layer.data_format == "channels_first" else shape[-1]) or 0)


def _without_time(shape: Shape) -> Shape:
    return (shape[0], *shape[2:])
