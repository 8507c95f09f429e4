"""A network that begins with the weights of another one."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.search.inheritance.channels import Channels, Indices, follow
from kerasnas.search.inheritance.donor import Donor
from kerasnas.search.inheritance.graph import Call, Graph, trace
from kerasnas.search.inheritance.insertion import Branches, dirac, gate, silence, standard
from kerasnas.search.inheritance.roles import match
from kerasnas.search.inheritance.weights import Taken, cyclic, output_axis, output_width, passes_channels, rows, sizes, take

__all__ = ["Inheritance", "inherit"]


@dataclass(frozen=True)
class Inheritance:
    """What a network took from its donor.

    Attributes:
        share: share of its trainable weights that have the donor's values, in [0, 1].
        layers: for each layer with weights, by its path, how it begins: "copied"; "widened" or "sliced", from a layer of
            another size; "identity", new and passing on what it is given; "fresh", as it was.
    """

    share: float
    layers: Mapping[str, str]


def inherit(model: keras.Model, donor: keras.Model) -> Inheritance:
    """Give `model` the weights of `donor`, in place, as far as their layers play the same roles.

    A role is a name together with a class; layers that Keras named are aligned in their order. Each channel of the model
    stands for one of the donor's. Where a layer is wider, the donor's channels are repeated in turn and the kernels that read
    them share their weights among the copies (Net2WiderNet); where it is narrower, the channels that are read most stay.
    Kernels of another size are cropped or padded with zeros about the pixel that they stand on; dense layers after Flatten
    are resized to another picture. New layers begin by passing on what they are given (Net2DeeperNet): a new branch at zero,
    or at a hundredth of its random weights where relu follows; a new convolution or dense layer as the identity; a new gate
    at 0.95.

    So a model that is wider than its donor, with larger kernels ("same" padding) or new blocks, computes outside of training
    what its donor does. Exceptions, where it computes something like it: layer and group normalisation of widths that are not
    multiples of the donor's; new layers outside of branches, unless relu follows them and their input is nowhere negative;
    new branches that end in relu; new gates.

    Layers without a partner, output layers with another number of classes, and layers of unknown classes with other shapes
    stay as they are; so does all if a weight of the donor is not finite. The optimizer is left alone.

    Args:
        model: a built Functional or Sequential model.
        donor: likewise; it is only read.
    Raises:
        InvalidArgument: for another kind of model, or inputs of another number, rank or number of channels.
    Source:
        Chen et al. 2016, Net2Net, Algorithm 1. Deviations: channels are repeated in turn instead of at random, so that sums
        stay consistent; symmetry is broken by sharing weights unevenly instead of by noise.
    """
    ours, theirs = trace(model, "model"), trace(donor, "donor")
    _check_inputs(ours, theirs)
    heir = _Heir(ours, theirs)
    if all(_is_finite(variable) for variable in donor.variables):
        follow(ours, heir.visit)
        for taken in heir.taken:
            taken.variable.assign(taken.values.astype(keras.backend.standardize_dtype(taken.variable.dtype)))
    inherited = {id(taken.variable): int(taken.inherited.sum()) for taken in heir.taken}
    sizes = {id(variable): prod(variable.shape) for variable in model.trainable_variables}
    share = sum(inherited.get(key, 0) for key in sizes) / max(sum(sizes.values()), 1)
    return Inheritance(share, heir.how)


class _Heir:
    """Collects the new weights of a network, layer by layer in the order of its calls."""

    def __init__(self, graph: Graph, donor: Graph) -> None:
        self.taken: list[Taken] = []
        self.how = dict.fromkeys(graph.layers(), "fresh")
        self._donor = Donor(donor)
        self._pairs = match(graph, donor)
        self._branches = Branches(graph, self._pairs)
        self._wanted = self._look_ahead(graph)
        self._outputs = _output_layers(graph)
        self._paths: dict[int, str] = {}
        self._made: dict[str, Channels | None] = {}

    def visit(self, call: Call, channels: Channels | None) -> Channels | None:
        """Take the weights of a layer, at its first call, and return the channels of its output."""
        layer = call.operation
        path = self._paths.setdefault(id(layer), call.path)
        if path not in self._made:
            pair = self._pairs.get(path)
            self._made[path] = self._begin(call, channels) if pair is None else self._take(call, pair, channels)
        return channels if passes_channels(layer) else self._made[path]

    def _take(self, call: Call, pair: Call, channels: Channels | None) -> Channels | None:
        layer, old = call.operation, pair.operation
        length, count = sizes(layer)
        old_length, old_count = sizes(old)
        if call.path in self._outputs and count != old_count:
            return None
        related = channels is not None and self._donor.group(channels) == self._donor.group(self._donor.inputs[pair.path])
        into = rows(channels, length, self._donor.inputs[pair.path], old_length, related=related)
        out = cyclic(count, old_count) if count >= old_count else self._donor.keep(pair, count)
        taken = take(call, pair, into, out)
        if taken is None:
            return None
        self.taken += taken
        self.how[call.path] = _compare(layer, old)
        width, old_width = output_width(call), output_width(pair)
        if width is None or old_width is None:
            return None
        return Channels(out if count else cyclic(width, old_width), old_width, pair.path, output_axis(call))

    def _begin(self, call: Call, channels: Channels | None) -> Channels | None:
        """Let a layer without a partner pass its input on, if it can."""
        layer, path = call.operation, call.path
        made: list[Taken] = []
        source: Indices | None = None
        if path in self._branches.silent:
            made = silence(layer, relu=self._branches.silent[path])
        elif path in self._branches.open:
            made = gate(layer)
        elif channels is not None and path not in self._branches.inside and self._is_wanted(call, channels):
            made, source = dirac(call, channels) or (standard(layer), None)
        if made:
            self.taken += made
            self.how[path] = "identity"
        if source is None or channels is None:
            return None
        known = np.where(source < 0, -1, channels.source[np.maximum(source, 0)])
        return Channels(known, channels.width, channels.group, output_axis(call))

    def _is_wanted(self, call: Call, channels: Channels) -> bool:
        """Tell whether a layer further on reads, in the donor, the very tensor that comes in here."""
        return any(self._donor.group(channels) in self._wanted.get(tensor, ()) for tensor in call.outputs)

    def _look_ahead(self, graph: Graph) -> dict[int, set[Hashable]]:
        """Return for each tensor the donor's groups that the next layers with a partner read."""
        wanted: dict[int, set[Hashable]] = {}
        for call in reversed(graph.calls):
            pair = self._pairs.get(call.path)
            if pair is None or passes_channels(call.operation):
                groups = set().union(*(wanted.get(tensor, set()) for tensor in call.outputs))
            else:
                groups = {self._donor.group(self._donor.inputs[pair.path])}
            for tensor in call.inputs:
                wanted.setdefault(tensor, set()).update(groups - {None})
        return wanted


