"""A `model.fit` that goes on from the last finished epoch of a training that was killed."""

import inspect
import math
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from kerasnas.search.batches import Batches, as_fast_input
from kerasnas.search.epoch_state import EpochState, EpochStateFile

__all__ = ["ResumableFit"]


class ResumableFit:
    """Stands in for the `fit` of one model in one execution of a trial, whoever calls it and with whatever arguments.

    Weights, optimizer, what callbacks have counted, and the curves are kept after each epoch. Arrays are shuffled by the seed
    and the epoch's number, so that a resumed training sees what the uninterrupted one saw; the order of data sets is their
    own. Only the first call of an execution is resumed: where a HyperModel calls `fit` twice, the trial begins again.

    Args:
        model: a compiled model; its `fit` is replaced until `remove` is called.
        file: where the state is kept.
        saved: the state of an earlier process, if there is one of this execution that fits the model.
        seed: what the order of the data follows from.
        content: called after each epoch for what else is to be kept.
        adjust: called before a training on arrays with its batches and epochs.
        epochs: of the training, as far as is known before it begins.
    """

    def __init__(
        self,
        model: keras.Model,
        file: EpochStateFile,
        saved: EpochState | None,
        *,
        seed: str,
        content: Callable[[], Mapping[str, Any]],
        adjust: Callable[[Batches, int], None] = lambda *_: None,
        epochs: int = 1,
    ) -> None:
        self._model, self._file, self._saved, self._seed, self._content = model, file, saved, seed, content
        self._adjust = adjust
        self._fit = model.fit
        self._calls = 0
        self.epochs = epochs  # of the latest call
        object.__setattr__(model, "fit", self)  # not a layer: Keras need not track it

    def __call__(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does."""
        bound = inspect.signature(self._fit).bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = bound.arguments
        self._calls += 1
        self.epochs = int(arguments["epochs"])
        batches = _in_order(arguments, zlib.crc32(f"{self._seed}/{self._calls}".encode()))
        if batches is not None:
            self._adjust(batches, self.epochs)
            arguments["x"] = as_fast_input(batches)
            _read_validation_fast(arguments, batches.batch_size)
        if isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            return self._fit(**arguments)
        listed = list(keras.tree.flatten(arguments["callbacks"] or []))
        first, saved = self._calls == 1, self._saved if self._calls == 1 else None
        if saved is not None:
            saved.restore(self._model)
            # A training that had ended by itself does not go on.
            arguments["initial_epoch"] = self.epochs if saved.content["ended"] else saved.content["epoch"]
        if not first:
            self._file.remove()
        steady = _Steady(batches, self._seed)
        keeper = [_Keeper(self._file, saved, listed, self._content)] if first else []
        arguments["callbacks"] = [steady, *listed, *keeper]
        return self._fit(**arguments)

    def remove(self) -> None:
        """Give the model its own `fit` back."""
        if "fit" in vars(self._model):
            object.__delattr__(self._model, "fit")


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


class _Keeper(keras.callbacks.Callback):
    """Comes last: saves the training after each epoch, and gives the other callbacks back what they had counted."""

    def __init__(
        self,
        file: EpochStateFile,
        saved: EpochState | None,
        others: list[keras.callbacks.Callback],
        content: Callable[[], Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self._file, self._saved, self._others, self._content = file, saved, others, content

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        if self._saved is not None:
            self._saved.restore_callbacks(self._others)
            self.model.history.history.update({name: list(v) for name, v in self._saved.content["curves"].items()})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The History callback comes after this one.
        curves = {name: [*values] for name, values in self.model.history.history.items()}
        for name, value in (logs or {}).items():
            curves.setdefault(name, []).append(float(value))
        ended = bool(self.model.stop_training)
        content = {"epoch": epoch + 1, "ended": ended, "curves": curves, **self._content()}
        self._file.save(content, self.model, self._others)


def _read_validation_fast(arguments: dict[str, Any], batch_size: int) -> None:
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


def _in_order(arguments: dict[str, Any], seed: int) -> Batches | None:
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
    arguments |= {"x": batches, "y": None, "sample_weight": None, "batch_size": None, "shuffle": False}
    arguments["validation_batch_size"] = arguments["validation_batch_size"] or size
    return batches
