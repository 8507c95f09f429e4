"""How much each channel matters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.dependencies import Dependencies
from kerasnas.compress.channels.rebuild import Kept
from kerasnas.compress.channels.tracer import Path, Slice

__all__ = ["Gradients", "bn_scales", "layer_at", "magnitudes", "taylor", "taylor_weights"]

Scores = NDArray[np.float64]  # of each bundle; those that are gone have any
Gradients = Mapping[tuple[Path, int], NDArray[Any]]  # by path of the layer and index of the weight

_TAYLOR = ("gamma", "beta", "out", "bias")


def magnitudes(model: keras.Model, dependencies: Dependencies, before: Kept) -> Scores:
    """Return the size of the weights that make a channel, relative to the mean of their layer.

    The root mean square of its weights; the mean over all layers that make it.

    Source:
        Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1; deviation: L2 for L1, and relative to the layer,
        so that tied layers count alike.
    """
    bundles = dependencies.bundles

    def score(entry: Slice, weight: NDArray[Any]) -> NDArray[Any]:
        sizes = np.sqrt(np.mean(np.square(_rows(weight, entry.axis)), axis=1))
        return sizes / max(float(sizes.mean()), np.finfo(np.float64).tiny)

    total, count = _gather(model, dependencies, before, ("out",), score)
    return total / np.maximum(count, 1) if bundles.count else total


def bn_scales(model: keras.Model, dependencies: Dependencies, before: Kept) -> Scores:
    """Return the mean absolute scale of BatchNormalization on a channel.

    Channels without one have their relative magnitude, times the mean scale in the model.

    Source:
        Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", section 3.
    """
    total, count = _gather(model, dependencies, before, ("gamma",), lambda _, weight: np.abs(weight))
    scales = total / np.maximum(count, 1)
    level = float(scales[count > 0].mean()) if (count > 0).any() else 1.0
    return np.where(count > 0, scales, level * magnitudes(model, dependencies, before))


def taylor(model: keras.Model, dependencies: Dependencies, before: Kept, batches: Iterable[Gradients]) -> Scores:
    """Return the expected squared change of the loss if a channel were zero, to first order.

    The sum of gradient x weight over gamma and beta where a BatchNormalization follows, which is what a gate on the channel
    would see; else over the weights that make the channel. The squares are averaged over batches and added up over tied layers.

    Args:
        model: whose weights they are.
        dependencies: of the original model.
        before: which bundles `model` has.
        batches: for each batch the gradients of the loss.

    Source:
        Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", equation 8.
    """
    bundle_of, old = dependencies.bundles.of_channel, before[dependencies.bundles.of_channel]
    entries = [entry for entry in dependencies.slices if entry.channels is not None and entry.role in _TAYLOR]
    weights = {(entry.path, entry.variable): layer_at(model, entry.path).variables[entry.variable].numpy() for entry in entries}
    where = {entry.path: bundle_of[entry.channels[old[entry.channels]]] for entry in entries}  # type: ignore[index]
    squares, number = {path: np.zeros(len(bundles)) for path, bundles in where.items()}, 0
    for gradients in batches:
        number += 1
        changes: dict[Path, NDArray[Any]] = {}
        for entry in entries:
            key = (entry.path, entry.variable)
            change = _rows(np.asarray(gradients[key], np.float64) * weights[key], entry.axis).sum(axis=1)
            changes[entry.path] = changes.get(entry.path, 0.0) + change
        for path, change in changes.items():
            squares[path] += np.square(change)
    gated, plain, gates = np.zeros(len(before)), np.zeros(len(before)), np.zeros(len(before), bool)
    normalisations = {entry.path for entry in entries if entry.role in ("gamma", "beta")}
    for path, square in squares.items():
        np.add.at(gated if path in normalisations else plain, where[path], square / max(number, 1))
        if path in normalisations:
            gates[where[path]] = True
    return np.where(gates, gated, plain)


def taylor_weights(dependencies: Dependencies) -> list[tuple[Path, int]]:
    """Return the weights whose gradients `taylor` needs."""
    entries = (entry for entry in dependencies.slices if entry.channels is not None and entry.role in _TAYLOR)
    return list(dict.fromkeys((entry.path, entry.variable) for entry in entries))


def layer_at(model: Any, path: Path) -> Any:
    """Return the layer at a path."""
    for name in path:
        model = model.get_layer(name)
    return model


def _gather(
    model: keras.Model,
    dependencies: Dependencies,
    before: Kept,
    roles: tuple[str, ...],
    score: Callable[[Slice, NDArray[Any]], NDArray[Any]],
) -> tuple[Scores, Scores]:
    """Sum and number of the scores that each bundle gets from weights of some roles."""
    bundle_of, old = dependencies.bundles.of_channel, before[dependencies.bundles.of_channel]
    total, count = np.zeros(len(before)), np.zeros(len(before))
    for entry in dependencies.slices:
        if entry.role in roles and entry.channels is not None:
            weight = layer_at(model, entry.path).variables[entry.variable].numpy().astype(np.float64)
            bundles = bundle_of[entry.channels[old[entry.channels]]]
            np.add.at(total, bundles, score(entry, weight))
            np.add.at(count, bundles, 1)
    return total, count


def _rows(weight: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
