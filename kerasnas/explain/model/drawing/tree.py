"""What is to be drawn: boxes in frames, and edges between the boxes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

__all__ = ["Box", "Edges", "Frame", "common_name", "leaves", "local_edges", "tree_of"]

Edges = tuple[tuple[int, int], ...]  # between keys of boxes, each pair once


@dataclass(frozen=True)
class Box:
    """One box: an operation, or several that are drawn as one.

    Attributes:
        key: the first row that it stands for, unique in a drawing.
        shown: the rows whose kinds and names are written in it.
        rows: all rows that it stands for, those of every repetition among them.
        times: how often it is repeated one after the other, where the box itself says so.
        block: whether it is a whole part of the graph, not a chain.
    """

    key: int
    shown: tuple[int, ...]
    rows: tuple[int, ...]
    times: int = 1
    block: bool = False


@dataclass(frozen=True)
class Frame:
    """A group of boxes and frames, in the order in which they are computed; `times` > 1 for a block that is repeated."""

    title: str
    children: tuple["Box | Frame", ...]
    times: int = 1


def leaves(node: Box | Frame) -> Iterator[Box]:
    """Yield the boxes of a node in order."""
    if isinstance(node, Box):
        yield node
    else:
        for child in node.children:
            yield from leaves(child)


def tree_of(paths: Iterable[str]) -> Frame:
    """Return a box for each path, in a frame for each nested model that the slashes in the paths tell of."""
    return _frame("", [(row, path.split("/")) for row, path in enumerate(paths)])


def _frame(title: str, members: list[tuple[int, list[str]]]) -> Frame:
    inner: dict[str, list[tuple[int, list[str]]]] = {}  # of the nested models, in the order in which they come
    children: list[Box | str] = []
    for row, names in members:
        if len(names) == 1:
            children.append(Box(row, (row,), (row,)))
        else:
            if names[0] not in inner:
                children.append(names[0])
            inner.setdefault(names[0], []).append((row, names[1:]))
    return Frame(title, tuple(_frame(x, inner[x]) if isinstance(x, str) else x for x in children))


def local_edges(frame: Frame, edges: Edges) -> list[tuple[int | None, int | None, int]]:
    """Return the edges between the children of a frame, and over its border.

    Returns:
        Triples (from, to, source) in which from and to are places in `frame.children`, or None for what is outside, and source
        is the key of the box that the edge leaves; each triple once.
    """
    place = {box.key: index for index, child in enumerate(frame.children) for box in leaves(child)}
    found: dict[tuple[int | None, int | None, int], None] = {}
    for source, target in edges:
        ends = place.get(source), place.get(target)
        if ends[0] != ends[1]:
            found[(*ends, source)] = None
    return list(found)


def common_name(paths: Sequence[str]) -> str:
    """Return what the last names of all paths begin with, without underscores at its end; it may be empty."""
    names = [path.rpartition("/")[2] for path in paths]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("_")
