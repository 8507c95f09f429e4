"""Where boxes, frames and lines go: layers by longest path, columns by chain, and lanes between the columns."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kerasnas.explain.model.drawing.tree import Box, Edges, Frame, local_edges

__all__ = ["Layout", "Line", "Placed", "arrange"]

Point = tuple[float, float]
_LANE = 14.0  # pixels between parallel lines
_COLUMN_GAP = 28.0
_LAYER_GAP, _BUSY_GAP = 24.0, 34.0  # the second where lines change their column
_PADDING, _HEADER = 14.0, 24.0  # of frames
_TAIL = 9.0  # the end of a line that runs straight into its arrow
_PORT = 26.0  # pixels between the arrows that end at one box


@dataclass(frozen=True)
class Placed:
    """A box or frame and its rectangle, pixels."""

    node: Box | Frame
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A line that starts at `points[0]`; further points come one by one (straight) or by threes (a cubic curve).

    Attributes:
        steps: each a tuple of one point or of three.
        arrow: whether it ends at a box, not at the border of a frame.
    """

    start: Point
    steps: tuple[tuple[Point, ...], ...]
    arrow: bool

    def points(self, parts: int = 16) -> list[Point]:
        """Return the line as straight pieces, a curve as `parts` of them."""
        found = [self.start]
        for step in self.steps:
            if len(step) == 1:
                found.append(step[0])
                continue
            (ax, ay), (bx, by), (cx, cy), (dx, dy) = found[-1], *step
            for part in range(1, parts + 1):
                t = part / parts
                w = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
                found.append((w[0] * ax + w[1] * bx + w[2] * cx + w[3] * dx, w[0] * ay + w[1] * by + w[2] * cy + w[3] * dy))
        return found


@dataclass
class Layout:
    """A frame laid out: its size, what lies in it, and where lines enter and leave it; pixels from its upper left corner."""

    width: float = 0.0
    height: float = 0.0
    axis: float = 0.0  # x of its longest chain
    boxes: list[Placed] = field(default_factory=list)
    frames: list[Placed] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    entries: dict[int, float] = field(default_factory=dict)  # key of the source -> x at the upper border
    exits: dict[int, float] = field(default_factory=dict)  # likewise, at the lower border

    def add(self, inner: "Layout", x: float, y: float) -> None:
        """Take over what lies in another layout, moved."""
        self.boxes += [replace(item, x=item.x + x, y=item.y + y) for item in inner.boxes]
        self.frames += [replace(item, x=item.x + x, y=item.y + y) for item in inner.frames]
        for line in inner.lines:
            steps = tuple(tuple((px + x, py + y) for px, py in step) for step in line.steps)
            self.lines.append(Line((line.start[0] + x, line.start[1] + y), steps, line.arrow))


def arrange(frame: Frame, edges: Edges, size: Callable[[Box], tuple[float, float]]) -> Layout:
    """Lay out a frame and all that lies in it.

    Every child gets a layer, one below the last of those that it reads, and a column of its own for its whole chain; boxes and
    frames therefore cannot overlap. A line runs down in a column where nothing is in its way, else in a lane between two
    columns, and changes from one to the other in the free space between two layers: it cannot run through a box.

    Args:
        frame: what to lay out.
        edges: between the keys of its boxes; those that cross its border end there.
        size: width and height of a box, pixels.
    """
    return _Grid(frame, edges, size).place()


