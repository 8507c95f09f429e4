"""New layers that pass on what they are given, so that a network with a block more computes what it did before."""

from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasnas.search.inheritance.channels import Channels, Indices
from kerasnas.search.inheritance.graph import Call, Graph
from kerasnas.search.inheritance.weights import Taken

__all__ = ["Branches", "dirac", "gate", "silence", "standard"]

# A branch that ends in relu would get no gradient from zeros; it begins this quiet instead.
_QUIET = 0.01
# What the gate of a new squeeze-and-excitation begins with: sigmoid(3) = 0.95.
_OPEN = 3.0

_ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
_THROUGH = ("Dropout", "SpatialDropout", "MaxPooling", "AveragePooling", "ZeroPadding", "Identity", "Multiply")


class Branches:
    """Where a network branches and merges, seen from the layers that a donor does not have.

    Args:
        graph: the new network.
        matched: paths of the layers that have a donor.

    Attributes:
        silent: paths of layers that end a new branch; at zero the sum is what it was without them. Each with whether relu
            follows.
        open: paths of layers that compute a new gate.
        inside: paths of all layers of new branches.
    """

    def __init__(self, graph: Graph, matched: Collection[str]) -> None:
        self.silent: dict[str, bool] = {}
        self.open: set[str] = set()
        self.inside: set[str] = set()
        self._makers = graph.makers()
        before: dict[int, frozenset[str]] = {tensor: frozenset() for tensor in graph.inputs}
        for call in graph.calls:
            own = {call.path} if call.has_weights else set()
            for tensor in call.outputs:
                before[tensor] = frozenset(own).union(*(before[taken] for taken in call.inputs))
        for call in graph.calls:
            kind = type(call.operation).__name__
            if kind in ("Add", "Multiply") and len(set(call.inputs)) == len(call.inputs) > 1:
                self._look(call, before, matched, gates=kind == "Multiply")

    def _look(self, call: Call, before: Mapping[int, frozenset[str]], matched: Collection[str], *, gates: bool) -> None:
        own = [before[t].difference(*(before[o] for o in call.inputs if o != t)) for t in call.inputs]
        ends = [self._end(tensor, paths) for tensor, paths in zip(call.inputs, own, strict=True)]
        # The shortcut has the fewest layers; if an old branch ends here, all new ones are silent, a new shortcut, too.
        old = [not paths.isdisjoint(matched) for paths in own]
        shortcut = None if any(old) else min(range(len(own)), key=lambda i: len(own[i]))
        for i, end in enumerate(ends):
            if end is None or old[i] or i == shortcut:
                continue
            path, relu, sigmoid = end
            self.inside |= own[i]
            if gates and sigmoid:
                self.open.add(path)
            elif not gates and not sigmoid:
                self.silent[path] = relu

    def _end(self, tensor: int, own: Collection[str]) -> tuple[str, bool, bool] | None:
        """Return the last layer with weights of a branch, whether relu follows, whether it ends in sigmoid."""
        relu = sigmoid = False
        while (call := self._makers.get(tensor)) is not None:
            reply = _reply(call)
            if reply is None:
                return None
            relu |= reply[0] == 0 and reply[1] == 0
            sigmoid |= reply[1] == 0.5
            if call.has_weights:
                return (call.path, relu, sigmoid) if call.path in own and (sigmoid or reply[1] == 0) else None
            if reply[1] not in (0, 0.5):
                return None
            tensor = call.inputs[0]
        return None


def _reply(call: Call) -> tuple[float, float] | None:
    """Return what the activation of a call makes of -1 and 0; None for an operation that is not known to be local."""
    operation = call.operation
    points = np.array([[-1.0, 0.0]], "float32")
    if call.has_weights:
        function = getattr(operation, "activation", None)
    elif type(operation) in _ACTIVATIONS:
        function = operation
    elif type(operation).__name__.startswith(_THROUGH):
        function = None
    else:
        return None
    try:
        tensor = keras.ops.convert_to_tensor(points)
        replies = keras.ops.convert_to_numpy(function(tensor)) if callable(function) else points
        low, zero = np.asarray(replies, "float32")[0]
    except Exception:  # an activation can be any function; one that does not work channel by channel is of no use here
        return None
    return float(low), float(zero)


def dirac(call: Call, channels: Channels | None) -> tuple[list[Taken], Indices] | None:
    """Return weights with which a layer passes its input on, and the input's channel for each of its output's, -1 if new.

    Channels beyond those of the input begin at random. (Chen et al. 2016, Net2DeeperNet; there for equal widths.)

    Returns:
        None for a layer that cannot: strides, fewer channels out than in, padding that cuts the edges off.
    """
    layer = call.operation
    kind = type(layer)
    depthwise = kind in (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
    plain = kind in (layers.Conv1D, layers.Conv2D, layers.Conv3D) and layer.groups == 1
    if channels is None or channels.positions or not (depthwise or plain or kind is layers.Dense):
        return None
    if kind is not layers.Dense:
        whole = layer.padding == "same" or set(layer.kernel_size) == {1}
        if not whole or set(layer.strides) != {1} or (depthwise and layer.depth_multiplier != 1):
            return None
    width = len(channels.source)
    kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
    count = width if depthwise else kernel.shape[-1]
    if count < width or kernel.shape[-2] != width:
        return None
    middle = tuple((size - 1) // 2 for size in kernel.shape[:-2])
    if depthwise:
        kernel[:] = 0
        kernel[middle] = 1
    else:
        kernel[..., :width] = 0
        kernel[(*middle, slice(None), slice(0, width))] = np.eye(width)
    made = [_new(layer.kernel, kernel)]
    if layer.bias is not None:
        made.append(_new(layer.bias, np.zeros(layer.bias.shape)))
    return made, np.where(np.arange(count) < width, np.arange(count), -1)


def standard(layer: Any) -> list[Taken]:
    """Return weights with which a new batch normalisation passes on what it is given, as long as it does not train."""
    if type(layer) is not layers.BatchNormalization or layer.gamma is None:
        return []
    variance = np.array(keras.ops.convert_to_numpy(layer.moving_variance), "float32")
    return [_new(layer.gamma, np.sqrt(variance + layer.epsilon))]


def silence(layer: Any, *, relu: bool) -> list[Taken]:
    """Return weights with which a layer gives zeros; where relu follows, a hundredth of what it gives now."""
    factor = _QUIET if relu else 0.0
    names = ("gamma", "beta") if getattr(layer, "gamma", None) is not None else ("kernel", "pointwise_kernel", "bias")
    variables = [getattr(layer, name, None) for name in names]
    return [
        _new(v, factor * np.array(keras.ops.convert_to_numpy(v), "float32")) for v in variables if isinstance(v, keras.Variable)
    ]


def gate(layer: Any) -> list[Taken]:
    """Return weights with which a layer with a sigmoid gives 0.95 everywhere."""
    if getattr(layer, "bias", None) is None:
        return []
    return [_new(layer.kernel, np.zeros(layer.kernel.shape)), _new(layer.bias, np.full(layer.bias.shape, _OPEN))]


def _new(variable: Any, values: Any) -> Taken:
    return Taken(variable, values, np.zeros(tuple(variable.shape), bool))
