"""How channels pass through operations of keras.ops that stand in the graph, such as the product in `x * y`."""

from typing import Any

import keras
import numpy as np

from kerasnas.compress.channels.arrangement import combined, joined, rearranged, reduced
from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.replay import Call
from kerasnas.compress.channels.tracer import Tracer

__all__ = ["operation_layout"]

# By class name: Keras does not export these classes.
_ELEMENTWISE = set(
    "Abs Absolute Cast Celu Clip Elu Exp Expm1 Gelu HardSigmoid HardSilu HardTanh Identity LeakyRelu Log Log1p LogSigmoid Mish "
    "Negative Reciprocal Relu Relu6 Rsqrt Selu Sigmoid Sign Silu Softplus Softsign Sqrt Square Squareplus Tanh".split()
)
_BINARY = {"Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract", "TrueDivide"}
_REDUCTIONS = {"Amax", "Amin", "Max", "Mean", "Min", "Std", "Sum", "Var"}


def operation_layout(tracer: Tracer, call: Call, *parts: Layout) -> Layout | str:
    """Return the layout of what an operation makes, or why it leaves all channels as they are."""
    operation, kind = call.operation, type(call.operation).__name__
    others = [x for x in keras.tree.flatten((call.args, call.kwargs)) if not isinstance(x, Layout)]
    if not type(operation).__module__.startswith("keras."):
        return "it is not an operation of Keras"
    others += [getattr(operation, name, None) for name in ("x_min", "x_max")]  # of Clip
    if kind in _ELEMENTWISE and len(parts) == 1 and not any(np.ndim(x) for x in others if not isinstance(x, str)):
        return Layout(call.shapes[0], parts[0].axis, parts[0].channels, parts[0].reason)
    if kind in _BINARY and all(_is_scalar(x) for x in others):
        return combined(tracer, parts, call.shapes[0], operation.name)
    if kind == "Concatenate" and operation.axis is not None:
        rank = len(call.shapes[0])
        return joined(tracer, parts, call.shapes[0], (operation.axis % rank) - rank, operation.name)
    if kind in _REDUCTIONS and len(parts) == 1 and operation.axis is not None:
        rank = len(parts[0].shape)
        axes = [int(axis) % rank - rank for axis in np.atleast_1d(operation.axis)]
        return reduced(parts[0], call.shapes[0], axes, keepdims=bool(operation.keepdims))
    if kind in ("ExpandDims", "Squeeze", "Transpose") and len(parts) == 1:
        return _rearranged(tracer, call, parts[0])
    return "it may mix channels"


def _rearranged(tracer: Tracer, call: Call, x: Layout) -> Layout | str:
    """Axes are added, taken away or exchanged; the batch stays the first."""
    operation, shape = call.operation, [length or 0 for length in call.shapes[0][1:]]
    if type(operation).__name__ == "Transpose":
        axes = [axis % len(x.shape) for axis in operation.axes or (-1,)]
        if axes[0] != 0:
            return "it moves the batch"
        return rearranged(tracer, x, call.shapes[0], lambda values: values.transpose([axis - 1 for axis in axes[1:]]))
    rank = len(call.shapes[0]) if type(operation).__name__ == "ExpandDims" else len(x.shape)
    if operation.axis is None or any(int(axis) % rank == 0 for axis in np.atleast_1d(operation.axis)):
        return "it may change the batch"
    return rearranged(tracer, x, call.shapes[0], lambda values: values.reshape(shape))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, np.ndarray | np.generic) and value.ndim == 0)
