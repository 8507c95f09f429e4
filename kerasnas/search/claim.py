"""Whose data a project folder was searched on."""

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.atomic import write_json
from kerasnas.errors import InvalidArgument

__all__ = ["Claim"]


class Claim:
    """Ties a project folder to the data and settings of its trials, whose scores would not compare with others.

    Args:
        project: the project folder.
        arrays: the data; their shapes and checksums are kept.
        settings: plain values that every trial must share.
    """

    def __init__(self, project: Path, *, arrays: Sequence[NDArray[Any]], settings: dict[str, Any]) -> None:
        self._file = project / "data.json"
        content = {
            "data": [[array.shape, zlib.crc32(np.ascontiguousarray(array).data)] for array in arrays],
            **settings,
        }
        self._content: dict[str, Any] = json.loads(json.dumps(content))  # as it is read back: lists for tuples

    def check(self) -> None:
        """Raise InvalidArgument if the folder holds a search on other data or with other settings."""
        if not self._file.exists():
            return
        known = json.loads(self._file.read_text(encoding="utf-8"))
        changed = [name for name, value in self._content.items() if known.get(name) != value]
        if changed:
            raise InvalidArgument(
                f"{self._file.parent} holds a search with other {', '.join(map(self._difference(known), changed))}. "
                "Pass overwrite=True to delete it, or another project_name."
            )

    def _difference(self, known: dict[str, Any]) -> Callable[[str], str]:
        return lambda name: name if name == "data" else f"{name} ({known.get(name)!r}, now {self._content[name]!r})"

    def write(self) -> None:
        """Keep the claim in the folder."""
        write_json(self._file, self._content)
