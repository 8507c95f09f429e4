"""One model that averages the outputs of several, and the choice of its members."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from kerasnas.compress.clone import copy_state
from kerasnas.errors import InvalidArgument

__all__ = ["average", "greedy_selection"]

_LEAST = 1e-7  # as Keras clips probabilities in its cross-entropy


def average(models: Sequence[keras.Model], *, weights: ArrayLike | None = None, name: str = "ensemble") -> keras.Model:
    """Return one model that gives the weighted mean of the outputs of several models.

    The members are copied, with their weights, into one flat graph on one input, in which the layers of member i are called
    `member_i_...`: to export, pruning and explanations it is a model like any other, and nothing of the originals changes.
    A mean of probabilities is a probability; a mean of logits is not that of their probabilities.

    Args:
        models: built Functional or Sequential models of one input and one output, of equal shapes.
        weights: one number >= 0 for each model, scaled to the sum 1; a model with weight 0 is left out. None weighs all alike.
        name: name of the new model.
    Returns:
        A Functional model, compiled as the first member is (with a fresh optimizer) if that is compiled.
    Raises:
        InvalidArgument: if there is no model, a model does not fit, weights do not fit, or a layer cannot be copied.
    Example:
        >>> members = [
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")]) for _ in range(2)
        ... ]
        >>> average(members).predict(np.ones((5, 4)), verbose=0).shape
        (5, 3)
    """
    models = list(models)
    if not models:
        raise InvalidArgument("Expected at least one model, got none. Pass the models to average.")
    graphs = [_graph(model) for model in models]
    _check_shapes(models, graphs)
    shares = _shares(weights, len(models))
    members = [(i, graph, share) for i, (graph, share) in enumerate(zip(graphs, shares, strict=True)) if share > 0]
    first = members[0][1].inputs[0]
    start = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first._keras_history.operation.name)
    outputs = [_copy(models[i].name, graph, start, f"member_{i}_") for i, graph, _ in members]
    parts = [share for _, _, share in members]
    if len(outputs) == 1:
        total = outputs[0]
    elif len(set(parts)) == 1:
        total = keras.layers.Average(name="average", dtype="float32")(outputs)
    else:
        scaled = [
            keras.layers.Rescaling(share, name=f"member_{i}_share", dtype="float32")(output)
            for (i, _, share), output in zip(members, outputs, strict=True)
        ]
        total = keras.layers.Add(name="average", dtype="float32")(scaled)
    ensemble = keras.Model(start, total, name=name)
    if models[0].compiled:
        try:
            ensemble.compile_from_config(models[0].get_compile_config())
        except Exception as error:
            raise InvalidArgument(
                f"Expected compile settings that Keras can save; those of {models[0].name!r} failed with: {error}. "
                "Register custom losses, metrics and optimizers with @keras.saving.register_keras_serializable()."
            ) from error
    return ensemble


def greedy_selection(
    predictions: ArrayLike, labels: ArrayLike, *, size: int, metric: Literal["accuracy", "loss"] = "loss"
) -> NDArray[np.float64]:
    """Return the weights of the ensemble that grows best, member by member, on validation data.

    Beginning with none, the model whose addition makes the mean prediction best is added, `size` times; a model can be added
    again. Of the ensembles on that way the best is kept, the first of equals; among equal models the first is added. So the
    ensemble is never worse on these data than the best single model.

    Args:
        predictions: probabilities of k models, shape (k, n, classes), in [0, 1].
        labels: class indices, shape (n,).
        size: how many additions, >= 1.
        metric: "accuracy", or "loss" for the mean negative log-likelihood.
    Returns:
        Weights of shape (k,), >= 0, with the sum 1, as `average` takes them.
    Raises:
        InvalidArgument: if an argument does not fit.
    Example:
        >>> greedy_selection([[[0.9, 0.1], [0.6, 0.4]], [[0.4, 0.6], [0.1, 0.9]]], [0, 1], size=2).tolist()
        [0.5, 0.5]

    Source:
        Caruana et al. 2004, section 2 with replacement (2.1); deviation: no sorted start of several models and no bags.
    """
    values, classes = _check_predictions(predictions, labels)
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InvalidArgument(f"Expected `size` to be an integer of at least 1, got {size!r}. It counts additions.")
    if metric not in ("accuracy", "loss"):
        raise InvalidArgument(f"Expected metric 'accuracy' or 'loss', got {metric!r}.")
    if metric == "loss":
        values = values[:, np.arange(len(classes)), classes][..., None]  # nothing else counts
    score = _accuracy(classes) if metric == "accuracy" else _log_likelihood
    counts = np.zeros(len(values))
    total = np.zeros(values.shape[1:])
    best, best_counts = -math.inf, counts
    for step in range(1, size + 1):
        scores = [score((total + value) / step) for value in values]
        chosen = int(np.argmax(scores))
        counts[chosen] += 1
        total = total + values[chosen]
        if scores[chosen] > best:
            best, best_counts = scores[chosen], counts.copy()
    return np.asarray(best_counts / best_counts.sum())


def _accuracy(classes: NDArray[Any]) -> Callable[[NDArray[np.float64]], float]:
    return lambda mean: float((mean.argmax(axis=-1) == classes).mean())


def _log_likelihood(mean: NDArray[np.float64]) -> float:
    return float(np.log(np.clip(mean, _LEAST, 1.0)).mean())


def _check_predictions(predictions: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    values, classes = np.asarray(predictions, dtype=np.float64), np.asarray(labels)
    if values.ndim != 3 or 0 in values.shape or classes.shape != values.shape[1:2]:
        raise InvalidArgument(
            f"Expected predictions of shape (models, n, classes) and labels of shape (n,), got {values.shape} and "
            f"{classes.shape}. Stack what model.predict gives for the same samples."
        )
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise InvalidArgument("Expected probabilities in [0, 1], got other numbers. Apply the softmax to logits first.")
    if classes.dtype.kind not in "iu" or classes.min() < 0 or classes.max() >= values.shape[2]:
        raise InvalidArgument(
            f"Expected integer labels in [0, {values.shape[2]}), got {classes.dtype} from {classes.min()} to {classes.max()}. "
            "Pass the class indices."
        )
    return values, classes


def _graph(model: Any) -> Any:
    """Return the functional graph of a model of one input and one output."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_run_through_graph"):
        raise InvalidArgument(
            f"Expected built Functional or Sequential models, got {getattr(model, 'name', model)!r} ({type(model).__name__}). "
            "Begin it with keras.Input, or load it with keras.saving.load_model."
        )
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidArgument(
            f"Expected models of one input and one output, {model.name!r} has {len(graph.inputs)} and {len(graph.outputs)}."
        )
    return graph


