"""How channels pass through the layers that have no weights."""

from typing import Any

import numpy as np
from keras import layers

from kerasnas.compress.channels.arrangement import combined, joined, rearranged, reduced
from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.replay import Call
from kerasnas.compress.channels.tracer import Tracer, is_elementwise
from kerasnas.compress.channels.weighted_layers import Rule, channel_axis

__all__ = ["PLAIN"]


def _same(_: Tracer, call: Call, x: Layout) -> Layout:
    return Layout(call.shapes[0], x.axis, x.channels, x.reason)


def _dropout(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    shape = getattr(call.operation, "noise_shape", None)
    if shape is not None and x.axis is not None and shape[x.axis] not in (None, 1):
        return "its noise_shape counts them"
    return _same(tracer, call, x)


def _activation(_: Tracer, call: Call, x: Layout) -> Layout | str:
    if not is_elementwise(call.operation.activation):
        return "its activation may mix channels"
    return Layout(call.shapes[0], x.axis, x.channels, x.reason)


def _rescaling(_: Tracer, call: Call, x: Layout) -> Layout | str:
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset):
        return "it has a factor for each channel"
    return Layout(call.shapes[0], x.axis, x.channels, x.reason)


def _spatial(tracer: Tracer, call: Call, x: Layout) -> Layout:
    axis = channel_axis(call.operation, x) if hasattr(call.operation, "data_format") else -1
    return Layout(call.shapes[0], axis, tracer.on_axis(x, axis, call.operation.name), x.reason)


def _global_pooling(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    layer, rank = call.operation, len(x.shape)
    first = layer.data_format == "channels_first"
    tracer.on_axis(x, channel_axis(layer, x), layer.name)
    axes = range(2 - rank, 0) if first else range(1 - rank, -1)
    return reduced(x, call.shapes[0], list(axes), keepdims=layer.keepdims)


def _merge(tracer: Tracer, call: Call, *parts: Layout) -> Layout | str:
    return combined(tracer, parts, call.shapes[0], call.operation.name)


def _concatenate(tracer: Tracer, call: Call, *parts: Layout) -> Layout | str:
    axis = call.operation.axis
    rank = len(call.shapes[0])
    return joined(tracer, parts, call.shapes[0], axis if axis < 0 else axis - rank, call.operation.name)


def _flatten(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    first = call.operation.data_format == "channels_first"

    def move(values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values, 0, -1).ravel() if first and values.ndim else values.ravel()

    return rearranged(tracer, x, call.shapes[0], move)


def _reshape(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    if call.shared:
        return "it is shared"
    shape = call.shapes[0]
    out = rearranged(tracer, x, shape, lambda values: values.reshape([length or 0 for length in shape[1:]]))
    if isinstance(out, Layout) and out.channels is not None:
        tracer.resize(call.path, "target_shape", out.channels, out.axis)
    return out


def _permute(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    order = [dim - 1 for dim in call.operation.dims]
    return rearranged(tracer, x, call.shapes[0], lambda values: values.transpose(order))


def _repeat_vector(_: Tracer, call: Call, x: Layout) -> Layout:
    return Layout(call.shapes[0], -1, x.channels, x.reason)


def _each(kind: str, *names: str) -> dict[type, Any]:
    return dict.fromkeys((getattr(layers, f"{name}{kind}{n}D") for name in names for n in (1, 2, 3)), _spatial)


# By exact class: a subclass may compute something else.
PLAIN: dict[type, Rule] = {
    **dict.fromkeys((layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Identity, layers.ActivityRegularization), _same),
    **dict.fromkeys((layers.GaussianDropout, layers.GaussianNoise), _same),
    **dict.fromkeys((layers.Dropout, layers.AlphaDropout), _dropout),
    **_each("", "SpatialDropout", "UpSampling", "ZeroPadding", "Cropping"),
    **_each("Pooling", "Max", "Average"),
    **dict.fromkeys(
        (getattr(layers, f"Global{kind}Pooling{n}D") for kind in ("Max", "Average") for n in (1, 2, 3)), _global_pooling
    ),
    **dict.fromkeys((layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum), _merge),
    layers.Activation: _activation,
    layers.Rescaling: _rescaling,
    layers.Concatenate: _concatenate,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat_vector,
}
