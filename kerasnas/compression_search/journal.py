"""What a compression search leaves on disk after each trial, and finds again after a kill."""

import json
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.atomic import write_json
from kerasnas.compress.kernels import walk_layers
from kerasnas.compression_search.compression import Candidate, file_name, front_of
from kerasnas.errors import InvalidArgument

__all__ = ["Journal"]


class Journal:
    """The trials of a search in `trials.json`, and the files of those that no other beats in `networks`.

    Args:
        folder: of the search.
        arrays: data and weights, whose shapes and checksums say whether another process searched for the same.
        model: whose layers, and how they are connected, say so, too.
        settings: plain values that all its trials share.
        overwrite: whether an earlier search is deleted.

    Raises:
        InvalidArgument: if the folder holds a search on other data, another model or with other settings.
    """

    def __init__(
        self,
        folder: Path,
        arrays: Sequence[NDArray[Any]],
        model: keras.Model,
        settings: dict[str, Any],
        *,
        overwrite: bool = False,
    ) -> None:
        self.networks = folder / "networks"
        self._file = folder / "trials.json"
        if overwrite:
            self._file.unlink(missing_ok=True)
        checksums = [_checksum(array) for array in arrays]
        claim = {"data and weights": checksums, "architecture": _architecture(model), **settings}
        self._claim = json.loads(json.dumps(claim, default=_plain))
        self.trials: list[dict[str, Any]] = []
        if self._file.exists():
            try:
                known = json.loads(self._file.read_text(encoding="utf-8"))
                changed = [name for name, value in self._claim.items() if known["of"].get(name) != value]
                self.trials = _whole(known["trials"])
                _ = self.rows
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                raise InvalidArgument(f"{self._file} is damaged: {error}. Pass overwrite=True to begin anew.") from error
            if changed:
                raise InvalidArgument(
                    f"{folder} holds a compression search with other {', '.join(changed)}. Pass overwrite=True to delete "
                    "it, or another directory."
                )
        elif self.networks.exists():
            shutil.rmtree(self.networks)
        self.networks.mkdir(parents=True, exist_ok=True)

    @property
    def rows(self) -> list[Candidate]:
        """All files that were measured, in order."""
        return [Candidate.of(row) for trial in self.trials for row in trial["rows"]]

    @property
    def seconds(self) -> float:
        """How long all trials took."""
        return float(sum(trial["seconds"] for trial in self.trials))

    def add(self, trial: dict[str, Any], keep: Sequence[Candidate] = ()) -> None:
        """Keep a trial, then delete the files of all that another beats, but for the original's and those to `keep`."""
        self.trials.append(trial)
        write_json(self._file, {"of": self._claim, "trials": self.trials})
        kept = [*front_of(self.rows), *keep]
        stems = {self.path(row).name for row in kept} | {self.model_path(row.trial).name for row in kept}
        for path in self.networks.iterdir():
            if path.is_file() and path.name not in stems and not path.name.startswith("0-float32"):
                os.remove(path)

    def path(self, row: Candidate) -> Path:
        """Return where the file of a candidate lies."""
        return self.networks / file_name(str(row.trial), row.format)

    def model_path(self, trial: int) -> Path:
        """Return where the Keras network of a trial lies."""
        return self.networks / f"{trial}.keras"


def _whole(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials of an older version with the size of the original's float file, the first of all, in each row."""
    for trial in trials:
        for row in trial["rows"]:
            row.setdefault("original_bytes", trials[0]["rows"][0]["size_bytes"])
    return trials


def _checksum(array: NDArray[Any]) -> list[Any]:
    return [list(array.shape), zlib.crc32(np.ascontiguousarray(array).data)]


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return type(value).__name__ if array.dtype == object else array.tolist() if array.ndim == 0 else _checksum(array)


def _architecture(model: keras.Model) -> int:
    """Return a checksum of all layers and how they are connected, whatever they, and the model, are called."""
    content = keras.saving.serialize_keras_object({"class": type(model).__name__, **model.get_config()})
    text = json.dumps(content, sort_keys=True, default=str)
    layers = list(walk_layers(model))
    inputs = [
        tensor._keras_history.operation.name for layer in layers if isinstance(layer, keras.Model) for tensor in layer.inputs
    ]
    for place, name in enumerate([*(layer.name for layer in layers), *inputs]):
        text = text.replace(json.dumps(name), f'"layer {place}"')
    return zlib.crc32(text.encode())
