"""The weights of a layer, taken from a layer of another width or kernel size."""

import zlib
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from kerasnas.search.inheritance.channels import Channels, Indices
from kerasnas.search.inheritance.graph import Call

__all__ = [
    "Rows",
    "Taken",
    "axes_of",
    "cyclic",
    "is_kernel_layer",
    "output_axis",
    "passes_channels",
    "reading",
    "rows",
    "sizes",
    "take",
]

Array = NDArray[Any]

# How far the shares of equal channels are from equal; see `_spread`.
_UNEVEN = 0.5

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_NORMALIZATIONS = tuple(
    getattr(layers, name)
    for name in ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
    if hasattr(layers, name)
)


class Taken(NamedTuple):
    """New values of a weight, and which of them are the donor's."""

    variable: Any
    values: Array
    inherited: NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """From the input axis of a donor's kernel to that of a new one: positions are resized, channels looked up."""

    positions: tuple[int, ...]
    source: Indices
    old_positions: tuple[int, ...]
    width: int


def axes_of(layer: Any) -> dict[str, tuple[str, ...]] | None:
    """Return what the axes of each weight are, by attribute; None for a layer that is only copied whole.

    "tap": a place of the kernel; "in", "out": channels of input and output; "pass": of both; "same": anything else.
    """
    # By exact class: a subclass may mean something else by its weights. Quantised or LoRA kernels are no variables.
    kind = type(layer)
    if kind in _NORMALIZATIONS or kind is layers.PReLU:
        names = ("alpha",) if kind is layers.PReLU else ("gamma", "beta", "scale", "moving_mean", "moving_variance")
        axes = {name: _per_channel(getattr(layer, name)) for name in names if _is_float(getattr(layer, name, None))}
        return axes if all(axes.values()) else None
    if kind is layers.Dense and _is_float(layer.kernel):
        return {"kernel": ("in", "out"), "bias": ("out",)}
    if kind is layers.Embedding and _is_float(layer.embeddings):
        return {"embeddings": ("same", "out")}
    taps = ("tap",) * (getattr(layer, "rank", None) or 0)
    if kind in _CONVOLUTIONS and layer.groups == 1 and _is_float(layer.kernel):
        return {"kernel": (*taps, "in", "out"), "bias": ("out",)}
    if kind in _TRANSPOSED:
        return {"kernel": (*taps, "out", "in"), "bias": ("out",)}
    if kind in _DEPTHWISE and layer.depth_multiplier == 1:
        return {"kernel": (*taps, "pass", "same"), "bias": ("pass",)}
    if kind in _SEPARABLE and layer.depth_multiplier == 1:
        return {
            "depthwise_kernel": (*taps, "pass", "same"),
            "pointwise_kernel": (*("same" for _ in taps), "in", "out"),
            "bias": ("out",),
        }
    return None


def passes_channels(layer: Any) -> bool:
    """Tell whether the channels of the output are those of the input."""
    axes = axes_of(layer)
    return axes is not None and not any("out" in of for of in axes.values())


def is_kernel_layer(layer: Any) -> bool:
    """Tell whether the layer makes channels of its own."""
    return not passes_channels(layer)


def reading(layer: Any) -> Array | None:
    """Return the sum of the absolute values of all weights that read each channel of the input; None if none does."""
    for name, of in (axes_of(layer) or {}).items():
        if "in" in of:
            axes = tuple(i for i, role in enumerate(of) if role != "in")
            return np.asarray(np.abs(_values(getattr(layer, name))).sum(axis=axes))
    return None


def sizes(layer: Any) -> tuple[int, int]:
    """Return the length of the axis of the input's channels, and the number of the output's; 0 where there is none."""
    found = {"in": 0, "out": 0}
    for name, of in (axes_of(layer) or {}).items():
        variable = getattr(layer, name, None)
        if variable is not None:
            for role, size in zip(of, variable.shape, strict=True):
                found["in" if role == "pass" else role] = int(size)
    return found["in"], found["out"]


def output_axis(call: Call) -> int:
    """Return the axis of the channels in the output of a layer."""
    first = getattr(call.operation, "data_format", None) == "channels_first"
    return 1 if first else len(call.output_shapes[0]) - 1


def output_width(call: Call) -> int | None:
    """Return the number of channels in the output of a layer; None if it has none or they vary."""
    shape = call.output_shapes[0]
    return shape[output_axis(call)] if len(shape) > 1 else None


