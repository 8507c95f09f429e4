"""The chart of a compression search: size against accuracy."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["draw"]

_FRONT, _CHOSEN, _OTHER, _INK, _LINE = "#1f6feb", "#d9730d", "#c9d1d9", "#1c2733", "#7a8794"
_FLOATS = ("float32", "float16")


def draw(axes: Any, told: Mapping[str, Any]) -> dict[str, str]:
    """Draw the files of `Compression.to_dict()` on matplotlib axes; return what to tell of each mark, by its gid."""
    rows, titles = told["rows"], {}
    original, chosen, front = rows[told["original"]], told["chosen"], set(told["pareto"])
    for place, row in enumerate(rows):
        colour, size, layer = (_FRONT, 7, 4) if place in front else (_OTHER, 5, 3)
        if place == chosen:
            colour, size, layer = _CHOSEN, 10, 6
        elif place == told["original"]:
            colour, size, layer = _INK, 8, 5
        gid, mark = f"file-{place}", "s" if row["format"] in _FLOATS else "o"
        axes.plot(
            row["size_bytes"] / 1000,
            100 * row["accuracy"],
            mark,
            color=colour,
            ms=size,
            mec="white",
            mew=0.7,
            zorder=layer,
            gid=gid,
        )
        titles[gid] = (
            f"network {row['trial']}, {row['format']}: {row['size_bytes'] / 1000:.1f} kB, {row['latency_ms']:.3f} ms, "
            f"accuracy {row['accuracy']:.4f}"
        )
    goal = told["goal"] or {"best": None, "max_bytes": None}
    if goal["best"] in ("smallest", "fastest"):
        axes.axhline(100 * (original["accuracy"] - goal["max_loss"]), color=_LINE, lw=0.9, ls="--", zorder=2)
    allowed = [goal["max_bytes"] or 0, original["size_bytes"] / goal["smaller"] if goal.get("smaller") else 0]
    if any(allowed):
        axes.axvline(min(filter(None, allowed)) / 1000, color=_LINE, lw=0.9, ls="--", zorder=2)
    axes.set_xscale("log")
    sizes = [row["size_bytes"] / 1000 for row in rows]
    inside = _ticks(min(sizes), max(sizes))
    axes.set_xticks(inside, [f"{tick:,g}" for tick in inside])
    axes.minorticks_off()
    _name(axes, "original", original, _INK, ha="right")
    if chosen != told["original"]:
        row = rows[chosen]
        sizes, times = original["size_bytes"] / row["size_bytes"], row["original_ms"] / row["latency_ms"]
        _name(axes, f"chosen: {sizes:.1f}x smaller, {times:.1f}x faster", row, _CHOSEN, below=True)
    axes.set_xlabel("file, kB (squares: float, circles: 8 bits; blue: no other is better in size, speed and accuracy)")
    axes.set_ylabel("held-out accuracy, %")
    axes.margins(0.08, 0.14)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return titles


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`, of the coarsest kind of which there are three; the ends if none."""
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(step / 10 for step in range(10, 100)), ()):
        ticks = [step * 10.0**power for power in range(-3, 7) for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 8)]
    return sorted({float(f"{tick:.3g}") for tick in (low, high)})


def _name(axes: Any, text: str, row: Mapping[str, Any], colour: str, *, below: bool = False, **style: Any) -> None:
    place = (row["size_bytes"] / 1000, 100 * row["accuracy"])
    axes.annotate(
        text, place, xytext=(0, -17 if below else 9), textcoords="offset points", fontsize=9, color=colour, zorder=7, **style
    )
