"""How easy a model is to read: measures of its structure, its parameters and its explanations, in one table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasnas.cost import cost_of
from kerasnas.cost.graph import Call, Graph, graph_of
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.black_box import scores_of
from kerasnas.explain.model.faithfulness import faithfulness
from kerasnas.explain.model.gini import gini
from kerasnas.explain.model.randomisation import map_correlation
from kerasnas.explain.model.weight_statistics import weight_statistics

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interpretability", "interpretability"]

_NOISE = 0.02  # standard deviation, as a share of the range of an image


@dataclass(frozen=True, eq=False, repr=False)
class Interpretability(Mapping[str, float]):
    """Measures by name, each ending in its unit; see `interpretability`. A frozen mapping: `result["depth_layers"]`."""

    measures: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "measures", MappingProxyType({name: float(value) for name, value in self.measures.items()}))

    def __getitem__(self, name: str) -> float:
        return self.measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def __len__(self) -> int:
        return len(self.measures)

    def __repr__(self) -> str:
        return f"Interpretability({', '.join(f'{name}={value:.6g}' for name, value in self.items())})"

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(
            f"{name:<{width}}  {f'{value:,.0f}' if value.is_integer() else f'{value:.4g}'}" for name, value in self.items()
        )

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each measure: measure, value."""
        import pandas as pd

        return pd.DataFrame({"measure": list(self), "value": list(self.values())})


def interpretability(model: Any, *, attributions: Sequence[Any] = ()) -> Interpretability:
    """Measure what makes a model easy or hard to read; nothing is run but for `attributions` that tell their model.

    Structure, over the calls of the graph that the outputs depend on, nested models opened; a model that a layer holds, such as
    TimeDistributed, counts as that one layer:
        depth_layers: the most layers with a kernel (as below) on a path from an input to an output; as
            in the name of ResNet-50, normalisations do not count.
        paths_count: paths from the inputs to the outputs.
        branches_count: values that more than one call reads.
        merges_count: calls that read more than one value.
        skips_count: connections that jump over a longer path between the same two calls, as an identity shortcut does.
        unique_operators_count: kinds of layers and operations, by class.
        parameters_count, macs_count: as `kerasnas.cost.cost_of` counts them, MACs for one sample.

    Parameters, over the kernels (weights of at least two axes but for those that are called bias, alpha, gamma, beta, mean or
    variance, such as biases of attention and slopes of PReLU), NaN if there are none:
        kernel_zeros_share: share of exact zeros in all kernels together.
        kernel_kurtosis_mean: mean over the kernels of the excess kurtosis: high if few weights carry much.
        kernel_stable_rank_mean: mean over the kernels, from 1.
        kernel_norm: square root of the sum of squares of all kernels together.

    Explanations, for each of `attributions`:
        METHOD_gini_mean: mean over the maps of the Gini index of |values|, from 0 (all pixels alike) to 1 - 1/pixels (one
            pixel alone); maps of zeros are left out, NaN if there is no other.
        METHOD_mu_fidelity_mean: mean over the images of how well a map foretells the fall of the score when a fifth of the
            image is hidden, see `kerasnas.explain.model.faithfulness`; for maps by a method of kerasnas, which tell their
            model.
        METHOD_stability_mean: mean over the images of the rank correlation of a map with that of the same image for the same
            class, with noise of a fiftieth of its range: 1 if the map does not change, or marks nothing both times; for maps
            that tell their model.

    No one of these is interpretability; small, shallow and sparse models are easier to read, other things being equal.

    Args:
        model: built Keras 3 Functional or Sequential model, with fixed shapes but for the batch.
        attributions: results with `values` of shape (batch, height, width), such as those of `grad_cam`; their `method`
            names the measure, "attribution" if they have none. Two of one name get numbers from the second on.

    Returns:
        Interpretability: the measures above, in this order.

    Raises:
        InvalidArgument: if `model` or `attributions` are not as above.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
        >>> found = interpretability(model)
        >>> found["depth_layers"], found["paths_count"], found["parameters_count"]
        (2.0, 1.0, 13.0)

    Source:
        Gini index: Hurley and Rickard 2009; of attributions: Chalasani et al. 2020. Paths: Veit et al. 2016. Stability: Alvarez
        Melis and Jaakkola 2018; deviation: ranks of one noisy copy instead of the largest change nearby.
    """
    measures = {**_structure(graph_of(model)), **_cost(model), **_parameters(model)}
    for attribution in attributions:
        values = np.asarray(getattr(attribution, "values", None))
        if values.ndim != 3 or values.dtype.kind not in "biuf" or 0 in values.shape:
            raise InvalidArgument(
                "Expected attributions with values of shape (batch, height, width); came "
                f"{type(attribution).__name__} with {values.shape}. Pass a sequence of results of grad_cam or the like."
            )
        method = getattr(attribution, "method", "attribution")
        number = 1 + sum(name.startswith(f"{method}_gini_mean") for name in measures)
        suffix = "" if number == 1 else f"_{number}"
        ginis = [gini(value) for value in values if np.any(value)]
        measures[f"{method}_gini_mean{suffix}"] = float(np.mean(ginis)) if ginis else float("nan")
        explained = getattr(attribution, "explained", None)
        if explained is not None:
            scores = scores_of(explained.model, attribution.images)
            fidelity = faithfulness(scores, values[None], attribution.targets, curves=0).mu_fidelity
            measures[f"{method}_mu_fidelity_mean{suffix}"] = float(fidelity.mean())
            measures[f"{method}_stability_mean{suffix}"] = _stability(attribution)
    return Interpretability(measures)