def cyclic(count: int, width: int) -> Indices:
    """Return j mod `width` for each of `count` channels (Chen et al. 2016, g(j), without their random draw)."""
    return np.arange(count) % max(width, 1)


def rows(channels: Channels | None, length: int, donor: Channels | None, donor_length: int, *, related: bool) -> Rows:
    """Return how the `length` rows of a kernel are taken from the donor's.

    Args:
        channels: those of the input, if known.
        length: number of rows.
        donor: those of the donor's input, if known.
        donor_length: number of the donor's rows.
        related: whether the donor's layer sees the very channels that `channels` refers to; if not, they are taken in order.
    """
    in_order = Rows((), cyclic(length, donor_length), (), donor_length)
    if channels is None or donor is None or (channels.length, donor.length) != (length, donor_length):
        return in_order
    if len(channels.positions) != len(donor.positions):
        return in_order
    source = channels.source if related else cyclic(len(channels.source), donor.width)
    return Rows(channels.positions, source, donor.positions, donor.width)


def take(call: Call, donor: Call, into: Rows, out: Indices) -> list[Taken] | None:
    """Return the new weights of a layer; None if the donor's do not fit.

    Args:
        call: a call of the layer.
        donor: a call of the donor's layer, of the same class.
        into: how the input's channels are found in the donor.
        out: the donor's channel for each channel of the output; -1 for a new one.
    """
    layer, old = call.operation, donor.operation
    axes, old_axes = axes_of(layer), axes_of(old)
    if axes is None or old_axes is None:
        return _whole(layer, old)
    if getattr(layer, "dilation_rate", None) != getattr(old, "dilation_rate", None):
        return None
    taken = []
    for name, of in axes.items():
        variable, value = getattr(layer, name, None), getattr(old, name, None)
        if variable is None or value is None:
            continue
        pair = _take(_values(variable), _values(value), of, into, out, _shifts(call, donor), zlib.crc32(call.path.encode()))
        if pair is None:
            return None
        taken.append(Taken(variable, *pair))
    return taken


def _take(
    start: Array, value: Array, axes: tuple[str, ...], into: Rows, out: Indices, shifts: tuple[int, ...], seed: int
) -> tuple[Array, NDArray[np.bool_]] | None:
    inherited, fresh = np.ones(value.shape, bool), np.zeros(start.shape, bool)
    rng = np.random.default_rng(seed)
    for axis, role in enumerate(axes):
        size = start.shape[axis]
        if role == "tap":
            value, inherited = (_shift(v, axis, size, shifts[axis]) for v in (value, inherited))
        elif role == "in":
            value, inherited = _take_rows(value, axis, into, rng), _take_rows(inherited, axis, into, None)
        elif role in ("out", "pass"):
            source = out if role == "out" else _flat(into)
            if source is None or len(source) != size:
                return None
            value, inherited = (np.take(v, np.maximum(source, 0), axis) for v in (value, inherited))
            fresh |= np.expand_dims(source < 0, tuple(i for i in range(start.ndim) if i != axis))
        if value.shape[axis] != size:
            return None
    return np.where(fresh, start, value), inherited & ~fresh


def _flat(into: Rows) -> Indices | None:
    """Return the donor's index of each place of a flattened axis."""
    if into.positions != into.old_positions:
        return None
    place = np.arange(prod(into.positions))[:, None]
    return np.where(into.source < 0, -1, place * into.width + into.source).ravel()


def _take_rows(value: Array, axis: int, into: Rows, rng: np.random.Generator | None) -> Array:
    """Take rows of a kernel; `value` is a mask if there is no `rng`."""
    moved = np.moveaxis(value, axis, 0)
    rest = moved.shape[1:]
    grid = moved.reshape(*into.old_positions, into.width, *rest).astype(float)
    for i, (new, old) in enumerate(zip(into.positions, into.old_positions, strict=True)):
        if new != old:
            grid = np.moveaxis(np.tensordot(_resize(new, old), grid, axes=(1, i)), 0, i)
    at = len(into.positions)
    grid = np.take(grid, np.maximum(into.source, 0), at)
    grid = np.moveaxis(grid, at, 0)
    grid[into.source < 0] = 0
    if rng is not None:
        grid = grid * _spread(into.source, grid.shape, rng)
    grid = np.moveaxis(grid, 0, at).reshape(-1, *rest)
    grid = np.moveaxis(grid, 0, axis)
    return grid if rng is not None else grid > 0


