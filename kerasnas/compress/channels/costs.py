"""What a model will cost with some channels removed, known without building it."""

import re
from collections.abc import Callable

import keras
import numpy as np

from kerasnas.compress.channels.dependencies import Dependencies
from kerasnas.compress.channels.importance import layer_at
from kerasnas.compress.channels.rebuild import Kept
from kerasnas.compress.channels.tracer import Path
from kerasnas.cost import cost_of
from kerasnas.cost.graph import graph_of
from kerasnas.cost.macs import call_macs

__all__ = ["cost_function"]


def cost_function(model: keras.Model, dependencies: Dependencies, kind: str) -> Callable[[Kept], int]:
    """Return a function from kept bundles to a cost: "parameters", "size_bytes" (of the weights) or "macs" of one sample.

    Multiply-accumulates are proportional to the matrices of a layer, at given shapes of the pictures.

    Raises:
        InvalidArgument: for "macs", if a dimension other than the batch is free.
    """
    shapes: dict[tuple[Path, int], list[tuple[int, np.ndarray]]] = {}
    for entry in dependencies.slices:
        if entry.channels is not None:
            bundles = dependencies.bundles.of_channel[entry.channels]
            shapes.setdefault((entry.path, entry.variable), []).append((entry.axis, bundles))
    weights = {key: layer_at(model, key[0]).variables[key[1]] for key in shapes}

    def elements(key: tuple[Path, int], kept: Kept) -> int:
        shape = list(weights[key].shape)
        for axis, bundles in shapes[key]:
            shape[axis] = int(np.count_nonzero(kept[bundles]))
        return int(np.prod(shape))

    if kind == "macs":
        cost_of(model)  # checks the shapes
        macs: dict[int, int] = {}
        for call in graph_of(model).calls:
            macs[id(call.operation)] = macs.get(id(call.operation), 0) + call_macs(call)[0]
        matrices: dict[int, list[tuple[Path, int]]] = {}
        for key in shapes:
            if _is_matrix(weights[key]):
                matrices.setdefault(id(layer_at(model, key[0])), []).append(key)
        fixed = {
            layer: sum(int(np.prod(w.shape)) for w in layer_at(model, keys[0][0]).weights if _is_matrix(w))
            - sum(int(np.prod(weights[key].shape)) for key in keys)
            for layer, keys in matrices.items()
        }

        def count_macs(kept: Kept) -> int:
            total = sum(count for layer, count in macs.items() if layer not in matrices)
            for layer, keys in matrices.items():
                before = fixed[layer] + sum(int(np.prod(weights[key].shape)) for key in keys)
                total += macs.get(layer, 0) * (fixed[layer] + sum(elements(key, kept) for key in keys)) // before
            return total

        return count_macs

    def width(weight: keras.Variable) -> int:
        bits = re.search(r"\d+", keras.backend.standardize_dtype(weight.dtype))
        return 1 if kind == "parameters" or bits is None else int(bits.group()) // 8

    whole = sum(int(np.prod(weight.shape)) * width(weight) for weight in model.weights)

    def count_weights(kept: Kept) -> int:
        gone = sum((int(np.prod(w.shape)) - elements(key, kept)) * width(w) for key, w in weights.items())
        return whole - gone

    return count_weights


def _is_matrix(weight: keras.Variable) -> bool:
    return len(weight.shape) > 1 and weight.name != "bias"  # that of a GRU has two rows
