"""What a training reads: arrays in an order that is known, and as fast as the backend can."""

import inspect
import logging
import math
import random
import zlib
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerasnas.search.batches import Batches, as_fast_input
from kerasnas.search.execution import needs_single_steps

__all__ = ["bound_arguments", "no_retracing_warnings", "read_in_order", "steady_input", "takes"]


@contextmanager
def steady_input(
    model: keras.Model, seed: str, *, adjust: Callable[[Batches, bool], None] = lambda *_: None, verbose: int | str = "auto"
) -> Iterator[None]:
    """Let the `fit` of a model read arrays in the order that follows from `seed`, and fast, while the context lasts.

    Args:
        model: a compiled model.
        seed: what the order follows from.
        adjust: as in `read_in_order`.
        verbose: what stands for the "auto" of `fit`.
    """
    fit = model.fit

    def steady_fit(*args: Any, **kwargs: Any) -> keras.callbacks.History:
        arguments = bound_arguments(fit, args, kwargs)
        if arguments["verbose"] == "auto" and takes(fit, "verbose"):
            arguments["verbose"] = verbose
        if not isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            callback = read_in_order(arguments, seed, adjust=adjust)
            arguments["callbacks"] = [callback, *keras.tree.flatten(arguments["callbacks"] or [])]
        with no_retracing_warnings():
            return fit(**arguments.maps[0])

    object.__setattr__(model, "fit", steady_fit)  # not a layer: Keras need not track it
    try:
        yield
    finally:
        object.__delattr__(model, "fit")


def bound_arguments(fit: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> ChainMap[str, Any]:
    """Return all arguments of a call of `fit` by name, defaults included.

    Its first map, which takes what is changed, is to be passed on; what else Keras' own `fit` takes is in the second one.
    """
    of_keras = list(inspect.signature(keras.Model.fit).parameters.values())[1:]
    signature = inspect.signature(fit)
    rest = {parameter.kind: parameter.name for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL in rest:  # it hands them on to Keras
        args, kwargs = (), dict(zip((each.name for each in of_keras), args, strict=False)) | dict(kwargs)
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    own = dict(bound.arguments)
    own.pop(rest.get(inspect.Parameter.VAR_POSITIONAL, ""), None)
    own |= own.pop(rest.get(inspect.Parameter.VAR_KEYWORD, ""), {})
    return ChainMap(own, {each.name: each.default for each in of_keras})


def takes(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function may be called with an argument of that name."""
    parameters = inspect.signature(function).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(
        each.kind is inspect.Parameter.VAR_KEYWORD or (each.name == name and each.kind in by_name) for each in parameters
    )


def read_in_order(
    arguments: MutableMapping[str, Any], seed: str, *, adjust: Callable[[Batches, bool], None] = lambda *_: None
) -> keras.callbacks.Callback:
    """Replace arrays among the arguments of `fit` by batches; return the callback that puts each epoch in its order.

    Args:
        arguments: as `bound_arguments` returns them; changed in place. Data sets stay as they are.
        seed: what the order follows from.
        adjust: called with the batches, and whether each step is to be run by itself.
    """
    single_steps = needs_single_steps(arguments)
    batches = _in_order(arguments, zlib.crc32(seed.encode()))
    if batches is not None:
        adjust(batches, single_steps)
        # For data sets Keras looks every class up in `class_weight`, and for batches only those that are there.
        arguments["x"] = batches if arguments["class_weight"] else as_fast_input(batches)
        _read_validation_fast(arguments, batches.batch_size)
    return _Steady(batches, seed)


@contextmanager
def no_retracing_warnings() -> Iterator[None]:
    """Keep TensorFlow from warning that every network of a search is traced anew, as it must be."""

    def passes(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


class _Steady(keras.callbacks.Callback):
    """Makes what an epoch draws independent of the epochs before it."""

    def __init__(self, batches: Batches | None, seed: str) -> None:
        super().__init__()
        self._batches, self._seed = batches, seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        seed = zlib.crc32(f"{self._seed}/epoch {epoch}".encode())
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the generator that other people's code draws from
        if self._batches is not None:
            self._batches.begin_epoch(epoch)


def _read_validation_fast(arguments: MutableMapping[str, Any], batch_size: int) -> None:
    """Replace validation arrays among the arguments of `fit` by batches, where that is faster."""
    given = arguments["validation_data"]
    usual = isinstance(given, tuple | list) and len(given) > 1 and arguments["validation_steps"] is None
    if keras.backend.backend() != "tensorflow" or not usual or not _are_arrays(given):
        return
    size = int(arguments["validation_batch_size"] or batch_size)
    arguments["validation_data"] = as_fast_input(Batches(given, batch_size=size, seed=0, shuffle=False))
    arguments["validation_batch_size"] = None


def _are_arrays(nest: Any) -> bool:
    """Return whether all leaves are arrays of the same length, which is not 0."""
    leaves = keras.tree.flatten(nest)
    return all(isinstance(leaf, np.ndarray) and leaf.ndim and len(leaf) for leaf in leaves) and len({*map(len, leaves)}) == 1


def _in_order(arguments: MutableMapping[str, Any], seed: int) -> Batches | None:
    """Replace arrays among the arguments of `fit` by batches whose order is known; None for anything but arrays."""
    names = ("x", "y", "sample_weight")
    given = [arguments[name] for name in names if arguments[name] is not None]
    leaves = keras.tree.flatten(given)
    usual = (
        arguments["x"] is not None
        and (arguments["y"] is not None or arguments["sample_weight"] is None)
        and _are_arrays(given)
        and isinstance(arguments["shuffle"], bool)
        and arguments["steps_per_epoch"] is None
    )
    if not usual:
        return None
    size = int(arguments["batch_size"] or 32)
    split = arguments["validation_split"]
    if split and arguments["validation_data"] is None:
        cut = math.floor(len(leaves[0]) * (1 - split))
        if not 0 < cut < len(leaves[0]):
            return None  # Keras says what is wrong
        arguments["validation_data"] = tuple(keras.tree.map_structure(lambda a: a[cut:], given))
        given = keras.tree.map_structure(lambda a: a[:cut], given)
        arguments["validation_split"] = 0.0
    batches = Batches(given, batch_size=size, seed=seed, shuffle=arguments["shuffle"])
    arguments.update({"x": batches, "y": None, "sample_weight": None, "batch_size": None, "shuffle": False})
    arguments["validation_batch_size"] = arguments["validation_batch_size"] or size
    return batches
