"""The decision ledger: a `decision.json` beside each trial that says how it was proposed and what came of it.

It has the class of the "strategy", the trial's "number" from 0, "after" how many observations it was proposed, how many trials
were "pending", how many proposals for it were "rejected", how many trials of an "earlier" search were known, its "phase" and
what else the strategy says of it (see `kerasnas.strategies.Proposal`), and the "beliefs" of the strategy. When the trial has
ended, "observed" tells how many observations the strategy had before it, and "advantage" the one that the strategy gave to its
score. Scores there are as the strategy sees them: higher is better.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasnas.atomic import write_text
from kerasnas.trial_record import read_file

__all__ = ["read_decision", "write_decision", "write_outcome"]

_FILE = "decision.json"


def write_decision(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write how a trial was proposed, before it runs."""
    _write(Path(folder) / _FILE, {**content, "observed": None, "advantage": None})


def read_decision(folder: str | Path) -> dict[str, Any] | None:
    """Return what is known of a proposal.

    None for a trial of version 0.1 or of another oracle, and, with a warning, if the file is damaged.
    """
    return read_file(Path(folder) / _FILE)


def write_outcome(folder: str | Path, observed: int, advantage: Callable[[], float | None]) -> None:
    """Add that a trial was the `observed`-th that the strategy took in, and its advantage, unless that is known already.

    A resumed search replays its trials, perhaps in a space that it knew only in part when they ended: what was written then
    stands.
    """
    content = read_decision(folder)
    if content is not None and content.get("observed") is None:
        _write(Path(folder) / _FILE, {**content, "observed": observed, "advantage": advantage()})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Return `value` as strict JSON can hold it; a number that is not finite becomes null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
