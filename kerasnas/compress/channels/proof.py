"""The proof that a shrunk model computes what the masked one does."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.dependencies import Dependencies
from kerasnas.compress.channels.precision import full_precision
from kerasnas.compress.channels.rebuild import Kept
from kerasnas.compress.channels.replay import Call, replay
from kerasnas.compress.channels.tracer import Path
from kerasnas.compress.kernels import walk_layers
from kerasnas.cost.graph import inner_graph
from kerasnas.errors import KerasNASError

__all__ = ["differences", "prove", "random_inputs"]

_ROWS, _FREE = 2, 64  # what a free dimension is filled with
_FLOAT32 = 1e-5
_ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def prove(
    model: keras.Model, smaller: keras.Model, dependencies: Dependencies, kept: Kept, *, before: Kept | None = None
) -> float:
    """Return how far `smaller` is from `model` with the removed channels masked, see `difference`.

    Raises:
        KerasNASError: if that is more than 1e-5 in float32, or 16 roundings where a layer computes in half precision.
    """
    kinds = {keras.backend.standardize_dtype(layer.compute_dtype) for layer in walk_layers(model)}
    tolerance = max([_FLOAT32, *(16 * _ROUNDING[kind] for kind in kinds & set(_ROUNDING))])
    with full_precision():
        shares = differences(model, smaller, dependencies, kept, random_inputs(model), before=before)
    found, _ = max(shares, key=_size)
    if not found <= tolerance:
        # Not the largest: what comes after a wrong layer is wrong, too.
        found, name = next(pair for pair in shares if not pair[0] <= tolerance)
        raise KerasNASError(
            f"Expected a smaller model that computes what '{model.name}' computes without the removed channels; '{name}' "
            f"differs by {found:.2g} of its largest value, so nothing is returned. Either a layer holds state that neither its "
            "config nor its weights do: add it to get_config(). Or this is a bug of kerasnas: please report it with the model."
        )
    return found


def differences(
    model: keras.Model,
    smaller: keras.Model,
    dependencies: Dependencies,
    kept: Kept,
    inputs: list[Any],
    *,
    before: Kept | None = None,
) -> list[tuple[float, str]]:
    """Return the differences between `model`, masked, and `smaller` with the names of the layers, in the order of computation.

    The masked model is `model` itself, computed call by call: wherever a tensor is made, its removed channels are set to zero
    before anything reads it. No weight is sliced for it. Its outputs are compared, and the kept channels of all tensors
    between layers; a difference is a share of the largest value of the tensor. Each layer of `smaller` is given what the one of
    the masked model is given: else the roundings before it would count as its own, and by much where two tensors that are
    nearly alike are subtracted.
    """
    channels = dependencies.bundles.of_channel
    old = np.ones(dependencies.bundles.count, bool) if before is None else before
    there, stay = old[channels], kept[channels]
    inside: dict[Path, list[tuple[int, int, NDArray[np.bool_]]]] = {}
    for entry in dependencies.slices:
        if entry.role == "inside" and entry.channels is not None:
            gone = ~stay[entry.channels[there[entry.channels]]]
            inside.setdefault(entry.path, []).append((entry.variable, entry.axis, gone))
    values: dict[Any, list[NDArray[Any]]] = {}

    def masked(call: Call) -> list[Any]:
        weights = [(call.operation.variables[index], axis, gone) for index, axis, gone in inside.get(call.path, ())]
        made = _run(call, [(weight, _zeroed(weight.value, axis, gone)) for weight, axis, gone in weights])
        values[call.key] = []
        for place, layout in enumerate(dependencies.layouts[call.key]):
            if layout.channels is None:
                values[call.key].append(keras.ops.convert_to_numpy(made[place]))
            else:
                kept_here = stay[layout.channels[there[layout.channels]]]
                values[call.key].append(np.compress(kept_here, keras.ops.convert_to_numpy(made[place]), layout.axis))
                made[place] = _zeroed(made[place], layout.axis, ~kept_here)
        return made

    found: list[tuple[float, str]] = []

    def shrunk(call: Call) -> list[Any]:
        made = _run(call, [])
        for place, expected in enumerate(values[call.key]):
            found.append((_relative(expected, keras.ops.convert_to_numpy(made[place])), call.operation.name))
            made[place] = _replaced(made[place], expected)
        return made

    replay(model, inputs, masked)
    replay(smaller, inputs, shrunk)
    expected = replay(smaller, inputs, lambda call: _run(call, []))  # of the layers that were compared, one after the other
    whole = keras.tree.pack_sequence_as(inner_graph(smaller)._inputs_struct, inputs)
    for value, made in zip(expected, keras.tree.flatten(smaller(whole, training=False)), strict=True):
        share = _relative(keras.ops.convert_to_numpy(value), keras.ops.convert_to_numpy(made))
        found.append((share, "an output of the model"))
    return found


def _size(pair: tuple[float, str]) -> float:
    return np.inf if np.isnan(pair[0]) else pair[0]


def random_inputs(model: keras.Model, seed: int = 0) -> list[Any]:
    """Return random inputs for a model: normal numbers, or zeros and ones where it takes integers."""
    rng = np.random.default_rng(seed)
    inputs = []
    for x in inner_graph(model).inputs:
        shape = (x.shape[0] or _ROWS, *(_FREE if length is None else length for length in x.shape[1:]))
        kind = keras.backend.standardize_dtype(x.dtype)
        if kind == "string":
            inputs.append(keras.ops.convert_to_tensor(np.full(shape, "0").tolist()))
        elif keras.backend.is_float_dtype(kind):
            inputs.append(keras.ops.convert_to_tensor(rng.normal(size=shape), kind))
        else:
            inputs.append(keras.ops.convert_to_tensor(rng.integers(0, 2, shape), kind))
    return inputs


def _run(call: Call, mapping: list[tuple[Any, Any]]) -> list[Any]:
    kwargs = call.kwargs
    if isinstance(call.operation, keras.Layer) and call.operation._call_has_training_arg:
        kwargs = {**kwargs, "training": False}
    if mapping:
        with keras.StatelessScope(state_mapping=mapping):
            made = call.operation(*call.args, **kwargs)
    else:
        made = call.operation(*call.args, **kwargs)
    return list(keras.tree.flatten(made))


def _zeroed(value: Any, axis: int, gone: NDArray[np.bool_]) -> Any:
    if not gone.any():
        return value
    shape = [1] * len(value.shape)
    shape[axis] = -1
    # Not a product: what is removed may be infinite.
    zeroed = keras.ops.where(gone.reshape(shape), keras.ops.zeros_like(value), value)
    if hasattr(value, "_keras_mask"):
        zeroed._keras_mask = value._keras_mask
    return zeroed


def _replaced(value: Any, expected: NDArray[Any]) -> Any:
    """Return the numbers that are expected in the place of a tensor, if it could be them."""
    kind = keras.backend.standardize_dtype(value.dtype)
    if tuple(value.shape) != expected.shape or not keras.backend.is_float_dtype(kind):
        return value
    replaced = keras.ops.convert_to_tensor(expected, kind)
    if hasattr(value, "_keras_mask"):
        replaced._keras_mask = value._keras_mask
    return replaced


def _relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "fV":  # bfloat16 is of kind V
        return 0.0 if np.array_equal(a, b) else float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not a.size or not np.array_equal(np.isfinite(a), np.isfinite(b)) or not np.isfinite(a).any():
        return float("nan")
    finite = np.isfinite(a)
    return float(np.abs(a - b)[finite].max() / max(np.abs(a[finite]).max(), np.finfo(np.float64).tiny))
