"""A search for the best way to compress a trained classifier: how far to prune, how to fine-tune, and which file format.

`compress(model, x, y, goal="smallest", max_loss=0.01)` prunes, fine-tunes and exports candidates, measures each file, and
returns the best for the goal with the table of all. `measure_latency` is a cost for `prune_channels(cost=..., target=...)`.
"""

import importlib
from typing import Any

__all__ = ["Candidate", "Compression", "Goal", "compress", "measure_latency", "prune_and_measure"]

# Loaded on first use: the page draws the chart of a result without Keras.
_WHERE = {
    "Candidate": "compression_search.compression",
    "Compression": "compression_search.compression",
    "Goal": "compression_search.goal",
    "compress": "compression_search.search",
    "measure_latency": "search.latency",
    "prune_and_measure": "compression_search.single",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"kerasnas.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
