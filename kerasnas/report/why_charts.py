"""The charts of what the search found out, as SVG text."""

from typing import Any

import numpy as np

from kerasnas.explain.search import AblationPath, Importance, ParameterImportance
from kerasnas.report.svg import ACCENT, FAINT, INK, MUTED, SECOND, short, svg

__all__ = ["importance_chart", "path_chart", "value_text"]

_DRAWN = 12  # rows of a chart
_DRAWN_UNSURE = 6  # where nothing is told apart from chance
_SURE = 2.0
_WORDS = {"matters": "matters", "not enough trials": "not told apart from chance"}


def importance_chart(told: Importance) -> tuple[str, int] | None:
    """Draw the shares of the hyperparameters and their 95 % intervals; of what cannot be told apart from chance only the range.

    Returns:
        The chart, and how many hyperparameters it leaves out: fixed ones are not counted. None if there is nothing to draw.
    """
    varied = [p for p in told.parameters if p.verdict != "fixed"]
    if not varied:
        return None
    # What matters is drawn, and of the others those with the largest shares.
    most = _DRAWN if any(p.verdict == "matters" for p in varied) else _DRAWN_UNSURE
    drawn = sorted(sorted(varied, key=lambda p: p.verdict != "matters")[:most], key=varied.index)
    width = max(p.high for p in drawn) or 1.0

    def draw(axes: Any) -> dict[str, str]:
        titles = {}
        for row, p in enumerate(drawn):
            matters = p.verdict == "matters"
            if matters:
                _bar(axes, row, 0.0, p.share, sure=True, colour=ACCENT, gid=f"importance-{row}")
                _whisker(axes, row, p.low, p.high)
            else:
                axes.barh(row, p.high, height=0.16, color=FAINT, zorder=2)[0].set_gid(f"importance-{row}")
            style = {"color": INK if matters else MUTED, "fontweight": "bold" if matters else "normal"}
            axes.text(p.high + 0.02 * width, row, _WORDS[p.verdict], va="center", fontsize=8, **style)
            titles[f"importance-{row}"] = _importance_text(p)
        _rows(axes, [short(p.name) for p in drawn])
        axes.set_xlim(0, 1.34 * width)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if value <= 1 else "")
        axes.set_xlabel("share of all importance, with its 95 % interval")
        return titles

    return svg(draw, 7.2, 0.8 + 0.3 * len(drawn)), len(varied) - len(drawn)


def path_chart(path: AblationPath) -> str | None:
    """Draw how the gains add up from the default to the winner, each with two standard deviations; None without a step.

    Hollow is what may be no gain at all; a diamond is where training came to. All that a step changed is shown where the
    pointer is on it.
    """
    if not path.steps:
        return None
    steps = path.steps if len(path.steps) <= _DRAWN else path.steps[: _DRAWN - 1]
    rest = path.gain - sum(step.gain for step in steps)

    def draw(axes: Any) -> dict[str, str]:
        titles, labels, done = {}, [], 0.0
        rows = [(step.gain, step.std, f"{short(step.name, 22)}: {_change(*step.changes[step.name])}") for step in steps]
        if len(steps) < len(path.steps):
            rows.append((rest, 0.0, f"{len(path.steps) - len(steps)} more changes"))
        for row, (gain, std, label) in enumerate(rows):
            colour = ACCENT if gain >= 0 else SECOND
            _bar(axes, row, done, gain, sure=abs(gain) > _SURE * std > 0, colour=colour, gid=f"step-{row}")
            done = _finish(axes, row, done, gain, std)
            labels.append(label)
            if row < len(steps):
                made = [f"{name} {_change(old, new)}" for name, (old, new) in steps[row].changes.items()]
                titles[f"step-{row}"] = f"{gain:+.3g} ± {std:.2g}: {', '.join(made)}"
        if path.measured is not None:
            reached = np.cumsum([np.nan if step.measured is None else step.measured for step in steps])
            places = [*range(len(steps)), len(rows)]
            axes.plot([*reached, path.measured], places, ls="", marker="D", ms=6, color=SECOND, zorder=4)
        sure = abs(path.gain) > _SURE * path.std
        _bar(axes, len(rows), 0.0, path.gain, sure=sure, colour=INK, gid="step-all")
        _finish(axes, len(rows), 0.0, path.gain, path.std)
        _rows(axes, [*labels, "all together"])
        axes.axvline(0, color=FAINT, lw=1, zorder=1)
        axes.margins(x=0.2)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"predicted gain in {short(path.objective)} over the default, right is better")
        return titles

    return svg(draw, 7.2, 1.1 + 0.3 * (len(steps) + 1))


def value_text(value: Any) -> str:
    """Write a value of a hyperparameter; None stands for one that is not active."""
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _finish(axes: Any, row: int, start: float, gain: float, std: float) -> float:
    """Draw the whisker of a step and write its gain; return where it ends."""
    end = start + gain
    _whisker(axes, row, end - _SURE * std, end + _SURE * std)
    right = max(start, end + _SURE * std)
    text = f"{gain:+.2g}" + (f" ± {std:.1g}" if std else "")
    axes.annotate(text, (right, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED)
    return end


def _bar(axes: Any, row: int, start: float, length: float, *, sure: bool, colour: str, gid: str) -> None:
    style = {"color": colour} if sure else {"facecolor": "white", "edgecolor": MUTED, "linewidth": 1}
    (bar,) = axes.barh(row, length, left=start, height=0.58, zorder=2, **style)
    bar.set_gid(gid)


def _whisker(axes: Any, row: int, low: float, high: float) -> None:
    if high > low:
        axes.plot([low, high], [row, row], color=INK, lw=1.1, marker="|", ms=6, zorder=3)


def _rows(axes: Any, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", colors=INK, length=0)
    axes.invert_yaxis()


def _importance_text(p: ParameterImportance) -> str:
    if p.verdict == "matters":
        interval = f"{100 * p.share:.0f} %, interval {100 * p.low:.0f} % to {100 * p.high:.0f} %"
    else:
        interval = f"anything from 0 to {100 * p.high:.0f} %"
    return f"{p.name}: {interval}, p = {p.p_value:.2g}, active in {p.active} trials"


def _change(old: Any, new: Any) -> str:
    return f"{short(value_text(old), 14)} → {short(value_text(new), 14)}"
