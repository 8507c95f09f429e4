"""How channels pass through the layers that have weights."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.replay import Call
from kerasnas.compress.channels.tracer import Tracer

__all__ = ["WEIGHTED", "Rule", "channel_axis"]

# From the layouts of its tensors to that of its output, or the reason why the layer leaves all channels as they are.
Rule = Callable[..., Layout | str]

_QUANTISED = "its weights are quantised or have a LoRA update"


def channel_axis(layer: Any, layout: Layout) -> int:
    """Return the axis of the channels for a layer with a data format, counted from the end."""
    return 1 - len(layout.shape) if layer.data_format == "channels_first" else -1


def _is_plain(layer: Any, *names: str) -> bool:
    """Whether weights are what they were built as."""
    if getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False):
        return False
    return all(isinstance(getattr(layer, name), keras.Variable) for name in names)


def _bias(tracer: Tracer, call: Call, channels: Any) -> None:
    if call.operation.use_bias:
        tracer.use(call, call.operation.bias, -1, channels, "bias")


def _conv(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, axis = call.operation, channel_axis(call.operation, x)
    if not _is_plain(layer, "kernel"):
        return _QUANTISED
    groups = layer.groups
    if groups > 1 and layer.kernel.shape[-2] == 1:
        return _depthwise_by_groups(tracer, call, x)
    read = tracer.on_axis(x, axis, layer.name)
    made = tracer.make(call, layer.filters, "filters")
    if groups > 1:
        # The same places go in each group: all groups stay equally large.
        for channels in (read, made):
            if channels is not None:
                rows = channels.reshape(groups, -1)
                tracer.ledger.tie(np.tile(rows[0], groups - 1), rows[1:].ravel())
        read = None if read is None else read.reshape(groups, -1)[0]
    tracer.use(call, layer.kernel, -2, read, "in")
    tracer.use(call, layer.kernel, -1, made, "out")
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], axis, made))


def _depthwise_by_groups(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, axis = call.operation, channel_axis(call.operation, x)
    read = tracer.on_axis(x, axis, layer.name)
    if read is None:
        return "it has one group for each of its input channels, which all stay"
    made = np.repeat(read, layer.filters // layer.groups)
    tracer.resize(call.path, "groups", read)
    tracer.resize(call.path, "filters", made)
    tracer.use(call, layer.kernel, -1, made, "along")
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], axis, made))


def _conv_transpose(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, axis = call.operation, channel_axis(call.operation, x)
    if not _is_plain(layer, "kernel"):
        return _QUANTISED
    if getattr(layer, "groups", 1) > 1:
        return "it is a transposed convolution in groups"
    read, made = tracer.on_axis(x, axis, layer.name), tracer.make(call, layer.filters, "filters")
    tracer.use(call, layer.kernel, -1, read, "in")
    tracer.use(call, layer.kernel, -2, made, "out")
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], axis, made))


def _depthwise(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, axis = call.operation, channel_axis(call.operation, x)
    if not _is_plain(layer, "kernel"):
        return _QUANTISED
    read = tracer.on_axis(x, axis, layer.name)
    tracer.use(call, layer.kernel, -2, read, "along")
    made = None if read is None else np.repeat(read, layer.depth_multiplier)
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], axis, made, x.reason))


def _separable(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, axis = call.operation, channel_axis(call.operation, x)
    if not _is_plain(layer, "depthwise_kernel", "pointwise_kernel"):
        return _QUANTISED
    read, made = tracer.on_axis(x, axis, layer.name), tracer.make(call, layer.filters, "filters")
    tracer.use(call, layer.depthwise_kernel, -2, read, "along")
    between = None if read is None else np.repeat(read, layer.depth_multiplier)
    tracer.use(call, layer.pointwise_kernel, -2, between, "in")
    tracer.use(call, layer.pointwise_kernel, -1, made, "out")
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], axis, made))


def _dense(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer = call.operation
    if not _is_plain(layer, "kernel"):
        return _QUANTISED
    read, made = tracer.on_axis(x, -1, layer.name), tracer.make(call, layer.units, "units")
    tracer.use(call, layer.kernel, -2, read, "in")
    tracer.use(call, layer.kernel, -1, made, "out")
    _bias(tracer, call, made)
    return tracer.activate(call, Layout(call.shapes[0], -1, made))


def _embedding(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer = call.operation
    if not _is_plain(layer, "embeddings"):
        return _QUANTISED
    if x.channels is not None:
        return "it looks up a word for each channel"
    made = tracer.make(call, layer.output_dim, "output_dim")
    tracer.use(call, layer.embeddings, -1, made, "out")
    return Layout(call.shapes[0], -1, made)


def _batch_normalization(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer = call.operation
    if not isinstance(layer.axis, int):
        return "it normalises over several axes"
    axis = layer.axis if layer.axis < 0 else layer.axis - len(x.shape)
    channels = tracer.on_axis(x, axis, layer.name)
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        if getattr(layer, name, None) is not None:
            tracer.use(call, getattr(layer, name), -1, channels, name)
    return Layout(call.shapes[0], axis, channels, x.reason)


def _prelu(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    alpha = call.operation.alpha
    if x.channels is not None and alpha.shape[x.axis] == x.shape[x.axis]:
        tracer.use(call, alpha, x.axis, x.channels, "along")
    elif call.shared:
        return "it is shared"
    return Layout(call.shapes[0], x.axis, x.channels, x.reason)


def _recurrent(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer = call.operation
    if not _is_plain(layer.cell, "kernel"):
        return _QUANTISED
    read = tracer.on_axis(x, -1, layer.name)
    tracer.use(call, layer.cell.kernel, -2, read, "in")
    tracer.ledger.freeze(tracer.make(call, layer.units, "units"), "it is recurrent: its state stays as it is")
    return Layout(call.shapes[0], -1, None, f"'{layer.name}' is recurrent: its state stays as it is")


_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)

# By exact class: a subclass may compute something else.
WEIGHTED: dict[type, Rule] = {
    **dict.fromkeys(_CONVOLUTIONS, _conv),
    **dict.fromkeys(_TRANSPOSED, _conv_transpose),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    **dict.fromkeys((layers.LSTM, layers.GRU, layers.SimpleRNN), _recurrent),
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    layers.BatchNormalization: _batch_normalization,
    layers.PReLU: _prelu,
}