class _Grid:
    """The children of one frame in layers and columns; after them come the ports at its upper and its lower border."""

    def __init__(self, frame: Frame, edges: Edges, size: Callable[[Box], tuple[float, float]]) -> None:
        self._frame = frame
        self._inner = [arrange(child, edges, size) if isinstance(child, Frame) else None for child in frame.children]
        local = local_edges(frame, edges)
        count = len(frame.children)
        entries = list(dict.fromkeys(source for start, _, source in local if start is None))
        exits = list(dict.fromkeys(source for _, end, source in local if end is None))
        self._entries = {source: count + index for index, source in enumerate(entries)}
        self._exits = {source: count + len(entries) + index for index, source in enumerate(exits)}
        self._edges = [
            (self._entries[source] if start is None else start, self._exits[source] if end is None else end, source)
            for start, end, source in local
        ]
        sizes = [
            (inner.width, inner.height) if inner else size(child)  # type: ignore[arg-type]
            for child, inner in zip(frame.children, self._inner, strict=True)
        ]
        ports = len(entries) + len(exits)
        self._axes = [inner.axis if inner else width / 2 for inner, (width, _) in zip(self._inner, sizes, strict=True)]
        self._axes += [0.0] * ports
        self._sizes = sizes + [(0.0, 0.0)] * ports
        self._order = [*self._entries.values(), *range(count), *self._exits.values()]
        self._targets: dict[int, list[int]] = {node: [] for node in self._order}
        for start, end, _ in self._edges:
            self._targets[start].append(end)
        self._layers = self._find_layers()
        self._columns = self._find_columns()

    def _find_layers(self) -> dict[int, int]:
        layers = dict.fromkeys(self._order, 1 if self._entries else 0)
        layers.update(dict.fromkeys(self._entries.values(), 0))
        for node in self._order:
            for target in self._targets[node]:
                layers[target] = max(layers[target], layers[node] + 1)
        lowest = max((layers[node] for node in range(len(self._frame.children))), default=0)
        layers.update(dict.fromkeys(self._exits.values(), lowest + 1))
        return layers

    def _find_columns(self) -> dict[int, int]:
        """Cut the graph into chains, the longest first, and give each the first column that is free all along it."""
        below = dict.fromkeys(self._order, 0)
        for node in reversed(self._order):
            below[node] = max((below[target] + 1 for target in self._targets[node]), default=0)
        columns: dict[int, int] = {}
        taken: list[list[tuple[int, int]]] = []  # first and last layer of the chains in each column
        for head in sorted(self._order, key=lambda node: (self._layers[node], -below[node])):
            if head in columns:
                continue
            chain = [head]
            while free := [target for target in self._targets[chain[-1]] if target not in columns and target not in chain]:
                chain.append(max(free, key=lambda node: below[node]))
            first, last = self._layers[head], self._layers[chain[-1]]
            # Its last line runs down in the same column.
            last = max([last, *(self._layers[target] - 1 for target in self._targets[chain[-1]])])
            column = 0
            while column < len(taken) and any(first <= b and a <= last for a, b in taken[column]):
                column += 1
            taken += [[]] if column == len(taken) else []
            taken[column].append((first, last))
            columns.update(dict.fromkeys(chain, column))
        return columns

    def _find_lanes(self) -> tuple[dict[tuple[int, int, int], tuple[int, int]], list[int]]:
        """Return the lane (gap, track) of each line that needs one, and the number of tracks in each gap.

        Gap g lies to the right of column g. Lines from one source share a track; short lines are nearest to the boxes.
        """
        cells = {(self._columns[node], self._layers[node]) for node in self._order}
        lanes: dict[tuple[int, int, int], tuple[int, int]] = {}
        tracks: list[list[list[tuple[int, int, int]]]] = [[] for _ in range(max(self._columns.values(), default=0) + 1)]
        for edge in sorted(self._edges, key=lambda edge: self._layers[edge[1]] - self._layers[edge[0]]):
            start, end, source = edge
            first, last = self._layers[start] + 1, self._layers[end] - 1
            column, aim = self._columns[start], self._columns[end]
            if all((column, layer) not in cells for layer in range(first, last + 1)):
                continue
            gap = column if aim >= column else column - 1
            track = 0
            while track < len(tracks[gap]) and any(
                first <= b and a <= last and other != source for a, b, other in tracks[gap][track]
            ):
                track += 1
            tracks[gap] += [[]] if track == len(tracks[gap]) else []
            tracks[gap][track].append((first, last, source))
            lanes[edge] = (gap, track)
        return lanes, [len(gap) for gap in tracks]

    def place(self) -> Layout:
        lanes, tracks = self._find_lanes()
        framed = bool(self._entries or self._exits)
        # What stands in a column is aligned by its longest chain, so that the line through it is straight.
        before, after = [0.0] * len(tracks), [0.0] * len(tracks)
        for node, column in self._columns.items():
            before[column] = max(before[column], self._axes[node])
            after[column] = max(after[column], self._sizes[node][0] - self._axes[node])
        left = _PADDING if framed else 0.0
        axes: list[float] = []
        for column, lines in enumerate(tracks):
            axes.append(left + before[column])
            left = axes[-1] + after[column] + (_LANE * (lines + 1) if lines else 0.0)
            if column + 1 < len(tracks) and not lines:
                left += _COLUMN_GAP
        layout = Layout(width=left + (_PADDING if framed else 0.0), axis=axes[0] if axes else 0.0)
        centre = {node: axes[column] for node, column in self._columns.items()}
        lane = {edge: axes[gap] + after[gap] + _LANE * (track + 1) for edge, (gap, track) in lanes.items()}
        tops, bottoms = self._find_rows(lane)
        layout.height = bottoms[-1] if bottoms else 0.0
        for node, child in enumerate(self._frame.children):
            (width, height), inner = self._sizes[node], self._inner[node]
            placed = Placed(child, centre[node] - self._axes[node], tops[self._layers[node]], width, height)
            if inner is None:
                layout.boxes.append(placed)
            else:
                layout.frames.append(placed)
                layout.add(inner, placed.x, placed.y)
        layout.entries = {source: centre[node] for source, node in self._entries.items()}
        layout.exits = {source: centre[node] for source, node in self._exits.items()}
        self._draw_lines(layout, centre, lane, tops, bottoms)
        return layout

    def _find_rows(self, lane: dict[tuple[int, int, int], float]) -> tuple[list[float], list[float]]:
        heights = [0.0] * (max(self._layers.values(), default=-1) + 1)
        for node, layer in self._layers.items():
            heights[layer] = max(heights[layer], self._sizes[node][1])
        busy = set()
        for edge in self._edges:
            start, end, _ = edge
            if edge in lane or self._columns[start] != self._columns[end]:
                busy |= {self._layers[start], self._layers[end] - 1}
        tops, bottoms, top = [], [], 0.0
        for layer, height in enumerate(heights):
            tops.append(top)
            bottoms.append(top + height)
            top += height + (_BUSY_GAP if layer in busy else _LAYER_GAP)
            if layer == 0 and self._entries:
                top += _HEADER
        return tops, bottoms

    def _draw_lines(
        self,
        layout: Layout,
        centre: dict[int, float],
        lane: dict[tuple[int, int, int], float],
        tops: list[float],
        bottoms: list[float],
    ) -> None:
        def left_of(node: int) -> float:
            return centre[node] - self._axes[node]

        begin: dict[tuple[int, int, int], float] = {}
        for edge in self._edges:
            inner = self._inner[edge[0]] if edge[0] < len(self._inner) else None
            begin[edge] = left_of(edge[0]) + inner.exits[edge[2]] if inner else centre[edge[0]]
        arriving: dict[int, list[tuple[float, tuple[int, int, int]]]] = {}
        for edge in self._edges:
            arriving.setdefault(edge[1], []).append((lane.get(edge, begin[edge]), edge))
        for end, incoming in arriving.items():
            inner = self._inner[end] if end < len(self._inner) else None
            incoming.sort()
            # The line from straight above keeps straight, the others arrive on its two sides.
            straight = [place for place, (x, _) in enumerate(incoming) if abs(x - centre[end]) < 1]
            middle = straight[0] if straight else (len(incoming) - 1) / 2
            reach = max(middle, len(incoming) - 1 - middle)
            apart = min(_PORT, 0.4 * self._sizes[end][0] / reach) if reach else 0.0
            for place, (x, edge) in enumerate(incoming):
                start = edge[0]
                if inner is not None:
                    goal = left_of(end) + inner.entries[edge[2]]
                else:
                    goal = centre[end] + (apart * (place - middle) if end < len(self._inner) else 0.0)
                upper, lower = self._layers[start], self._layers[end]
                steps: list[tuple[Point, ...]] = []
                bottom = tops[upper] + self._sizes[start][1]
                if bottom < bottoms[upper]:
                    steps.append(((begin[edge], bottoms[upper]),))
                if lower > upper + 1:
                    steps += _bend((begin[edge], bottoms[upper]), (x, tops[upper + 1]))
                    steps.append(((x, bottoms[lower - 1]),))
                box = end < len(self._inner) and inner is None
                steps += _bend((x, bottoms[lower - 1]), (goal, tops[lower] - (_TAIL if box else 0.0)))
                steps += [((goal, tops[lower]),)] if box else []
                layout.lines.append(Line((begin[edge], bottom), tuple(steps), arrow=box))


def _bend(start: Point, end: Point) -> list[tuple[Point, ...]]:
    """Return a curve that leaves and arrives upright; it stays between the two heights."""
    if start[0] == end[0]:
        return [(end,)]
    middle = (start[1] + end[1]) / 2
    return [((start[0], middle), (end[0], middle), end)]
