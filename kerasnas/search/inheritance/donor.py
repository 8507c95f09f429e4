"""What is known of a donor before anything is taken from it."""

from collections.abc import Hashable
from math import prod
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.search.inheritance.channels import Channels, Groups, Indices, follow
from kerasnas.search.inheritance.graph import Call, Graph
from kerasnas.search.inheritance.weights import output_axis, output_width, passes_channels, reading

__all__ = ["Donor"]


class Donor:
    """The channels of a donor: which layer sees which of them, and which of them matter.

    Attributes:
        inputs: for each layer, by the path of its first call, the channels that it sees; None if they are not known.
    """

    def __init__(self, graph: Graph) -> None:
        self.inputs: dict[str, Channels | None] = {}
        self._groups = Groups()
        # What reads and what scales the channels of each group, under the names that the groups had at the time.
        self._read: list[tuple[Hashable, NDArray[Any]]] = []
        self._scaled: list[tuple[Hashable, NDArray[Any]]] = []
        follow(graph, self._visit, self._groups)

    def group(self, channels: Channels | None) -> Hashable | None:
        """Return the group of channels; None if they are not known."""
        return None if channels is None else self._groups.find(channels.group)

    def keep(self, call: Call, count: int) -> Indices:
        """Return the `count` most important channels that a layer makes, in order.

        The importance of a channel is the sum of the absolute weights that read it, times the sum of the absolute factors that
        normalisations give it. It is that of its group, so that layers whose outputs are added keep the same channels.
        """
        width = output_width(call) or count
        group = self._groups.find(call.path)
        sums = []
        for found in (self._read, self._scaled):
            of = [values for name, values in found if self._groups.find(name) == group and len(values) == width]
            sums.append(np.sum(of, axis=0) if of else np.ones(width))
        order: Indices = np.argsort(-sums[0] * sums[1], kind="stable")
        return np.sort(order[:count])

    def _visit(self, call: Call, channels: Channels | None) -> Channels | None:
        layer = call.operation
        if call.path not in self.inputs and channels is not None:
            self._weigh(layer, channels)
        self.inputs.setdefault(call.path, channels)
        if passes_channels(layer):
            return channels
        width = output_width(call)
        return None if width is None else Channels.whole(width, call.path, output_axis(call))

    def _weigh(self, layer: Any, channels: Channels) -> None:
        weights = reading(layer)
        if weights is not None and len(weights) == channels.length:
            self._read.append((channels.group, weights.reshape(prod(channels.positions), -1).sum(axis=0)))
        gamma = getattr(layer, "gamma", None)
        if passes_channels(layer) and gamma is not None and prod(gamma.shape) == len(channels.source):
            self._scaled.append((channels.group, np.abs(keras.ops.convert_to_numpy(gamma)).astype(float).ravel()))
