"""Which class the outputs of a classifier name: the largest column, or the side on which a single column lies."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.cost.graph import graph_of

__all__ = ["decided_classes", "model_classes", "model_threshold", "probabilities_of", "single_threshold"]

_SIGMOIDS = frozenset({"sigmoid", "hardsigmoid", "logistic"})
# What a probability may pass through on its way out, as Keras, ONNX and LiteRT call it: quantised files, means of networks
# and over places.
_PASSING = frozenset(
    "add average averagepool averagepool2d averagepooling1d averagepooling2d averagepooling3d cast concat concatenate "
    "concatenation dequantize dequantizelinear div divide dropout expanddims flatten globalaveragepool globalaveragepooling1d "
    "globalaveragepooling2d globalaveragepooling3d identity mean mul multiply quantize quantizelinear reducemean reducesum "
    "rescaling reshape squeeze sum transpose truedivide unsqueeze".split()
)

# tensor -> the operator that makes it, and the tensors that go in
Makers = Mapping[Any, tuple[str, Sequence[Any]]]


def decided_classes(outputs: NDArray[Any], threshold: float) -> NDArray[np.int64]:
    """Return the class of each row of scores; of a single column whether it is above the threshold."""
    outputs = np.asarray(outputs)
    return np.asarray(outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > threshold, np.int64)


def single_threshold(ends: Iterable[Hashable], makers: Makers) -> float:
    """Return above what a single column means class 1: 0.5 for the probability of a sigmoid, 0 for a score.

    Args:
        ends: the outputs of a graph.
        makers: of its tensors; what is not among them is a constant or an input.
    """
    found = _last_operators(ends, makers)
    return 0.5 if found and found <= _SIGMOIDS else 0.0


def _last_operators(ends: Iterable[Hashable], makers: Makers) -> set[str]:
    """Return what a graph ends in, beyond what a probability may pass through."""
    found, seen, waiting = set(), set(), list(ends)
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in makers:
            continue
        seen.add(tensor)
        operator, inputs = makers[tensor]
        name = operator.lower().replace("_", "")
        if name in _PASSING:
            waiting += inputs
        elif name != "constant":
            found.add(name)
    return found


def model_classes(model: keras.Model, outputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class of each row of what a Functional or Sequential model with one output gave."""
    return decided_classes(outputs, 0.0 if outputs.shape[1] > 1 else model_threshold(model))


def probabilities_of(model: keras.Model, outputs: NDArray[Any]) -> NDArray[Any]:
    """Return the probability of each class, shape (n, at least 2), from what a model gave: probabilities or logits."""
    outputs = np.asarray(outputs)
    if outputs.ndim != 2:
        return outputs
    if outputs.shape[1] == 1:
        single = outputs if model_threshold(model) > 0 else 0.5 + 0.5 * np.tanh(0.5 * outputs)  # the sigmoid, without overflow
        return np.concatenate([1 - single, single], axis=1)
    if outputs.size and (outputs.min() < 0 or outputs.max() > 1.001 or _ends_linearly(model)):
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return outputs


def model_threshold(model: keras.Model) -> float:
    """Return above what the single column of a Functional or Sequential model means class 1."""
    return single_threshold(*_graph(model))


def _ends_linearly(model: keras.Model) -> bool:
    """Tell whether the last layer squashes nothing; of a subclassed model that is not known."""
    known = {base.__name__ for base in type(model).__mro__} & {"Functional", "Sequential"}
    return bool(known) and "linear" in _last_operators(*_graph(model))


def _graph(model: keras.Model) -> tuple[list[Hashable], Makers]:
    graph = graph_of(model)
    makers = {
        made.number: (_operator(call.operation), [tensor.number for tensor in call.inputs])
        for call in graph.calls
        for made in call.outputs
    }
    return [tensor.number for tensor in graph.outputs], makers


def _operator(operation: Any) -> str:
    """Return what an operation ends with: its activation, where it has one."""
    activation = getattr(operation, "activation", None)
    if activation is None:
        return type(operation).__name__
    name = getattr(activation, "__name__", type(activation).__name__)
    return "identity" if name == "linear" and isinstance(operation, keras.layers.Activation) else str(name)
