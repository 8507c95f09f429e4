"""A matplotlib figure as SVG text for the page."""

import html
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["ACCENT", "FAINT", "INK", "MUTED", "SECOND", "short", "svg"]

INK, MUTED, ACCENT, SECOND, FAINT = "#1c2733", "#7a8794", "#1f6feb", "#d9730d", "#c9d1d9"
_STYLE = {
    "font.family": ["sans-serif"],
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label such as "$5 or $10" is no formula
    "svg.hashsalt": "kerasnas",
}


def svg(draw: Callable[[Any], Mapping[str, str] | None], width: float, height: float) -> str:
    """Return what `draw` draws; it may return, for the gid of an artist, what to show where the pointer is on it."""
    # Figure rather than pyplot: no display, no global state of the user's.
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        text = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # measured only: the browser draws the text
            titles = draw(axes) or {}
            metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    result = text.getvalue()
    for gid, title in titles.items():
        result = result.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{html.escape(title)}</title>')
    return result[result.index("<svg") :]


def short(text: str, limit: int = 28) -> str:
    """Cut a name that would leave no room for the chart; the tables give it in full."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