def _stability(attribution: Any) -> float:
    images = np.asarray(attribution.images, np.float32)
    rng = np.random.default_rng(0)
    size = _NOISE * np.ptp(images, axis=(1, 2, 3), keepdims=True)
    noisy = images + (size * rng.standard_normal(images.shape)).astype(np.float32)
    again = attribution.explained.again(attribution.explained.model, noisy, target=attribution.targets)
    alike = map_correlation(attribution.values, again.values)
    return float(np.where(attribution.blank & again.blank, 1.0, alike).mean())


def _structure(graph: Graph) -> dict[str, float]:
    calls = _needed(graph)
    makers = {tensor.number: index for index, call in enumerate(calls) for tensor in call.outputs}
    read = [{tensor.number for tensor in call.inputs} for call in calls]
    # Depth and paths of each tensor, along the calls, which stand in the order of computation.
    depth = {tensor.number: 0 for tensor in graph.inputs}
    paths = {tensor.number: 1 for tensor in graph.inputs}
    for call, sources in zip(calls, read, strict=True):
        for tensor in call.outputs:
            depth[tensor.number] = max((depth[each] for each in sources), default=0) + _has_kernel(call)
            paths[tensor.number] = sum(paths[each] for each in sources)
    ends = {tensor.number for tensor in graph.outputs}
    return {
        "depth_layers": max(depth[each] for each in ends),
        "paths_count": sum(paths[each] for each in ends),
        "branches_count": sum(sum(each in sources for sources in read) > 1 for each in depth),
        "merges_count": sum(len(sources) > 1 for sources in read),
        "skips_count": _skips(read, makers),
        "unique_operators_count": len({type(call.operation) for call in calls}),
    }


def _needed(graph: Graph) -> list[Call]:
    """Return the calls that the outputs depend on."""
    wanted, needed = {tensor.number for tensor in graph.outputs}, []
    for call in reversed(graph.calls):
        if any(tensor.number in wanted for tensor in call.outputs):
            wanted |= {tensor.number for tensor in call.inputs}
            needed.append(call)
    return needed[::-1]


def _skips(read: list[set[int]], makers: dict[int, int]) -> int:
    """Count the connections (tensor, call) whose tensor also reaches the call through another call."""
    behind: list[set[int]] = []  # the tensors that each call depends on
    for sources in read:
        behind.append(set().union(sources, *(behind[makers[each]] for each in sources if each in makers)))
    return sum(
        any(each in behind[makers[other]] for other in sources - {each} if other in makers)
        for sources in read
        for each in sources
    )


def _has_kernel(call: Call) -> bool:
    return any(_is_kernel(weight.name, len(weight.shape)) for weight in getattr(call.operation, "weights", ()))


def _is_kernel(name: str, axes: int) -> bool:
    """Tell a kernel from the biases of attention, the slopes of PReLU and the like, which may have several axes, too."""
    return axes > 1 and not name.endswith(("bias", "alpha", "gamma", "beta", "mean", "variance"))


def _cost(model: Any) -> dict[str, float]:
    cost = cost_of(model)
    return {"parameters_count": cost.parameters, "macs_count": cost.macs}


def _parameters(model: Any) -> dict[str, float]:
    kernels = [row for row in weight_statistics(model).rows if _is_kernel(row.part, row.axes)]
    count = sum(row.count for row in kernels)
    return {
        "kernel_zeros_share": sum(row.zeros_share * row.count for row in kernels) / count if count else float("nan"),
        "kernel_kurtosis_mean": _mean([row.kurtosis for row in kernels]),
        "kernel_stable_rank_mean": _mean([row.stable_rank for row in kernels]),
        "kernel_norm": float(np.sqrt(sum(row.frobenius_norm**2 for row in kernels))) if count else float("nan"),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
