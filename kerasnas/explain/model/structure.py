"""The structure of a model: its operations, what each costs, and how they are connected."""

import math
import numbers
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasnas.atomic import atomic_path, write_text
from kerasnas.cost.graph import Call, graph_of, inner_graph
from kerasnas.cost.macs import call_macs
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.drawing import Picture
from kerasnas.explain.whole_number import require_whole_number

__all__ = ["Operation", "Structure", "structure"]

_BOXES = 60


@dataclass(frozen=True)
class Operation:
    """One use of a layer, or of an operation of keras.ops.

    Attributes:
        path: its name, after those of the nested models that it lies in: "backbone/conv1". Of what is used again, the second
            use ends in "#2".
        kind: its class.
        output_shapes: one for each output, without the batch; None is a free dimension.
        parameters: numbers in its weights; a layer that is used again has them at its first use alone.
        macs: multiply-accumulates for one sample, as `kerasnas.cost.cost_of` counts them; None where a shape is free or there
            is no rule for the layer.
        parameter_share: of the parameters of all operations, from 0 to 1.
        mac_share: of the MACs that could be counted; None if `macs` is.
        latency_ms: as it was given, milliseconds, or None.
        latency_share: of the sum of what was given, or None.
    """

    path: str
    kind: str
    output_shapes: tuple[tuple[int | None, ...], ...]
    parameters: int
    macs: int | None
    parameter_share: float
    mac_share: float | None
    latency_ms: float | None = None
    latency_share: float | None = None


@dataclass(frozen=True)
class Structure:
    """The operations of a model and the edges between them.

    Attributes:
        name: that of the model.
        rows: in the order in which Keras runs them, inputs first, nested models opened.
        edges: pairs of paths (from, to), each once: every operation whose output another one reads.
    """

    name: str
    rows: tuple[Operation, ...]
    edges: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"Structure({self.name!r}, {len(self.rows)} operations, {len(self.edges)} edges)"

    def to_svg(self, *, boxes: int = _BOXES) -> str:
        """Return a drawing from top to bottom, with bars for the share that each box has of the whole.

        A graph with more than `boxes` operations is folded until it has at most so many boxes, as far as that goes: first
        what follows a convolution is drawn with it, then repeated blocks are drawn once, then whole blocks become boxes. Bars
        show the sum of all that a box stands for.

        Args:
            boxes: from which number of boxes on to fold, >= 1.

        Raises:
            InvalidArgument: if `boxes` is not a whole number of at least 1.
        """
        return self._picture(boxes).to_svg()

    def save(self, path: str | os.PathLike[str], *, boxes: int = _BOXES) -> Path:
        """Write the drawing; a file that is there is replaced as a whole.

        Args:
            path: where to, ending in .svg or .png.
            boxes: as for `to_svg`.

        Returns:
            The path.

        Raises:
            InvalidArgument: if `path` has another ending, or `boxes` is not a whole number of at least 1.
        """
        path = Path(path)
        if path.suffix.lower() not in (".svg", ".png"):
            raise InvalidArgument(f"Expected a path that ends in .svg or .png; came {str(path)!r}.")
        picture = self._picture(boxes)
        if path.suffix.lower() == ".svg":
            write_text(path, picture.to_svg())
        else:
            with atomic_path(path) as draft:
                picture.to_image().save(draft, format="PNG")
        return path

    def _picture(self, boxes: int) -> Picture:
        require_whole_number("boxes", boxes, 1)
        number = {row.path: index for index, row in enumerate(self.rows)}
        return Picture(self.name, self.rows, tuple((number[a], number[b]) for a, b in self.edges), boxes)


