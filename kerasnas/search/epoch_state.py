"""What a training needs to go on from its last finished epoch, in one file."""

import json
import math
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.atomic import atomic_path

__all__ = ["EpochState", "EpochStateFile", "build_as"]

_VERSION = 1


@dataclass(frozen=True)
class EpochState:
    """A training as it was after its last finished epoch.

    Attributes:
        content: what JSON can hold.
        arrays: the variables of the model and of its optimizer, and lists of arrays that callbacks hold.
    """

    content: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def prepare(self, model: keras.Model, *, optimizer: bool = True) -> str | None:
        """Build `model` and its optimizer if they are not yet; return why the state does not fit them, if it does not.

        Args:
            model: whose training is to go on.
            optimizer: False leaves the optimizer out, which the `fit` of a HyperModel may still replace.

        Returns:
            None if the state fits.
        """
        if not model.built:
            build_as(model, self.content["build_config"])
        if not model.built or (optimizer and getattr(model, "optimizer", None) is None):
            return "its model is not built or not compiled before fit is called"
        if optimizer and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        kinds = ("model/", "states/", "optimizer/") if optimizer else ("model/", "states/")
        variables = {name: variable for name, variable in _variables(model).items() if name.startswith(kinds)}
        saved_names = [name for name in self.arrays if name.startswith(kinds)]
        if len(variables) < len(saved_names):
            return f"it has {len(variables)} variables with those of its optimizer, saved were {len(saved_names)}"
        for name, variable in variables.items():
            saved = self.arrays[name].shape if name in self.arrays else None
            if saved != tuple(variable.shape):
                return f"{variable.path} has shape {tuple(variable.shape)}, saved was {saved}"
        return None

    def restore(self, model: keras.Model) -> None:
        """Set every variable of a model that `prepare` has found to fit, and of its optimizer."""
        for name, variable in _variables(model).items():
            variable.assign(self.arrays[name])

    def restore_callbacks(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Give callbacks back what they had counted: the patience of early stopping, the best value, ..."""
        # The n-th of a class to the n-th of it: a search may be resumed with one callback more, or less.
        known = [(saved["class"], i) for i, saved in enumerate(self.content["callbacks"])]
        for callback in callbacks:
            i = next((i for kind, i in known if kind == type(callback).__name__), None)
            if i is None:
                continue
            known.remove((type(callback).__name__, i))
            saved = self.content["callbacks"][i]
            for name, value in saved["plain"].items():
                # Keras turns the sign of `min_delta` once, as it chooses `monitor_op`.
                if name != "min_delta" or getattr(callback, "monitor_op", True) is not None:
                    setattr(callback, name, value)
            for name, length in saved["lists"].items():
                setattr(callback, name, [self.arrays[f"callback/{i}/{name}/{j}"] for j in range(length)])


class EpochStateFile:
    """The file of one trial's `EpochState`.

    Args:
        path: the file, an `.npz` that holds no pickled object.
        key: plain values that a later training must share to go on from the file, such as its hyperparameters; it may have
            more of them, which it discovered when it began.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        self.path, self._key = path, json.loads(json.dumps(dict(key)))

    def save(
        self, content: Mapping[str, Any], model: keras.Model | None = None, callbacks: Sequence[keras.callbacks.Callback] = ()
    ) -> None:
        """Replace the file; `model` is left out between two executions."""
        arrays = {} if model is None else {name: _plain_array(v) for name, v in _variables(model).items()}
        counted = []
        for i, callback in enumerate(callbacks):
            plain, lists = _counted(callback)
            counted.append(
                {"class": type(callback).__name__, "plain": plain, "lists": {name: len(v) for name, v in lists.items()}}
            )
            arrays |= {f"callback/{i}/{name}/{j}": v for name, values in lists.items() for j, v in enumerate(values)}
        text = json.dumps({"version": _VERSION, "key": self._key, "callbacks": counted, **content})
        with atomic_path(self.path) as draft:
            np.savez(draft, content=np.asarray(text), **arrays)  # type: ignore[arg-type]

    def load(self) -> EpochState | None:
        """Return the state; None, with a warning that says why, if there is a file that cannot be gone on from."""
        if not self.path.exists():
            return None
        try:
            # Opened here: np.load leaves a file open that is no archive.
            with open(self.path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            content = json.loads(str(arrays.pop("content")))
            if content["version"] != _VERSION or not _fits(content["key"], self._key):
                raise ValueError("it is of another version of kerasnas, or of other hyperparameters")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(
                f"The trial in {self.path.parent} begins again at its first epoch: {self.path.name}: {error}", stacklevel=2
            )
            return None
        return EpochState(content, arrays)

    def remove(self) -> None:
        """Remove the file: the trial has ended."""
        self.path.unlink(missing_ok=True)


def build_as(model: keras.Model, config: Mapping[str, Any] | None) -> None:
    """Make the weights of a model that was not built yet, from what `get_build_config` told of one that was."""
    if config:
        model.build_from_config(config)
    # Keras makes those of a subclass that has no `build` of its own, and does not say so.
    model.built = model.built or bool(model.weights)


def _fits(saved: Any, now: Any) -> bool:
    """Tell whether all that was saved is still so."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        return all(name in now and _fits(part, now[name]) for name, part in saved.items())
    return bool(saved == now)


def _variables(model: keras.Model) -> dict[str, Any]:
    # Not by name: Keras counts names up from model to model.
    optimizer = model.optimizer.variables if getattr(model, "optimizer", None) is not None else []
    # Recurrent layers that are stateful keep what they have seen apart from their variables.
    stateful = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    states = keras.tree.flatten([getattr(layer, "states", None) or [] for layer in stateful])
    kinds = {"model": model.variables, "optimizer": optimizer, "states": states}
    return {f"{kind}/{i}": v for kind, variables in kinds.items() for i, v in enumerate(variables)}


def _plain_array(variable: Any) -> np.ndarray:
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array.astype("float32") if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array  # exact


def _counted(callback: keras.callbacks.Callback) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    plain: dict[str, Any] = {}
    lists: dict[str, list[np.ndarray]] = {}
    # What Keras tells each callback, and the files and the profiler of its TensorBoard, are a process' own.
    writes = isinstance(callback, keras.callbacks.TensorBoard)
    for name, value in vars(callback).items():
        if name in ("params", "_model") or (writes and name.startswith("_")):
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if _is_plain(value):
            plain[name] = value
        # TensorFlow gives a weight without axes as a number of NumPy.
        elif isinstance(value, list) and value and all(isinstance(v, np.ndarray | np.generic) for v in value):
            lists[name] = [_plain_array(np.asarray(v)) for v in value]
    return plain, lists


def _is_plain(value: Any) -> bool:
    """Tell whether JSON gives a value back as it is."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(part) for name, part in value.items())
    if isinstance(value, float):
        return not math.isnan(value)
    return value is None or isinstance(value, bool | int | str)
