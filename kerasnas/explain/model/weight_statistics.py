"""How the weights and the activations of a model are distributed, layer by layer, and which of its units are dead."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.cost.graph import graph_of, inner_graph
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.inner_network import InnerCall, InnerNetwork
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.model.streamed_moments import StreamedMoments
from kerasnas.explain.whole_number import require_whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Distribution", "WeightStatistics", "weight_statistics"]

# Layers and operations of keras.ops that are a nonlinearity without an attribute `activation`, by class name.
_NONLINEARITIES = {"ELU", "Elu", "Gelu", "LeakyReLU", "LeakyRelu", "PReLU", "ReLU", "Relu", "Relu6", "Selu", "Sigmoid", "Silu"}
_NONLINEARITIES |= {"Softmax", "Tanh"}


@dataclass(frozen=True, eq=False)
class Distribution:
    """The numbers in one weight or one activation.

    Attributes:
        layer: path of the layer, "backbone/name" inside a nested model.
        part: name of the weight, such as "kernel", or "activation" for the output of the layer. In a layer of layers, such as
            attention or TimeDistributed around a model, with the names of the inner layers: "frame/conv/kernel".
        axes: of a weight; of an activation, the batch included.
        count: how many numbers.
        mean, sd, minimum, maximum: of these; sd over count, not count - 1.
        kurtosis: excess kurtosis: 0 for a normal distribution, -1.2 for a uniform one; NaN if all numbers are equal.
        zeros_share: share of exact zeros, in [0, 1].
        frobenius_norm: square root of the sum of squares; NaN for activations.
        stable_rank: of a weight as a matrix, from 1 to the smaller of its sides; NaN for vectors, zeros and activations.
        units: length of the last axis of an activation; None for weights.
        dead_units: units that have, at each position, the same value for all samples, if the layer applies a nonlinearity; else
            None, as for weights.
        zero_units: those of the dead units that are zero at all positions.
        histogram: counts in bins of equal width.
        edges: the edges of the bins, one more than counts.
    """

    layer: str
    part: str
    axes: int
    count: int
    mean: float
    sd: float
    minimum: float
    maximum: float
    kurtosis: float
    zeros_share: float
    frobenius_norm: float
    stable_rank: float
    units: int | None
    dead_units: int | None
    zero_units: int | None
    histogram: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class WeightStatistics:
    """What `weight_statistics` found.

    Attributes:
        rows: the weights in the order of the layers, then the activations in the order in which they are computed.
        samples: on how many samples the activations were looked at; a unit that is dead on these may live on others.
    """

    rows: tuple[Distribution, ...]
    samples: int

    def __repr__(self) -> str:
        return f"WeightStatistics({len(self.rows)} distributions, {self.samples} samples, {self.dead_units} dead units)"

    def __str__(self) -> str:
        columns = ["layer", "part", "count", "mean", "sd", "zeros_share", "stable_rank", "dead_units"]
        return f"{self!r}\n{self.to_dataframe()[columns].to_string(index=False, float_format='{:.3g}'.format, na_rep='')}"

    @property
    def dead_units(self) -> int:
        """The dead units of all layers."""
        return sum(row.dead_units or 0 for row in self.rows)

    def of(self, layer: str, part: str = "kernel") -> Distribution:
        """Return the row of one part of one layer; raises InvalidArgument if there is none, or more than one."""
        found = [row for row in self.rows if (row.layer, row.part) == (layer, part)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidArgument(
                f"Expected a layer and a part that are there once; came {layer!r}, {part!r}, of which there are {len(found)}. "
                "Take them from rows."
            )
        raise InvalidArgument(
            f"Expected a layer and a part that are there; came {layer!r}, {part!r}. Choose from: "
            f"{', '.join(f'{row.layer} ({row.part})' for row in self.rows)}."
        )

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each distribution, columns named as in `Distribution`, without the histograms."""
        import pandas as pd

        names = [field.name for field in fields(Distribution) if field.name not in ("histogram", "edges")]
        table = pd.DataFrame([[getattr(row, name) for name in names] for row in self.rows], columns=names)
        return table.astype({name: "Int64" for name in ("units", "dead_units", "zero_units")})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG: a line for each layer that has a kernel, with the histograms of its kernel and its activation.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        from kerasnas.explain.model.distribution_sheet import distribution_sheet

        path = png_path(path)
        figure = distribution_sheet(self.rows, self.samples)
        return write_png(path, figure)


