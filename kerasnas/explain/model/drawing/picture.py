"""The picture of a graph of operations: what stands in each box, and how long its bars are."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from kerasnas.explain.model.drawing.fold import fold
from kerasnas.explain.model.drawing.layout import Layout, Placed, arrange
from kerasnas.explain.model.drawing.png import to_image
from kerasnas.explain.model.drawing.shapes import Curve, Group, Rectangle, Scene, Shape, Text, fit, text_width, wrap
from kerasnas.explain.model.drawing.svg import to_svg
from kerasnas.explain.model.drawing.tree import Box, Edges, Frame, common_name, leaves, tree_of

__all__ = ["Picture"]

_INK, _MUTED, _LINE, _BORDER = "#1c2733", "#4d5b69", "#56636f", "#8a96a3"
_PAPER, _QUIET, _FRAME, _TRACK = "#ffffff", "#f4f6f8", "#fafbfc", "#e3e7eb"
# Dark, light and middling, so that they differ in grey too.
_COLOURS = {"MACs": "#0b4f9c", "parameters": "#f0a040", "latency": "#2f8f6b"}
_LABELS = {"MACs": "MACs", "parameters": "params", "latency": "time"}
_TEXT, _GAP, _LABEL, _BAR, _PERCENT = 224.0, 10.0, 46.0, 70.0, 48.0  # widths in a box, pixels
_WIDTH = _TEXT + _LABEL + _BAR + _PERCENT + 3 * _GAP
_TIMES = "\u00d7"
_MARGIN, _ROW = 20.0, 15.0
_SHOWN = 30  # operations that a box names where the pointer is on it


class Picture:
    """A graph of operations with bars for what each costs, folded and laid out.

    Args:
        name: of the model.
        rows: its operations, as `kerasnas.explain.model.structure.Operation` describes them.
        edges: places in `rows`, (from, to).
        boxes: more than so many boxes are folded, as far as that goes.
    """

    def __init__(self, name: str, rows: Sequence[Any], edges: Edges, boxes: int) -> None:
        self._name, self._rows = name, rows
        self._root, self._edges = fold(tree_of(row.path for row in rows), edges, rows, boxes)
        self._shares: dict[str, list[float | None]] = {
            "MACs": [row.mac_share for row in rows],
            "parameters": [row.parameter_share for row in rows],
        }
        if any(row.latency_ms is not None for row in rows):
            self._shares["latency"] = [row.latency_share for row in rows]
        self._full = {what: max([0.0, *(self._sum(what, box)[0] for box in leaves(self._root))]) for what in self._shares}

    @cached_property
    def layout(self) -> Layout:
        """Where everything lies, without the heading; pixels."""
        return arrange(self._root, self._edges, lambda box: (_WIDTH, self._height(box)))

    def to_svg(self) -> str:
        """Return the picture as SVG text."""
        return to_svg(self._scene)

    def to_image(self) -> Any:
        """Return the picture as a PIL image."""
        return to_image(self._scene)

    @cached_property
    def _scene(self) -> Scene:
        heading, top, width = self._heading()
        whole = Layout()
        whole.add(self.layout, _MARGIN, top)
        shapes: list[Shape] = [self._frame(placed) for placed in whole.frames]
        shapes += [Curve(line, _LINE) for line in whole.lines]
        shapes += [self._box(placed) for placed in whole.boxes]
        width = max(width, self.layout.width) + 2 * _MARGIN
        height = top + self.layout.height + _MARGIN
        paper = Rectangle(0, 0, width, height, _PAPER)
        return Scene(width, height, f"Structure of {self._name}", self._describe(), (paper, *heading, *shapes))

    def _sum(self, what: str, box: Box) -> tuple[float, bool]:
        """Return the share of all rows of a box, and whether it is known of all of them."""
        shares = [self._shares[what][row] for row in box.rows]
        return sum(share or 0.0 for share in shares), None not in shares

    def _costs(self, box: Box) -> bool:
        return any(
            share > 0 or (not known and what == "MACs") for what in self._shares for share, known in [self._sum(what, box)]
        )

    def _totals(self) -> dict[str, str]:
        missing = sum(row.macs is None for row in self._rows)
        totals = {
            "MACs": _amount(sum(row.macs or 0 for row in self._rows))
            + (f", {missing} operations not counted" if missing else ""),
            "parameters": _amount(sum(row.parameters for row in self._rows)),
        }
        if "latency" in self._shares:
            totals["latency"] = f"{sum(row.latency_ms or 0.0 for row in self._rows):.3g} ms"
        return totals

    def _heading(self) -> tuple[list[Shape], float, float]:
        """Return the heading, where the drawing begins below it, and its width."""
        count = sum(1 for _ in leaves(self._root))
        drawn = f"{len(self._rows)} operations" + (
            f", drawn in {count} boxes; bars show their sums" if count < len(self._rows) else ""
        )
        title = fit(self._name, 2 * _WIDTH, 18, bold=True)
        shapes: list[Shape] = [
            Text(_MARGIN, _MARGIN + 16, title, 18, _INK, bold=True),
            Text(_MARGIN, _MARGIN + 36, drawn, 12, _MUTED),
        ]
        y, width = _MARGIN + 58, max(_WIDTH, text_width(title, 18, bold=True))
        for what, total in self._totals().items():
            text = f"{what}: {total} (a full bar is {_percent(self._full[what])})"
            shapes += [Rectangle(_MARGIN, y - 9, 22, 9, _COLOURS[what]), Text(_MARGIN + 30, y, text, 12, _INK)]
            y, width = y + 18, max(width, 30 + text_width(text, 12))
        return shapes, y + 8, width

    def _describe(self) -> str:
        parts = [f"{len(self._rows)} operations from top to bottom."]
        for what, total in self._totals().items():
            shares = self._shares[what]
            order = sorted(range(len(shares)), key=lambda row: -(shares[row] or 0.0))[:3]
            most = ", ".join(f"{self._rows[row].path} {_percent(shares[row] or 0.0)}" for row in order if shares[row])
            parts.append(f"{what}: {total}" + (f"; most in {most}." if most else "."))
        return " ".join(parts)

    def _frame(self, placed: Placed) -> Shape:
        frame = placed.node
        assert isinstance(frame, Frame)
        times = f"{_TIMES} {frame.times}" if frame.times > 1 else ""
        room = min(placed.width, _WIDTH) / 2 - 16  # up to the line that comes in
        right = placed.x + placed.width - 10
        size = 11 if times else 12
        shapes: list[Shape] = [
            Rectangle(placed.x, placed.y, placed.width, placed.height, _FRAME, _BORDER, radius=8, dashed=bool(times)),
            Text(placed.x + 12, placed.y + 18, fit(frame.title, room, size, bold=not times), size, _INK, bold=not times),
        ]
        if times:
            shapes.append(Text(right, placed.y + 20, times, 16, _INK, bold=True, anchor="end"))
        what = f"{frame.title}, drawn once, {frame.times} times one after the other" if times else f"Nested model {frame.title}"
        return Group(what, tuple(shapes))

    def _lines(self, box: Box) -> tuple[list[str], list[str]]:
        """Return the lines that say what a box is, and those below them."""
        rows = [self._rows[row] for row in box.shown]
        repeated = f" {_TIMES} {box.times}" if box.times > 1 else ""
        shape, last = _shape(rows[-1].output_shapes), _shape(self._rows[box.rows[-1]].output_shapes)
        shape = shape if shape == last else f"{shape} … {last}"
        name = rows[0].path.rpartition("/")[2]
        if not box.block:
            kinds = wrap(" + ".join(row.kind for row in rows) + repeated, _TEXT, 12, lines=3, bold=True)
            return kinds, [fit(name, _TEXT, 11), fit(shape, _TEXT, 11)]
        counts = Counter(row.kind for row in rows)
        inside = ", ".join(kind if count == 1 else f"{count}\u00a0{kind}" for kind, count in counts.items())
        turns = [common_name([row.path for row in part]) for part in (rows, [self._rows[i] for i in box.rows[-len(rows) :]])]
        names = turns if all(turns) else [name, rows[-1].path.rpartition("/")[2]]
        title = fit(" … ".join(dict.fromkeys(names)), _TEXT - text_width(repeated, 12, bold=True), 12, bold=True) + repeated
        return [title], [*wrap(f"{len(rows)} operations: {inside}", _TEXT, 11, lines=3), fit(shape, _TEXT, 11)]

    def _height(self, box: Box) -> float:
        heads, below = self._lines(box)
        if not self._costs(box):
            return max(2, len(heads) + len(below) - 1) * _ROW + 10
        return max(len(heads) + len(below), len(self._shares)) * _ROW + 10

    def _box(self, placed: Placed) -> Shape:
        box, x, y = placed.node, placed.x, placed.y
        assert isinstance(box, Box)
        heads, below = self._lines(box)
        costs = self._costs(box)
        fill, border = (_PAPER, _INK) if costs else (_QUIET, _BORDER)
        shapes: list[Shape] = [Rectangle(x, y, placed.width, placed.height, fill, border, radius=5)]
        if not costs:  # the shape stands where others have their bars
            right = x + placed.width - _GAP
            shapes.append(Text(right, y + _ROW + 1, fit(below.pop(), _WIDTH - _TEXT - 3 * _GAP, 11), 11, _INK, anchor="end"))
        for line, text in enumerate(heads + below):
            bold = line < len(heads)
            ink = _INK if bold or (costs and line + 1 == len(heads) + len(below)) else _MUTED
            shapes.append(Text(x + _GAP, y + 1 + _ROW * (line + 1), text, 12 if bold else 11, ink, bold=bold))
        if costs:
            for line, what in enumerate(self._shares):
                shapes += self._bar(box, what, x + _TEXT + 2 * _GAP, y + 1 + _ROW * (line + 1))
        return Group(self._tell(box), tuple(shapes))

    def _bar(self, box: Box, what: str, x: float, y: float) -> list[Shape]:
        share, known = self._sum(what, box)
        full = self._full[what]
        shapes: list[Shape] = [
            Text(x, y, _LABELS[what], 10, _MUTED),
            Rectangle(x + _LABEL, y - 8, _BAR, 8, _TRACK),
        ]
        if share > 0:
            shapes.append(Rectangle(x + _LABEL, y - 8, max(1.0, _BAR * share / full), 8, _COLOURS[what]))
        text = _percent(share) if known else f"≥ {_percent(share)}" if share > 0 else "?"
        shapes.append(Text(x + _LABEL + _BAR + _PERCENT, y, text, 10, _INK, anchor="end"))
        return shapes

    def _tell(self, box: Box) -> str:
        lines = []
        for row in (self._rows[index] for index in box.rows[:_SHOWN]):
            macs = "MACs unknown" if row.macs is None else f"{row.macs:,} MACs"
            time = "" if row.latency_ms is None else f", {row.latency_ms:.3g} ms"
            lines.append(f"{row.path} ({row.kind}): {_shape(row.output_shapes)}, {row.parameters:,} parameters, {macs}{time}")
        more = len(box.rows) - _SHOWN
        return "\n".join([*lines, f"and {more} more"] if more > 0 else lines)


def _shape(shapes: Sequence[Sequence[int | None]]) -> str:
    return "; ".join(f" {_TIMES} ".join("?" if n is None else str(n) for n in shape) or "scalar" for shape in shapes)


def _percent(share: float) -> str:
    return "0 %" if share == 0 else "< 0.1 %" if share < 0.0005 else f"{100 * share:.1f} %"


def _amount(count: int) -> str:
    for unit, name in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)
