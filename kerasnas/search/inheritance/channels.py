"""Which channel of a donor each channel of a tensor stands for, followed through a network."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from kerasnas.search.inheritance.graph import Call, Graph, Shape

__all__ = ["Channels", "Groups", "Visit", "follow"]

Indices = NDArray[np.int64]
Visit = Callable[[Call, "Channels | None"], "Channels | None"]


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of a tensor.

    Attributes:
        source: for each channel the donor's, -1 if it has none; shape (channels,).
        width: number of channels that the donor has.
        group: tensors of the donor whose channels belong together have one group, since they are added or multiplied.
        axis: the axis of the tensor that holds the channels, counted from 0, the batch.
        positions: spatial size laid out along that axis before the channels, () if there is none. Dense layers after Flatten
            and after global pooling see (height, width) and (1, 1).
    """

    source: Indices
    width: int
    group: Hashable
    axis: int
    positions: tuple[int, ...] = ()

    @classmethod
    def whole(cls, count: int, group: Hashable, axis: int) -> "Channels":
        """Return channels that each stand for the donor's of the same index."""
        return cls(np.arange(count), count, group, axis)

    @property
    def length(self) -> int:
        """Length of the axis."""
        return len(self.source) * prod(self.positions)


class Groups:
    """Groups of channels, some of which turn out to be the same (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, group: Hashable) -> Hashable:
        """Return the name by which `group` is known by now."""
        if isinstance(group, tuple):
            group = tuple(self.find(part) for part in group)
        while group in self._parent:
            group = self._parent[group]
        return group

    def join(self, one: Hashable, other: Hashable) -> None:
        """Make two groups one."""
        one, other = self.find(one), self.find(other)
        if one != other:
            self._parent[other] = one


def follow(graph: Graph, visit: Visit, groups: Groups | None = None) -> dict[int, Channels | None]:
    """Return the channels of every tensor; None where they are not known.

    Args:
        graph: the network.
        visit: called for each layer with weights, with the channels of its first input; returns those of its output.
        groups: given for a donor, whose groups are joined where their tensors are.
    """
    known: dict[int, Channels | None] = {
        tensor: Channels.whole(shape[-1], ("input", i), len(shape) - 1) if len(shape) > 1 and shape[-1] else None
        for i, (tensor, shape) in enumerate(graph.inputs.items())
    }
    for call in graph.calls:
        taken = [known[tensor] for tensor in call.inputs]
        made = visit(call, taken[0] if taken else None) if call.has_weights else _route(call, taken, groups)
        known |= {tensor: made if len(call.outputs) == 1 else None for tensor in call.outputs}
    return known


def _route(call: Call, taken: Sequence[Channels | None], groups: Groups | None) -> Channels | None:
    """Pass channels on through an operation without weights."""
    inputs = [channels for channels in taken if channels is not None]
    if not inputs or len(call.outputs) != 1:
        return None
    first, kind, shape = inputs[0], type(call.operation).__name__, call.output_shapes[0]
    if kind == "Concatenate" and call.operation.axis % len(shape) == first.axis:
        return _joined(inputs) if len(inputs) == len(taken) else None
    if kind.startswith("Global") and "Pooling" in kind and not call.operation.keepdims:
        return replace(first, axis=1, positions=(1,) * (len(call.input_shapes[0]) - 2))
    if kind == "Flatten":
        return _flattened(call, first)
    kept = [channels for channels in inputs if _passes(channels, shape)]
    if groups is not None:
        for other in kept[1:]:
            groups.join(kept[0].group, other.group)
    return kept[0] if kept else None


def _passes(channels: Channels, shape: Shape) -> bool:
    return len(shape) > channels.axis and shape[channels.axis] == channels.length


def _joined(parts: Sequence[Channels]) -> Channels | None:
    if len({(part.axis, part.positions) for part in parts}) > 1:
        return None
    if parts[0].positions:
        return None
    starts = np.cumsum([0, *(part.width for part in parts)])
    sources = [np.where(part.source < 0, -1, part.source + start) for part, start in zip(parts, starts, strict=False)]
    return Channels(np.concatenate(sources), int(starts[-1]), tuple(part.group for part in parts), parts[0].axis)


def _flattened(call: Call, channels: Channels) -> Channels | None:
    shape = call.input_shapes[0]
    if len(shape) == 2:
        return channels
    if channels.axis != len(shape) - 1 or channels.positions or None in shape[1:]:
        return None
    return replace(channels, axis=1, positions=tuple(int(n) for n in shape[1:-1] if n is not None))
