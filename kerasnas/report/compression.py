"""What `kerasnas compress --goal` found, as the page shows it."""

import json
from pathlib import Path
from typing import Any

from kerasnas.compression_search.chart import draw
from kerasnas.report.svg import svg

__all__ = ["compression", "figures"]


def figures(folder: Path, what: str) -> Path:
    """Return the file that tells how the network of a folder was made smaller; of several .keras files the latest."""
    plain = folder / f"{what}.json"
    named = [] if (folder / "classifier.json").exists() else list(folder.glob(f"*-{what}.json"))  # no run: of bare files
    return plain if plain.exists() or not named else max(named, key=lambda path: path.stat().st_mtime_ns)


def compression(folder: Path) -> dict[str, Any] | None:
    """Return the chart of all files, the rows of the front with the original's, and what is said of the chosen one."""
    path = figures(folder, "compression")
    if not path.exists():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    places = dict.fromkeys([told["original"], *reversed(told["pareto"]), told["chosen"]])
    rows = [
        {
            **told["rows"][place],
            "name": "original" if told["rows"][place]["trial"] == 0 else f"network {told['rows'][place]['trial']}",
            "chosen": place == told["chosen"],
            "speed": _speed(told["rows"][place]["original_ms"] / told["rows"][place]["latency_ms"]),
        }
        for place in places
    ]
    return {
        "path": None,
        **told,
        "count": len(told["rows"]),
        "rows": rows,
        "chart": svg(lambda axes: draw(axes, told), 7.6, 3.8),
    }


def _speed(ratio: float) -> str:
    """Say how many times faster or slower than the original."""
    if 0.95 < ratio < 1.05:
        return "the same"
    return f"{ratio:.1f}x faster" if ratio > 1 else f"{1 / ratio:.1f}x slower"