def _resize(new: int, old: int) -> Array:
    """Return the share of each old place that lies in each new one, shape (new, old); the sum over all places is kept."""
    low = np.maximum(np.arange(new)[:, None] / new, np.arange(old) / old)
    high = np.minimum((np.arange(new)[:, None] + 1) / new, (np.arange(old) + 1) / old)
    return np.maximum(high - low, 0) * old


def _spread(source: Indices, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return by what to multiply rows, so that those of one source add up to the donor's (Chen et al. 2016, Net2WiderNet).

    Equal shares would give equal channels equal gradients for ever. Each weight is shared out unevenly instead, which breaks
    the symmetry under any optimizer and, unlike noise on the weights, keeps the function.
    """
    count = np.bincount(np.maximum(source, 0), weights=source >= 0)[np.maximum(source, 0)]
    count = np.maximum(count, 1).reshape(-1, *(1,) * (len(shape) - 1))
    if (count == 1).all():
        return np.ones(count.shape)
    noise = rng.uniform(-1, 1, shape)
    total, known = np.zeros((source.max() + 1, *shape[1:])), source >= 0
    np.add.at(total, source[known], noise[known])
    return np.where(count > 1, (1 + _UNEVEN * (noise - total[np.maximum(source, 0)] / count)) / count, 1.0)


def _shifts(call: Call, donor: Call) -> tuple[int, ...]:
    """Return for each axis of the kernel at which place of it the donor's first place comes."""
    layer, old = call.operation, donor.operation
    if getattr(layer, "kernel_size", None) is None:
        return ()
    padding, transposed = getattr(layer, "padding", "valid"), type(layer) in _TRANSPOSED
    first = getattr(layer, "data_format", None) == "channels_first"
    shifts = []
    for i, (new, previous) in enumerate(zip(layer.kernel_size, old.kernel_size, strict=True)):
        if padding == "causal":  # it stands on its last place
            shifts.append(new - previous)
        elif padding == "same" and transposed:
            shifts.append(max(new - layer.strides[i], 0) // 2 - max(previous - layer.strides[i], 0) // 2)
        elif padding == "same":
            n, stride = call.input_shapes[0][i + (2 if first else 1)], layer.strides[i]
            shifts.append(_before(new, stride, n) - _before(previous, stride, n))
        else:
            shifts.append((new - previous) // 2)
    return tuple(shifts)


def _before(kernel: int, stride: int, size: int | None) -> int:
    """Return how many places of a kernel lie outside before the first pixel with padding="same"."""
    left_over = (size or 0) % stride
    return max(kernel - (left_over or stride), 0) // 2


def _shift(value: Array, axis: int, size: int, shift: int) -> Array:
    """Crop or pad an axis with zeros to `size`; index 0 moves to `shift`."""
    result = np.zeros((*value.shape[:axis], size, *value.shape[axis + 1 :]), value.dtype)
    to, of = (
        slice(max(s, 0), max(min(n, m + s), 0))
        for s, n, m in ((shift, size, value.shape[axis]), (-shift, value.shape[axis], size))
    )
    np.moveaxis(result, axis, 0)[to] = np.moveaxis(value, axis, 0)[of]
    return result


def _whole(layer: Any, old: Any) -> list[Taken] | None:
    pairs = list(zip(layer.weights, old.weights, strict=False))
    alike = len(layer.weights) == len(old.weights) and all(
        tuple(a.shape) == tuple(b.shape) and a.dtype == b.dtype for a, b in pairs
    )
    return [Taken(a, _values(b), np.ones(tuple(b.shape), bool)) for a, b in pairs] if alike else None


def _per_channel(variable: Any) -> tuple[str, ...]:
    """Return the axes of a weight with one value for each channel, the last; () for one with more."""
    shape = tuple(variable.shape)
    return (*("same" for _ in shape[1:]), "pass") if prod(shape[:-1]) == 1 else ()


def _is_float(variable: Any) -> bool:
    return isinstance(variable, keras.Variable) and keras.backend.is_float_dtype(variable.dtype)


def _values(variable: Any) -> Array:
    value = np.asarray(keras.ops.convert_to_numpy(variable))
    return value.astype("float32") if keras.backend.standardize_dtype(variable.dtype) in ("bfloat16", "float16") else value