def _output_layers(graph: Graph) -> set[str]:
    """Return the layers whose channels are those of an output of the model."""
    makers, found, stack = graph.makers(), set(), list(graph.outputs)
    while stack:
        call = makers.get(stack.pop())
        if call is None:
            continue
        if call.has_weights and not passes_channels(call.operation):
            found.add(call.path)
        else:
            stack += call.inputs
    return found


def _compare(layer: Any, old: Any) -> str:
    pairs = [(a.shape, b.shape) for a, b in zip(layer.weights, old.weights, strict=False)]
    if all(tuple(a) == tuple(b) for a, b in pairs):
        return "copied"
    return "widened" if all(m >= n for a, b in pairs for m, n in zip(a, b, strict=True)) else "sliced"


def _is_finite(variable: Any) -> bool:
    if not keras.backend.is_float_dtype(variable.dtype):
        return True
    return bool(keras.ops.convert_to_numpy(keras.ops.all(keras.ops.isfinite(variable))))


def _check_inputs(model: Graph, donor: Graph) -> None:
    ours, theirs = list(model.inputs.values()), list(donor.inputs.values())
    alike = len(ours) == len(theirs) and all(len(a) == len(b) and a[-1] == b[-1] for a, b in zip(ours, theirs, strict=True))
    if not alike:
        raise InvalidArgument(
            f"Expected a donor for inputs of the same number, rank and channels as the model's, {ours}; got {theirs}. "
            "Choose a donor that was trained on the same kind of data."
        )