def _check_shapes(models: Sequence[keras.Model], graphs: Sequence[Any]) -> None:
    for model, graph in zip(models, graphs, strict=True):
        for kind in ("inputs", "outputs"):
            first, other = (tuple(getattr(each, kind)[0].shape) for each in (graphs[0], graph))
            if first != other:
                raise InvalidArgument(
                    f"Expected {kind} of equal shapes, {models[0].name!r} has {first} and {model.name!r} has {other}. "
                    "Average models of the same task."
                )


def _shares(weights: ArrayLike | None, number: int) -> list[float]:
    """Return the weights with the sum 1."""
    values = np.ones(number) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.shape != (number,) or not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise InvalidArgument(
            f"Expected {number} finite weights of at least 0, one for each model and not all 0, got {values.tolist()}."
        )
    return [float(value) for value in values / values.sum()]


def _copy(name: str, graph: Any, start: Any, prefix: str) -> Any:
    """Copy what a graph computes onto `start`, under new names, and return its output."""
    copies: dict[int, tuple[Any, Any]] = {}  # a layer that is called twice stays one layer

    def copy_of(operation: Any) -> Any:
        if id(operation) not in copies:
            config = {**operation.get_config(), "name": prefix + operation.name}
            copies[id(operation)] = (operation, type(operation).from_config(config))
        return copies[id(operation)][1]

    scope = {type(layer).__name__: type(layer) for layer in graph._flatten_layers()}
    try:
        with keras.saving.custom_object_scope(scope):
            # Keras has no public walk of a graph; this is what its own cloning uses.
            output = keras.tree.flatten(graph._run_through_graph(start, operation_fn=copy_of))[0]
        for original, copy in copies.values():
            if isinstance(original, keras.Layer):
                copy_state(original, copy)
    except Exception as error:
        raise InvalidArgument(
            f"Expected a model that Keras can rebuild from its config; {name!r} failed with: {error}. "
            "Give custom layers a get_config() that holds all arguments of their __init__."
        ) from error
    return output
