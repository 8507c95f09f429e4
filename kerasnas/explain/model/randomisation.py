"""Whether a map depends on what the network has learned: explain it again with random weights."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from scipy.stats import spearmanr

from kerasnas.cost.graph import inner_graph
from kerasnas.derived_state import derive
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.weights_copied import copy_weights
from kerasnas.explain.whole_number import require_seed

__all__ = ["map_correlation", "randomised", "randomisation_cascade", "rounded"]


def randomised(model: keras.Model, seed: int | None = 0) -> keras.Model:
    """Return a copy of a model whose weights are shuffled, tensor by tensor: as large as before, and without what was learned.

    Raises:
        InvalidArgument: if the model cannot be rebuilt from its configuration.
    """
    *_, (_, copy) = _cascade(model, seed)
    return copy


def randomisation_cascade(attribution: Attribution, *, seed: int | None = 0) -> dict[str, float]:
    """Explain again while more and more layers are random, from the scores down to the image.

    Args:
        attribution: maps of a Keras model, by a method of this package.
        seed: seed of the shuffling.

    Returns:
        For the path of each layer with weights ("backbone/name" inside a nested model), from the last to the first, the rank
        correlation of the map with the one when it and all layers after it are random, mean over images, from -1 to 1. A method
        that explains the network falls towards 0.

    Raises:
        InvalidArgument: if `attribution` does not tell its model and method, or the model cannot be rebuilt.

    Source:
        Adebayo et al. 2018, section 3.1. Deviation: weights are shuffled instead of drawn anew.
    """
    explained = attribution.explained
    if explained is None or not isinstance(explained.model, keras.Model):
        raise InvalidArgument("Expected maps of a Keras model by a method of kerasnas.explain; came maps without their model.")
    return {name: _correlation_when(explained.again, copy, attribution) for name, copy in _cascade(explained.model, seed)}


def map_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the rank correlation of the maps of each image, shape (batch,); 0 where one of them is constant."""
    pairs = zip(one.reshape(len(one), -1), other.reshape(len(other), -1), strict=True)
    ranked = [(rounded(a), rounded(b)) for a, b in pairs]
    return np.array([0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic) for a, b in ranked])


def rounded(values: np.ndarray) -> np.ndarray:
    """Make equal what is equal but for the rounding of float32: ranks would tell it apart."""
    size = float(np.abs(values).max()) or 1.0
    return np.asarray(np.rint(values.astype(np.float64) / size * 1e5))


def _correlation_when(again: Callable[..., Attribution], model: keras.Model, attribution: Attribution) -> float:
    other = again(model, attribution.images, target=attribution.targets)
    return float(map_correlation(attribution.values, other.values).mean())


def _cascade(model: keras.Model, seed: int | None) -> Iterator[tuple[str, Any]]:
    """Shuffle the weights of a copy layer by layer from the end; yield the path of the layer and the copy."""
    try:
        copy: Any = keras.models.clone_model(model)
        copy_weights(model, copy)
    except Exception as error:
        raise InvalidArgument(f"Expected a model that can be rebuilt; {model.name!r} could not: {error}") from error
    require_seed(seed)
    rng = np.random.default_rng(seed)
    shuffled: set[int] = set()  # a layer can be called twice, or be a part of several
    for path, layer in reversed(list(_calls(inner_graph(copy), ""))):
        variables = [variable for variable in layer.weights if id(variable) not in shuffled]
        if not variables:
            continue
        for variable in variables:
            values = np.array(keras.ops.convert_to_numpy(variable))
            variable.assign(rng.permutation(values.reshape(-1)).reshape(values.shape))
            shuffled.add(id(variable))
        for part in layer._flatten_layers():
            derive(part)
        yield path, copy
    if not shuffled:
        raise InvalidArgument(f"Expected a model with weights; {model.name!r} has none.")


def _calls(graph: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield path and layer of each call in the order in which they are computed, those of nested models in their place."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            path, inner = prefix + node.operation.name, inner_graph(node.operation)
            if inner is not None:
                yield from _calls(inner, f"{path}/")
            elif isinstance(node.operation, keras.Layer):
                yield path, node.operation