def structure(model: Any, *, latency: Mapping[str, float] | None = None) -> Structure:
    """Return what a model is made of and where its time and its parameters go.

    Nothing is run, and the weights need not be trained. Nested models are opened; a model that a layer holds, such as
    TimeDistributed, is one operation with it.

    Args:
        model: a built Keras 3 Functional or Sequential model.
        latency: milliseconds of operations by their path, measured elsewhere; operations may be missing.

    Raises:
        InvalidArgument: if the model is unbuilt or subclassed, or `latency` names what is not there or a number that is not
            finite and >= 0.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2, name="out")], name="small"
        ... )
        >>> found = structure(model)
        >>> found
        Structure('small', 3 operations, 2 edges)
        >>> [(row.path, row.parameters, row.macs) for row in found.rows[1:]]
        [('hidden', 15, 12), ('out', 8, 6)]
        >>> found.to_svg()[:4]
        '<svg'
    """
    graph = graph_of(model)
    functional = inner_graph(model)
    taken: set[str] = set()
    starts = [tensor._keras_history.operation for tensor in functional.inputs]
    facts: list[tuple[str, Any, tuple[Any, ...], int | None]] = [
        (_unique(start.name, taken), start, (tensor,), 0) for start, tensor in zip(starts, graph.inputs, strict=True)
    ]
    paths = _paths(functional, "", taken)
    facts += [(path, call.operation, call.outputs, _macs(call)) for call, path in zip(graph.calls, paths, strict=True)]
    milliseconds = _checked(latency or {}, [path for path, *_ in facts])

    seen: set[int] = set()
    parameters = []
    for _, operation, _, _ in facts:
        new = {id(weight): math.prod(weight.shape) for weight in getattr(operation, "weights", ()) if id(weight) not in seen}
        seen |= set(new)
        parameters.append(sum(new.values()))
    total, all_macs, all_ms = sum(parameters), sum(macs or 0 for *_, macs in facts), sum(milliseconds.values())
    rows = tuple(
        Operation(
            path=path,
            kind=type(operation).__name__,
            output_shapes=tuple(tuple(tensor.shape[1:]) for tensor in outputs),
            parameters=count,
            macs=macs,
            parameter_share=_share(count, total),
            mac_share=None if macs is None else _share(macs, all_macs),
            latency_ms=milliseconds.get(path),
            latency_share=_share(milliseconds[path], all_ms) if path in milliseconds else None,
        )
        for (path, operation, outputs, macs), count in zip(facts, parameters, strict=True)
    )

    maker = {tensor.number: path for path, _, outputs, _ in facts for tensor in outputs}
    calls = zip(graph.calls, rows[len(starts) :], strict=True)
    edges = dict.fromkeys((maker[tensor.number], row.path) for call, row in calls for tensor in call.inputs)
    return Structure(model.name, rows, tuple(edges))


def _paths(functional: Any, prefix: str, taken: set[str]) -> Iterator[str]:
    """Yield a path for each call, in the order of `graph_of`."""
    known = {id(tensor) for tensor in functional.inputs}
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.is_input or any(id(tensor) not in known for tensor in node.input_tensors):
                continue
            known.update(id(tensor) for tensor in node.outputs)
            path = _unique(prefix + node.operation.name, taken)
            inner = inner_graph(node.operation)
            if inner is None:
                yield path
            else:
                yield from _paths(inner, f"{path}/", taken)


def _unique(path: str, taken: set[str]) -> str:
    count, name = 1, path
    while name in taken:
        count += 1
        name = f"{path}#{count}"
    taken.add(name)
    return name


def _macs(call: Call) -> int | None:
    if any(None in tensor.shape[1:] for tensor in (*call.inputs, *call.outputs)):
        return None
    count, known = call_macs(call)
    return count if known else None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _checked(latency: Mapping[str, float], paths: list[str]) -> dict[str, float]:
    unknown = [name for name in latency if name not in set(paths)]
    if unknown:
        raise InvalidArgument(
            f"Expected latency by paths of operations, such as {paths[-1]!r}; came {unknown[0]!r}. "
            "The paths are those of structure(model).rows."
        )
    for name, value in latency.items():
        if not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
            raise InvalidArgument(f"Expected milliseconds that are finite and >= 0; came {value!r} for {name!r}.")
    return {name: float(value) for name, value in latency.items()}
