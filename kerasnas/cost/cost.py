"""The cost of a model for one sample."""

from dataclasses import dataclass

import keras

from kerasnas.cost.activation_memory import peak_activation_bytes
from kerasnas.cost.graph import Graph, graph_of
from kerasnas.cost.macs import call_macs
from kerasnas.errors import InvalidArgument

__all__ = ["Cost", "cost_of"]


@dataclass(frozen=True)
class Cost:
    """What a model costs, computed from its graph: nothing is run.

    Attributes:
        parameters: numbers in its weights, shared ones once, those that are not trained included.
        macs: multiply-accumulates of one forward pass of one sample, see `cost_of`.
        activation_bytes: the most memory that tensors between layers take at once for one sample, bytes, see `cost_of`.
        uncounted: layers that have no rule, as "name (Class)". Those with weights went into `macs` as if each of their
            matrices were applied at every position of their output; those without as none.
    """

    parameters: int
    macs: int
    activation_bytes: int
    uncounted: tuple[str, ...] = ()


def cost_of(model: keras.Model) -> Cost:
    """Return the cost of a model for one sample at inference, nested models included.

    MACs count the products that convolutions, dense layers, recurrent kernels, attention, keras.layers.Dot and
    keras.ops.matmul sum up; one MAC is one multiplication and one addition, about two FLOPs. Windows at a padded edge count as
    whole. Biases, activations, normalisation, pooling, additions, embeddings, augmentation and the element-wise products of
    LSTM and GRU count as none.

    Activation memory follows the tensors through the calls in the order in which Keras runs them: a tensor lives from the call
    that makes it to the last one that reads it, the model's inputs from the start, its outputs to the end. Nothing is fused and
    nothing computed in place, but Reshape, Flatten, Dropout, noise, random augmentation and the like hand on the memory
    of their input. Weights and the scratch memory inside a layer are not in it.

    Args:
        model: a built Functional or Sequential model, with a fixed shape but for the batch, which is dimension 0.

    Raises:
        InvalidArgument: if the model is unbuilt or subclassed, or a dimension other than the batch is free.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
        >>> cost_of(model)
        Cost(parameters=23, macs=18, activation_bytes=28, uncounted=())

    Source:
        The counting convention is that of Howard et al. 2017, "MobileNets", table 1 (mult-adds); the memory model that of
        Sandler et al. 2018, "MobileNetV2", section 5.1, eq. 2, for the given order of calls.
    """
    graph = graph_of(model)
    _check_shapes(graph, model.name)
    macs = 0
    uncounted: dict[str, None] = {}  # in order, each once
    for call in graph.calls:
        count, known = call_macs(call)
        macs += count
        if not known:
            uncounted[f"{call.operation.name} ({type(call.operation).__name__})"] = None
    return Cost(
        parameters=int(model.count_params()),
        macs=macs,
        activation_bytes=peak_activation_bytes(graph),
        uncounted=tuple(uncounted),
    )


def _check_shapes(graph: Graph, name: str) -> None:
    made = [(f"the output of {call.operation.name!r}", tensor) for call in graph.calls for tensor in call.outputs]
    for what, tensor in [(f"input {i}", tensor) for i, tensor in enumerate(graph.inputs)] + made:
        if None in tensor.shape[1:]:
            raise InvalidArgument(
                f"Expected fixed shapes but for the batch, but {what} of {name!r} has shape {tensor.shape}. Build the model "
                "for the size that its cost is asked for, with keras.Input of whole numbers."
            )
