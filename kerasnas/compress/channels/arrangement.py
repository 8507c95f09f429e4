"""Channels through operations that add tensors, join them or lay them out in another way."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.tracer import Tracer

__all__ = ["combined", "joined", "rearranged", "reduced"]


def combined(tracer: Tracer, parts: Sequence[Layout], shape: Any, name: str) -> Layout | str:
    """Return the layout of an element-wise function of tensors, with broadcasting."""
    carrying = [part for part in parts if part.channels is not None]
    if not carrying:
        return Layout(shape, reason=parts[0].reason)
    if len({len(part.shape) for part in parts}) > 1:
        return "its inputs have different ranks"
    axis, length = carrying[0].axis, shape[carrying[0].axis]
    if len({part.axis for part in carrying}) > 1 or length is None:
        return "the channels of its inputs lie along different axes"
    wide = [part for part in parts if part.shape[axis] == length]
    for part in parts:
        if part.shape[axis] != length:
            tracer.ledger.freeze(part.channels, f"it is spread over all channels by '{name}'")
    fixed = next((part for part in wide if part.channels is None), None)
    if fixed is not None:
        for part in wide:
            tracer.ledger.freeze(part.channels, f"'{name}' combines it with what must stay: {fixed.reason}")
        return Layout(shape, axis, None, fixed.reason)
    for part in wide[1:]:
        tracer.ledger.tie(wide[0].channels, part.channels)  # type: ignore[arg-type]
    return Layout(shape, axis, wide[0].channels)


def joined(tracer: Tracer, parts: Sequence[Layout], shape: Any, axis: int, name: str) -> Layout | str:
    """Return the layout of a concatenation; `axis` is counted from the end."""
    carrying = [part for part in parts if part.channels is not None]
    if not carrying:
        return Layout(shape, reason=parts[0].reason)
    if len({part.axis for part in carrying}) > 1:
        return "the channels of its inputs lie along different axes"
    if carrying[0].axis != axis:
        return combined(tracer, parts, shape, name)  # laid one behind the other, their channels are the same
    if shape[axis] is None:
        return "its length is not known"
    pieces = []
    for part in parts:
        channels = part.channels
        if channels is None:
            channels = tracer.ledger.create(int(part.shape[axis] or 0), "")
            tracer.ledger.freeze(channels, part.reason)
        pieces.append(channels)
    return Layout(shape, axis, np.concatenate(pieces))


def rearranged(tracer: Tracer, part: Layout, shape: Any, move: Callable[[np.ndarray], np.ndarray]) -> Layout | str:
    """Return the layout behind a reshape or a transposition of everything but the batch.

    If no axis of the output holds the channels alone, the last one does, and those that meet on it are tied.

    Args:
        tracer: ties are noted there.
        part: what comes in.
        shape: of the output, with the batch.
        move: does to an array of shape `part.shape[1:]` what the layer does to each sample.
    """
    if part.channels is None:
        return Layout(shape, reason=part.reason)
    sizes = [length for length in part.shape[1:] if length is not None]
    if len(sizes) < len(part.shape) - 1 or None in shape[1:]:
        return "its shape is not fixed"
    along = [1] * (len(part.shape) - 1)
    along[part.axis] = -1
    moved = move(np.broadcast_to(part.channels.reshape(along), sizes))
    for axis in range(-1, -len(shape), -1):
        rows = np.moveaxis(moved, axis, 0).reshape(moved.shape[axis], -1)
        if (rows == rows[:, :1]).all():
            return Layout(shape, axis, rows[:, 0].copy())
    rows = moved.reshape(-1, moved.shape[-1])
    tracer.ledger.tie(np.tile(rows[0], len(rows) - 1), rows[1:].ravel())
    return Layout(shape, -1, rows[0].copy())


def reduced(part: Layout, shape: Any, axes: Sequence[int], *, keepdims: bool) -> Layout | str:
    """Return the layout behind a mean, a maximum or the like over `axes`, counted from the end."""
    if part.channels is None:
        return Layout(shape, reason=part.reason)
    if part.axis in axes or -len(part.shape) in axes:
        return "it computes over all channels"
    behind = 0 if keepdims else sum(axis > part.axis for axis in axes)
    return Layout(shape, part.axis + behind, part.channels)