def weight_statistics(model: Any, x: ArrayLike | None = None, *, bins: int = 40) -> WeightStatistics:
    """Measure the distributions of the weights of a model, and of its activations on samples.

    The stable rank of a weight W is ||W||_F**2 / ||W||_2**2: how many directions of equal strength it has. W is made a
    matrix by keeping its last axis; a depthwise kernel keeps its last two.

    Args:
        model: built Keras 3 Functional or Sequential model; with `x` a classifier. It is not changed. In mixed
            precision activations are computed in float32.
        x: shape (batch, height, width, channels) or (batch, ...), at least two samples, as the model takes them. None:
            weights alone.
        bins: of the histograms, >= 1.

    Returns:
        WeightStatistics with a row for each weight (a shared one once), and for the output of each inner layer: before
        the softmax or sigmoid at the end.

    Raises:
        InvalidArgument: if the model, x or bins are not as above, or if a weight or an activation is not finite.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="ones", name="dense")])
        >>> weight_statistics(model).of("dense").stable_rank
        1.0

    Source:
        Stable rank: Rudelson and Vershynin 2007. Dead units: Lu et al. 2019, "Dying ReLU and initialization".
    """
    require_whole_number("bins", bins, 1)
    graph_of(model)  # says what is wrong with a model that has no graph
    rows = list(_weights(inner_graph(model), "", set(), bins))
    if x is None:
        return WeightStatistics(tuple(rows), 0)
    view = ScoreView(model, x, images_only=False)
    view.require_channels_last(", or leave out x, for the weights alone")
    if len(view.images) < 2:
        raise InvalidArgument("Expected at least two samples; came one, on which every unit is constant.")
    rows.extend(_activations(view, bins))
    return WeightStatistics(tuple(rows), len(view.images))


def _weights(graph: Any, prefix: str, known: set[int], bins: int) -> Iterator[Distribution]:
    for layer in graph.layers:
        inner = inner_graph(layer)
        if inner is not None:
            yield from _weights(inner, f"{prefix}{layer.name}/", known, bins)
            continue
        for weight in layer.weights:
            if id(weight) in known or 0 in weight.shape or "float" not in str(weight.dtype):
                continue  # a shared one; nothing; the state of a random generator
            known.add(id(weight))
            values = np.asarray(weight).astype(np.float64)
            part = _part(layer, weight)
            moments = StreamedMoments(f"{part} of layer {prefix + layer.name!r}", bins)
            moments.look(values)
            moments.measure(values)
            depthwise = "depthwise" in part or isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
            ranks = float(np.linalg.norm(values)), _stable_rank(values, kept_axes=2 if depthwise else 1)
            yield _distribution(prefix + layer.name, part, moments, ranks, (None, None, None))


def _part(layer: Any, weight: Any) -> str:
    """Return the name of a weight; in a layer of layers, such as attention, with those of the inner layers."""
    names = str(weight.path).split("/")
    if layer.name in names[:-1]:
        return "/".join(names[names.index(layer.name) + 1 :])
    # A model that is wrapped was built before the layer around it, whose name its weights do not know.
    return str(weight.path if layer._flatten_layers(include_self=False) else weight.name)


def _stable_rank(values: np.ndarray, *, kept_axes: int) -> float:
    if values.ndim < 2 or not values.any():
        return math.nan
    matrix = values.reshape(-1, math.prod(values.shape[-kept_axes:]))
    singular = np.linalg.svd(matrix / np.abs(matrix).max(), compute_uv=False)
    return float((singular**2).sum() / singular[0] ** 2)


def _activations(view: ScoreView, bins: int) -> Iterator[Distribution]:
    network = InnerNetwork(view)
    calls = {call.index: call for call in network.calls if call.end != "input"}
    seen = {index: StreamedMoments(f"the output of layer {call.path!r}", bins) for index, call in calls.items()}
    for take in (StreamedMoments.look, StreamedMoments.measure):
        for start in range(0, len(view.images), view.chunk):
            values = network.values(start, start + view.chunk)
            for index, moments in seen.items():
                take(moments, values[index])
    for index, call in calls.items():
        moments, units = seen[index], call.shape[-1]
        dead = (moments.low == moments.high).reshape(-1, units).all(axis=0)
        zero = dead & (moments.low == 0).reshape(-1, units).all(axis=0)
        # Of a layer that gives the scores the replay leaves the activation out.
        counts = (units, int(dead.sum()), int(zero.sum())) if not call.end and _is_nonlinear(call) else (units, None, None)
        yield _distribution(call.path, "activation", moments, (math.nan, math.nan), counts)


def _is_nonlinear(call: InnerCall) -> bool:
    activation = getattr(getattr(call.operation, "activation", None), "__name__", "linear")
    return activation != "linear" or type(call.operation).__name__ in _NONLINEARITIES


def _distribution(
    layer: str,
    part: str,
    moments: StreamedMoments,
    norm_and_rank: tuple[float, float],
    units: tuple[int | None, int | None, int | None],
) -> Distribution:
    return Distribution(
        layer,
        part,
        moments.low.ndim + 1,
        moments.count,
        moments.mean,
        moments.sd,
        float(moments.low.min()),
        float(moments.high.max()),
        moments.kurtosis,
        moments.zeros / moments.count,
        *norm_and_rank,
        *units,
        moments.histogram,
        moments.edges,
    )
