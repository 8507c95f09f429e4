"""A large graph in fewer boxes: what belongs together is one box, what is repeated is drawn once."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from kerasnas.explain.model.drawing.tree import Box, Edges, Frame, common_name, leaves, local_edges

__all__ = ["Foldable", "fold"]

_BLOCK_NAME = re.compile(r"(.*\d[a-z]?)_[A-Za-z]")
_LONGEST = 64  # children of a block that is looked for


class Foldable(Protocol):
    """What folding reads of an operation."""

    @property
    def path(self) -> str:
        """Its name, after those of the models that it lies in."""

    @property
    def kind(self) -> str:
        """Its class."""

    @property
    def output_shapes(self) -> tuple[tuple[int | None, ...], ...]:
        """The shapes of its outputs."""

    @property
    def macs(self) -> int | None:
        """Its multiply-accumulates."""


def fold(root: Frame, edges: Edges, rows: Sequence[Foldable], boxes: int) -> tuple[Frame, Edges]:
    """Fold a tree step by step until it has at most so many boxes, or no step is left.

    1. An operation without MACs that keeps the shape is drawn in one box with the only one that it reads, if nobody else reads
       it: a convolution with its normalisation and activation.
    2. Of equal blocks one after the other the first is drawn, and how often it comes; blocks are equal if their
       operations, their shapes and their edges are.
    3. A block between two places that everything passes through becomes one box, and so do operations one after the other whose
       names begin alike up to a number: "block2a_expand", "block2a_project".
    4. As 2, whatever the shapes.

    Args:
        root: the whole drawing; the key of a box is a place in `rows`.
        edges: between boxes.
        rows: the operations.
        boxes: the number of boxes up to which nothing more is folded, >= 1.
    """
    for step in (_fuse, _repeat_equal, _join_blocks, _repeat_alike):
        if sum(1 for _ in leaves(root)) <= boxes:
            break
        root, edges = step(root, edges, rows)
    return root, edges


def _fuse(root: Frame, edges: Edges, rows: Sequence[Foldable]) -> tuple[Frame, Edges]:
    readers: dict[int, list[int]] = {}
    read: dict[int, list[int]] = {}
    for source, target in edges:
        readers.setdefault(source, []).append(target)
        read.setdefault(target, []).append(source)
    frame_of = {box.key: frame for frame in _frames(root) for box in frame.children if isinstance(box, Box)}
    head: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for box in leaves(root):
        key, sources = box.key, read.get(box.key, [])
        head[key] = key
        if len(sources) == 1 and readers[sources[0]] == [key] and frame_of[sources[0]] is frame_of[key]:
            one, before = rows[key], rows[sources[0]]
            if one.macs == 0 and before.kind != "InputLayer" and one.output_shapes == before.output_shapes:
                head[key] = head[sources[0]]
        members.setdefault(head[key], []).append(key)

    def change(frame: Frame) -> Frame:
        children: list[Box | Frame] = []
        for child in frame.children:
            if isinstance(child, Frame):
                children.append(change(child))
            elif child.key in members:
                together = tuple(members[child.key])
                children.append(Box(child.key, together, together))
        return replace(frame, children=tuple(children))

    return change(root), _rename(edges, head)


def _repeat_equal(root: Frame, edges: Edges, rows: Sequence[Foldable]) -> tuple[Frame, Edges]:
    def sign(box: Box) -> Hashable:
        return tuple((rows[row].kind, rows[row].output_shapes) for row in box.shown)

    return _repeat(root, edges, rows, sign)


def _repeat_alike(root: Frame, edges: Edges, rows: Sequence[Foldable]) -> tuple[Frame, Edges]:
    return _repeat(root, edges, rows, lambda box: tuple(rows[row].kind for row in box.shown))


def _repeat(frame: Frame, edges: Edges, rows: Sequence[Foldable], sign: Callable[[Box], Hashable]) -> tuple[Frame, Edges]:
    children = []
    for child in frame.children:
        if isinstance(child, Frame) and child.times == 1:
            child, edges = _repeat(child, edges, rows, sign)
        children.append(child)
    frame = replace(frame, children=tuple(children))
    segments = _segments(frame, edges)
    signs = [_signature(segment, edges, rows, sign) for segment in segments]
    new: list[Box | Frame] = []
    first_of: dict[int, int] = {}  # the box of the first repetition that stands for a box
    turn_of: dict[int, tuple[int, int]] = {}  # the run that a box is in, and its repetition
    for run in _runs(signs, [sum(1 for child in segment for _ in leaves(child)) for segment in segments]):
        turns = [
            [child for segment in segments[start : start + run.period] for child in segment]
            for start in range(run.start, run.start + run.period * run.times, run.period)
        ]
        if run.times == 1:
            new += turns[0]
            continue
        for turn, nodes in enumerate(turns):
            for box, kept in zip(_all(nodes), _all(turns[0]), strict=True):
                first_of[box.key], turn_of[box.key] = kept.key, (run.start, turn)
        once = tuple(_merge(group) for group in zip(*turns, strict=True))
        if isinstance(once[0], Box) and len(once) == 1:
            new.append(replace(once[0], times=run.times * once[0].times))
        else:
            new.append(Frame(_span(turns, rows), once, run.times))
    between = []
    for source, target in edges:
        a, b = turn_of.get(source), turn_of.get(target)
        if a is None or b is None or a == b or a[0] != b[0]:
            between.append((source, target))
    return replace(frame, children=tuple(new)), _rename(tuple(between), first_of)


def _join_blocks(root: Frame, edges: Edges, rows: Sequence[Foldable]) -> tuple[Frame, Edges]:
    head: dict[int, int] = {}

    def join(nodes: Sequence[Box | Frame], times: int) -> Box:
        boxes = _all(nodes)
        head.update((box.key, boxes[0].key) for box in boxes)
        return Box(
            boxes[0].key,
            tuple(row for box in boxes for row in box.shown),
            tuple(sorted(row for box in boxes for row in box.rows)),
            times,
            block=True,
        )

    def change(frame: Frame) -> Frame:
        children: list[Box | Frame] = []
        for name, group in groupby(_segments(frame, edges), lambda segment: _block_name(segment, rows) or segment[0]):
            nodes = [child for segment in group for child in segment]
            if len(nodes) > 1 and (isinstance(name, str) or not any(isinstance(child, Frame) for child in nodes)):
                children.append(join(nodes, 1))
                continue
            for child in nodes:
                if isinstance(child, Frame):
                    children.append(join([child], child.times) if child.times > 1 else change(child))
                else:
                    children.append(child)
        return replace(frame, children=tuple(children))

    return change(root), _rename(edges, head)


def _block_name(segment: Sequence[Box | Frame], rows: Sequence[Foldable]) -> str | None:
    """Return what all names in a segment begin with, up to a number; None if there is no such name or a frame is in it."""
    if any(isinstance(child, Frame) for child in segment):
        return None
    found = {_BLOCK_NAME.match(rows[row].path.rpartition("/")[2]) for box in _all(segment) for row in box.shown}
    names = {match.group(1) if match else None for match in found}
    return names.pop() if len(names) == 1 else None


def _segments(frame: Frame, edges: Edges) -> list[list[Box | Frame]]:
    """Cut the children of a frame after each one that all lines pass through."""
    count = len(frame.children)
    bypassed = [0] * (count + 1)
    for start, end, _ in local_edges(frame, edges):
        first, last = -1 if start is None else start, count if end is None else end
        bypassed[first + 1] += 1
        bypassed[max(last, first + 1)] -= 1
    segments: list[list[Box | Frame]] = [[]]
    around = 0
    for place, child in enumerate(frame.children):
        around += bypassed[place]
        segments[-1].append(child)
        if around == 0:
            segments.append([])
    return [segment for segment in segments if segment]


def _signature(
    segment: Sequence[Box | Frame], edges: Edges, rows: Sequence[Foldable], sign: Callable[[Box], Hashable]
) -> Hashable:
    """Return what two segments have in common if they are equal: their boxes, and what each box reads."""
    places: dict[int, int] = {box.key: index for index, box in enumerate(_all(segment))}
    reads: dict[int, set[int]] = {key: set() for key in places}
    for source, target in edges:
        if target in reads:
            reads[target].add(places.get(source, -1))

    def describe(node: Box | Frame) -> Hashable:
        if isinstance(node, Frame):
            return node.times, tuple(describe(child) for child in node.children)
        if rows[node.shown[0]].kind == "InputLayer":
            return node.key  # equal to no other
        return sign(node), node.times, tuple(sorted(reads[node.key]))

    return tuple(describe(node) for node in segment)


@dataclass(frozen=True)
class _Run:
    """Segments from `start` on: `period` of them, `times` times."""

    start: int
    period: int
    times: int


def _runs(signs: Sequence[Hashable], boxes: Sequence[int]) -> list[_Run]:
    """Divide the segments into runs so that the fewest boxes are drawn; a single box is worth a frame from three times on."""
    count = len(signs)
    numbers = {sign: number for number, sign in reversed(list(enumerate(signs)))}
    ids = [numbers[sign] for sign in signs]
    best: list[tuple[int, _Run]] = [(0, _Run(count, 1, 1))] * (count + 1)
    for start in range(count - 1, -1, -1):
        best[start] = boxes[start] + best[start + 1][0], _Run(start, 1, 1)
        for period in range(1, min(_LONGEST, (count - start) // 2) + 1):
            drawn, times = sum(boxes[start : start + period]), 1
            while ids[start + times * period : start + (times + 1) * period] == ids[start : start + period]:
                times += 1
                if drawn == 1 and times < 3:
                    continue
                total = drawn + best[start + times * period][0]
                if total < best[start][0]:
                    best[start] = total, _Run(start, period, times)
    runs, start = [], 0
    while start < count:
        runs.append(best[start][1])
        start += runs[-1].period * runs[-1].times
    return runs


def _merge(nodes: Sequence[Box | Frame]) -> Box | Frame:
    """Return the first of equal nodes, which stands for all of them."""
    first = nodes[0]
    if isinstance(first, Frame):
        inner = zip(*(node.children for node in nodes if isinstance(node, Frame)), strict=True)
        return replace(first, children=tuple(_merge(group) for group in inner))
    return replace(first, rows=tuple(sorted(row for node in nodes for box in leaves(node) for row in box.rows)))


def _span(turns: Sequence[Sequence[Box | Frame]], rows: Sequence[Foldable]) -> str:
    """Name a repeated block by what its names begin with in the first and in the last repetition."""
    names = [common_name([rows[row].path for box in _all(turn) for row in box.shown]) for turn in (turns[0], turns[-1])]
    return " … ".join(dict.fromkeys(names)) if all(names) else "repeated"


def _all(nodes: Sequence[Box | Frame]) -> list[Box]:
    return [box for node in nodes for box in leaves(node)]


def _frames(frame: Frame) -> list[Frame]:
    return [frame, *(inner for child in frame.children if isinstance(child, Frame) for inner in _frames(child))]


def _rename(edges: Edges, name: Mapping[int, int]) -> Edges:
    renamed = ((name.get(source, source), name.get(target, target)) for source, target in edges)
    return tuple(dict.fromkeys((source, target) for source, target in renamed if source != target))
