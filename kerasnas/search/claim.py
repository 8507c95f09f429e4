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

__all__ = ["Claim", "objective_text"]


def objective_text(objective: Any) -> str | list[list[str]]:
    """Return all that tells an objective from another one: a claim's setting.

    Args:
        objective: a `kt.Objective`, or several of them.
    """
    if hasattr(objective, "objectives"):
        return [[one.name, one.direction] for one in objective.objectives]
    return str(objective) if hasattr(objective, "get_config") else str(objective.name)


class Claim:
    """Ties a project folder to the data and settings of its trials, whose scores would not compare with others.

    Args:
        project: the project folder.
        arrays: the data; their shapes and checksums are kept.
        settings: plain values that every trial must share.
        split: what settled which part of the data scores the trials; named where the data differ and it does, too.
    """

    def __init__(
        self, project: Path, *, arrays: Sequence[NDArray[Any]], settings: dict[str, Any], split: dict[str, Any] | None = None
    ) -> None:
        self._file, self._split = project / "data.json", split or {}
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
        def change(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
            return f"{name} ({before.get(name)!r}, now {now[name]!r})"

        before = known.get("split", {})
        moved = [change(name, before, self._split) for name, value in self._split.items() if before.get(name, value) != value]
        data = f"data, or the same divided otherwise by {' and '.join(moved)}" if moved else "data"
        return lambda name: data if name == "data" else change(name, known, self._content)

    def write(self) -> None:
        """Keep the claim in the folder."""
        write_json(self._file, {**self._content, "split": self._split})
