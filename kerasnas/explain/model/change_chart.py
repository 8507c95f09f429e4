"""A chart of what became of the loss when one part after another was taken away."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Change", "change_chart", "change_map"]

_MOST_LINES = 40
_COLOURS = ("#4c72b0", "#dd8452", "#8a8a8a")
_ZERO = "#c9d1d9"


class Change(NamedTuple):
    """A change of the loss, and its 95 % interval."""

    mean: float
    low: float
    high: float


def change_chart(names: Sequence[str], series: Mapping[str, Sequence[Change]], *, title: str, unit: str) -> Any:
    """Draw a line for each name with a mark and an interval for each series: filled where the interval is above or below 0.

    Args:
        names: what was taken away, from the top.
        series: for each way to take it away, one change for each name.
        title: what stands over the chart.
        unit: what the changes are.

    Returns:
        A matplotlib figure. Of more than 40 names it has those with the largest changes, in the given order, and says so.
    """
    from matplotlib.figure import Figure

    largest = np.max([[abs(change.mean) for change in changes] for changes in series.values()], axis=0)
    shown = np.sort(np.argsort(-largest, kind="stable")[:_MOST_LINES])
    figure = Figure(figsize=(7.6, 1.5 + 0.27 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=_ZERO, lw=1, zorder=1)
    offsets = np.linspace(-0.18, 0.18, len(series)) if len(series) > 1 else [0.0]
    for (way, changes), offset, colour in zip(series.items(), offsets, _COLOURS, strict=False):
        lines = np.arange(len(shown)) + offset
        kept = [changes[index] for index in shown]
        sure = np.array([change.low > 0 or change.high < 0 for change in kept])
        axes.hlines(lines, [change.low for change in kept], [change.high for change in kept], color=colour, lw=1.5, zorder=2)
        faces = np.where(sure, colour, "white")
        axes.scatter([change.mean for change in kept], lines, s=34, c=faces, edgecolors=colour, zorder=3)
        axes.scatter([], [], s=34, color=colour, label=way)
    axes.set_yticks(range(len(shown)), [_short(names[index]) for index in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(f"{unit}; filled: the 95 % interval leaves out 0", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if len(series) > 1:
        figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=len(series))
    rest = f" (the {len(shown)} largest of {len(names)})" if len(names) > len(shown) else ""
    figure.suptitle(title + rest, fontsize=10)
    return figure


def change_map(values: np.ndarray, *, title: str, unit: str) -> Any:
    """Draw the changes at their places in the image, shape (height, width), with a colour scale; white is no change.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    limit = float(np.abs(values).max()) or 1.0
    picture = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(picture, ax=axes, label=unit, shrink=0.85)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("column, pixels", fontsize=9)
    axes.set_ylabel("row, pixels", fontsize=9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 34 else f"{name[:16]}…{name[-17:]}"
