"""The calls inside a classifier, and what each one computes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.explain.model.score_graph import nested_graph
from kerasnas.explain.model.score_view import ScoreView

__all__ = ["InnerCall", "InnerNetwork"]


@dataclass(frozen=True)
class InnerCall:
    """One use of a layer, or of an operation of keras.ops, in the order in which Keras runs them.

    Attributes:
        index: its place in that order, nested models opened.
        path: name of the layer, "backbone/name" inside a nested model; the second use ends in " (call 2)".
        operation: the layer or operation.
        source: index of the call whose value it takes first; None if that is the input of the model.
        shape: shape of its value without the batch.
        end: "input" or "scores" if it only hands on the input or the scores of the model, else "".
    """

    index: int
    path: str
    operation: Any
    source: int | None
    shape: tuple[int, ...]
    end: str


class InnerNetwork:
    """The inner values of a `ScoreView`; the model is not changed. What the scores would be with others: `GraphSteps`.

    Calls with several values, with a value that is not a float, or with one that has no batch axis are left out.
    Nested models of one input and one output are opened: their inner calls stand for them.

    Attributes:
        calls: the calls, in the order in which they are computed.
    """

    def __init__(self, view: ScoreView) -> None:
        self._view = view
        rng, shape = np.random.default_rng(0), (3, *view.images.shape[1:])
        images = view.images.astype(float)
        if images.ndim < 4 and not np.any(images % 1):  # they may be numbers of words, beyond which there are none
            noise = rng.integers(int(images.min()), int(images.max()) + 1, shape).astype(np.float32)
        else:
            noise = rng.normal(size=shape).astype(np.float32)
        seen: list[tuple[str, Any, Any, Any]] = []

        def note(path: str, operation: Any, taken: Any, value: Any) -> Any:
            seen.append((path, operation, taken, value))
            return value

        x = keras.ops.convert_to_tensor(noise)
        scores = self._run(x, note)
        usable = {index: seen[index][-1] for index in range(len(seen)) if _is_batch_of_floats(seen[index][-1], len(noise))}
        sources = {index: _source(seen, index) for index in usable}
        ends: dict[int, str] = {}
        for index in usable:
            source = sources[index]
            if (source is None or ends.get(source) == "input") and _same(usable[index], x):
                ends[index] = "input"
        for index in reversed(usable):  # from the scores back through what only hands them on
            handed_on = usable[index] is scores or any(sources[later] == index for later in ends if ends[later] == "scores")
            if handed_on and _same(usable[index], scores):
                ends[index] = "scores"
        uses: Counter[str] = Counter()
        calls = []
        for index, value in usable.items():
            path, operation = seen[index][:2]
            uses[path] += 1
            name = path if uses[path] == 1 else f"{path} (call {uses[path]})"
            calls.append(InnerCall(index, name, operation, sources[index], tuple(value.shape[1:]), ends.get(index, "")))
        self.calls = tuple(calls)

    def value(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return what a call computes on the images from `start` to `stop`; shape (batch, *shape)."""
        stop = len(self._view.images) if stop is None else min(stop, len(self._view.images))
        parts = [self.values(at, min(at + self._view.chunk, stop))[index] for at in range(start, stop, self._view.chunk)]
        return np.concatenate(parts)

    def values(self, start: int, stop: int) -> dict[int, np.ndarray]:
        """Return what each call computes on the images from `start` to `stop`, by index; they are computed at once."""
        values: dict[int, np.ndarray] = {}
        wanted = {call.index for call in self.calls}
        place = -1

        def note(_path: str, _operation: Any, _taken: Any, value: Any) -> Any:
            nonlocal place
            place += 1
            if place in wanted:
                values[place] = keras.ops.convert_to_numpy(value)
            return value

        self._run(keras.ops.convert_to_tensor(self._view.pixels(start, stop)), note)
        return values

    def _run(self, x: Any, edit: Callable[[str, Any, Any, Any], Any]) -> Any:
        """Replay the graph; what a nested model computes is that of its inner calls."""

        def inner(path: str, operation: Any, taken: Any, value: Any) -> Any:
            return value if nested_graph(operation) is not None else edit(path, operation, taken, value)

        return self._view.replay(x, inner)


def _is_batch_of_floats(value: Any, count: int) -> bool:
    shape: Any = getattr(value, "shape", ())
    return len(shape) > 1 and shape[0] == count and keras.backend.standardize_dtype(value.dtype).startswith("float")


def _source(seen: list[tuple[str, Any, Any, Any]], index: int) -> int | None:
    taken = seen[index][2]
    # The last one, for a layer that does nothing at inference returns the very tensor that it got.
    return next((before for before in range(index - 1, -1, -1) if seen[before][3] is taken), None)


def _same(a: Any, b: Any) -> bool:
    return tuple(a.shape) == tuple(b.shape) and bool(keras.ops.all(keras.ops.equal(a, keras.ops.cast(b, a.dtype))))
