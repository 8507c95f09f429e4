"""The front of a search with several objectives, as SVG text."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

from kerasnas.record import SearchRecord
from kerasnas.report.quantities import compact
from kerasnas.report.svg import ACCENT, FAINT, MUTED, SECOND, short, svg
from kerasnas.report.trial_rows import objective_text

__all__ = ["front_chart"]

# Colour, size and layer of the marks.
_MARKS = {"knee": (SECOND, 10, 5), "front": (ACCENT, 7, 4), "other": (FAINT, 6, 3)}
_NAMED = 12  # a front of more trials is not labelled


def front_chart(record: SearchRecord) -> str | None:
    """The first two objectives of each trial, the front and its knee in colour; None if there is one objective or no front.

    The number of a trial and its objectives are shown where the pointer is on its mark.
    """
    front = {trial.trial_id for trial in record.pareto_front()}
    if len(record.objectives) < 2 or not front:
        return None
    (y_name, y_direction), (x_name, x_direction) = record.objectives[:2]
    knee = record.knee_point().trial_id
    points = []
    for number, trial in enumerate(record.trials, 1):
        x, y = (trial.metrics.get(name, math.nan) for name in (x_name, y_name))
        if trial.status == "COMPLETED" and math.isfinite(x) and math.isfinite(y):
            kind = "knee" if trial.trial_id == knee else "front" if trial.trial_id in front else "other"
            text = ", ".join(f"{name} {objective_text(name, trial)}" for name, _ in record.objectives)
            points.append((number, kind, (x, y), f"trial {number}: {text}"))

    def draw(axes: Any) -> dict[str, str]:
        if len(record.objectives) == 2:  # the border of three cannot be drawn in two
            best = sorted(point for _, kind, point, _ in points if kind != "other")
            where = "post" if x_direction == "min" else "pre"
            axes.step(*zip(*best, strict=True), where=where, color=ACCENT, lw=1.2, alpha=0.5)
        for number, kind, point, _ in points:
            colour, size, layer = _MARKS[kind]
            edge = MUTED if kind == "other" else "white"
            axes.plot(*point, "o", color=colour, ms=size, mec=edge, mew=0.8, zorder=layer, gid=f"point-{number}")
        _scale(axes, "x", [x for _, _, (x, _), _ in points])
        _scale(axes, "y", [y for _, _, (_, y), _ in points])
        axes.margins(0.08, 0.14)
        for number, kind, point, _ in points:
            if kind == "knee" or (kind == "front" and len(front) <= _NAMED):
                _name(axes, f"knee: trial {number}" if kind == "knee" else str(number), point, kind)
        axes.set_xlabel(_with_direction(x_name, x_direction))
        axes.set_ylabel(_with_direction(y_name, y_direction))
        return {f"point-{number}": title for number, _, _, title in points}

    return svg(draw, 7.2, 3.6)


def _name(axes: Any, text: str, point: tuple[float, float], kind: str) -> None:
    """Write a name at a mark, away from the sides of the chart and the knee's away from the others."""
    axes.get_xlim()  # settles the scale
    place = axes.transAxes.inverted().transform(axes.transData.transform(point))[0]
    side = "left" if place < 0.12 else "right" if place > 0.88 else "center"
    style = {"color": _MARKS[kind][0], "fontsize": 10 if kind == "knee" else 8, "ha": side, "zorder": 6}
    shift = ({"left": 6, "right": -6, "center": 0}[side], -18) if kind == "knee" else (0, 8)
    axes.annotate(text, point, xytext=shift, textcoords="offset points", **style)


def _scale(axes: Any, name: str, values: Sequence[float]) -> None:
    """Take logarithms where the values span more than a few doublings, and write large numbers short."""
    axis = getattr(axes, f"{name}axis")
    if min(values) > 0 and max(values) > 30 * min(values):
        getattr(axes, f"set_{name}scale")("log")
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    axis.set_major_formatter(lambda value, _: compact(value) if abs(value) >= 1000 else f"{value:g}")


def _with_direction(name: str, direction: str) -> str:
    return f"{short(name)} ({'higher' if direction == 'max' else 'lower'} is better)"
