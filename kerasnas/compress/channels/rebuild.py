"""A smaller copy of a model."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.dependencies import Dependencies
from kerasnas.compress.channels.replay import is_described
from kerasnas.compress.channels.tracer import Path, Slice
from kerasnas.compress.clone import compile_as, copy_state, not_rebuilt, readable_config

__all__ = ["Kept", "rebuild"]

Kept = NDArray[np.bool_]  # which bundles are kept


def rebuild(model: keras.Model, dependencies: Dependencies, kept: Kept, *, before: Kept | None = None) -> keras.Model:
    """Return a new model with the kept channels alone: same class, names, flags and compile settings, a fresh optimizer.

    Args:
        model: the original, or what an earlier call made of it.
        dependencies: those of the original.
        kept: which bundles to keep.
        before: the `kept` that `model` was made with; None if it is the original.

    Raises:
        InvalidArgument: if the model cannot be rebuilt from its config.
    """
    channels = dependencies.bundles.of_channel
    old = np.ones(dependencies.bundles.count, bool) if before is None else before
    sizes: dict[Path, list[tuple[str, int | None, int]]] = {}
    for size in dependencies.sizes:
        if size.channels is not None:
            count = int(np.count_nonzero(kept[channels[size.channels]]))
            sizes.setdefault(size.path, []).append((size.setting, size.axis, count))
    slices: dict[Path, list[Slice]] = {}
    for entry in dependencies.slices:
        if entry.channels is not None:
            slices.setdefault(entry.path, []).append(entry)
    try:
        config, known = readable_config(model)
        _edit(config["layers"], model, (), sizes)
        with keras.saving.custom_object_scope(known):
            smaller = type(model).from_config(config)
        if not smaller.built:
            smaller.build(model.input_shape)
        _hand_over(model, smaller, (), slices, old[channels], kept[channels])
        if len(smaller.weights) != len(model.weights):
            raise ValueError("it shares a layer with a model nested in it, which a config cannot say")
    except Exception as error:
        raise not_rebuilt(model, error) from error
    compile_as(model, smaller)
    return smaller


def _edit(
    configs: list[dict[str, Any]],
    model: Any,
    path: Path,
    sizes: Mapping[Path, list[tuple[str, int | None, int]]],
) -> None:
    """Write the new sizes into the configs of the layers of a model."""
    for entry in configs:
        settings = entry["config"]
        inner = (*path, settings["name"])
        layer = None if entry["class_name"] == "InputLayer" else _operation(model, settings["name"])
        if _is_of_keras(type(layer)) or inner in sizes:
            entry.pop("build_config", None)  # holds the old shape; the layer is built when it is called
        if is_described(layer):
            _edit(settings["layers"], layer, inner, sizes)
        # A custom layer may mean something else by the name of a setting; all of its channels stay anyway.
        for setting, axis, count in sizes.get(inner, ()) if layer is None or _is_of_keras(type(layer)) else ():
            if axis is None:
                settings[setting] = count
            elif settings[setting][axis] not in (-1, None):  # which are free
                values = list(settings[setting])
                values[axis] = count
                settings[setting] = tuple(values)


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.startswith("keras.")


def _operation(model: Any, name: str) -> Any:
    graph = model._functional if isinstance(model, keras.Sequential) else model
    return next((operation for operation in graph.operations if operation.name == name), None)


def _hand_over(
    source: Any, target: Any, path: Path, slices: Mapping[Path, list[Slice]], old: NDArray[np.bool_], new: NDArray[np.bool_]
) -> None:
    """Give the layers of a copy the weights of the kept channels, and the trainable flags; pairs go by their names."""
    _copy_flags(source, target)  # first: it reaches what is within
    for layer in source.layers:
        twin, inner = target.get_layer(layer.name), (*path, layer.name)
        if is_described(layer):
            _hand_over(layer, twin, inner, slices, old, new)
        elif inner in slices:
            values = [variable.numpy() for variable in layer.variables]
            for entry in slices[inner]:
                there = entry.channels[old[entry.channels]]  # type: ignore[index]
                values[entry.variable] = np.compress(new[there], values[entry.variable], axis=entry.axis)
            for variable, value in zip(twin.variables, values, strict=True):
                variable.assign(value)
            _copy_flags(layer, twin)
        else:
            copy_state(layer, twin)


def _copy_flags(source: Any, target: Any) -> None:
    if source.trainable != target.trainable:
        target.trainable = source.trainable
