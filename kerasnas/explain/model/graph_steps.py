"""The computation of a classifier as a list of steps, which can be taken up again at any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.explain.model.score_graph import nested_graph
from kerasnas.explain.model.score_view import ScoreView

__all__ = ["GraphSteps", "State"]

State = dict[int, Any]  # tensors by the number of the place that they have in the computation

# Steps that are compiled together. More of them share a compiled function, fewer make the one that leads up to it short.
_STRETCH = 8


@dataclass(frozen=True)
class _Place:
    number: int


@dataclass(frozen=True)
class _Step:
    compute: Callable[..., Any]
    arguments: Any  # the tree (args, kwargs), with a _Place for what another step computes
    values: Any  # the tree of the places of what it computes


class GraphSteps:
    """The calls of a `ScoreView` one after the other, each with what it takes from where.

    What is computed up to a step is a state: the tensors that later steps still need. Going on from a changed
    state gives the scores of a changed network. Compiling the rest of the network anew for each step would take minutes in a
    network of a hundred layers: here stretches of a few steps are compiled once, and serve all that go through them. A mask
    of Keras is a value like any other, for the graph holds the operations that compute it.

    Args:
        view: the classifier.

    Attributes:
        steps: for each call, by its index in `InnerNetwork`, the number of its step.
        places: for each call, the number of the place of its first value.
    """

    def __init__(self, view: ScoreView) -> None:
        self._view = view
        self.steps: list[int] = []
        self.places: list[int] = []
        self._steps: list[_Step] = []
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}
        tensors = [keras.ops.convert_to_tensor(view.pixels(0, 1))]

        def place(tensor: Any) -> _Place:
            tensors.append(tensor)
            return _Place(len(tensors) - 1)

        def record(_path: str, operation: Any, compute: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            if nested_graph(operation) is not None:
                return args[0]  # the value of its last inner call
            real = _filled((args, kwargs), tensors)
            values = keras.tree.map_structure(place, compute(*real[0], **real[1]))
            if operation is not None:
                self.steps.append(len(self._steps))
                self.places.append(keras.tree.flatten(values)[0].number)
            self._steps.append(_Step(compute, (args, kwargs), values))
            return values

        self._end = view.walk(_Place(0), record).number
        needed = frozenset({self._end})
        self._needed = [needed]
        for step in reversed(self._steps):
            needed = (needed - _numbers(step.values)) | _numbers(step.arguments)
            self._needed.append(needed)
        self._needed.reverse()

    def needed(self, step: int) -> frozenset[int]:
        """Return the numbers of the places from which the steps from `step` on, and the scores, take something."""
        return self._needed[step]

    def state(self, x: np.ndarray) -> State:
        """Return the state before step 0 for float32 images of shape (batch, height, width, channels)."""
        return {0: keras.ops.convert_to_tensor(x)}

    def advance(self, state: State, start: int, stop: int) -> State:
        """Return the state before step `stop`, given that before step `start`."""
        tensors = dict(state)
        for number, step in enumerate(self._steps[start:stop], start):
            args, kwargs = _filled(step.arguments, tensors)
            values = keras.tree.flatten(step.compute(*args, **kwargs))
            tensors.update(zip((each.number for each in keras.tree.flatten(step.values)), values, strict=True))
            tensors = {place: tensors[place] for place in self._needed[number + 1]}
        return tensors

    def outputs(self, state: State, start: int, count: int) -> np.ndarray:
        """Return the scores of the output units, given the state before step `start` for `count` images; shape (count, units).

        They are what `ScoreView.unit_scores` returns: one unit is not made two.
        """
        end = len(self._steps)
        while start < end:
            stop = min(end, (start // _STRETCH + 1) * _STRETCH)
            state = self.compute(state, start, stop, count)
            start = stop
        return np.asarray(self._view.unit_scores(state[self._end]))

    def compute(self, state: State, start: int, stop: int, count: int) -> State:
        """Do as `advance` does, by a compiled function."""
        import tensorflow as tf

        before, after = (sorted(self._needed[step]) for step in (start, stop))
        shapes = (tuple(state[place].shape) for place in before)
        free = [(None, *shape[1:]) if shape[:1] == (count,) else shape for shape in shapes]
        key = (start, stop, *free)
        if key not in self._compiled:

            def run(*tensors: Any) -> list[Any]:
                state = self.advance(dict(zip(before, tensors, strict=True)), start, stop)
                return [state[place] for place in after]

            specs = [tf.TensorSpec(shape, state[place].dtype) for shape, place in zip(free, before, strict=True)]
            # The concrete function, for TensorFlow warns when many functions of one source line are called.
            self._compiled[key] = tf.function(run).get_concrete_function(*specs)
        return dict(zip(after, self._compiled[key](*(state[place] for place in before)), strict=True))


def _filled(tree: Any, tensors: Any) -> Any:
    return keras.tree.map_structure(lambda leaf: tensors[leaf.number] if isinstance(leaf, _Place) else leaf, tree)


def _numbers(tree: Any) -> frozenset[int]:
    return frozenset(leaf.number for leaf in keras.tree.flatten(tree) if isinstance(leaf, _Place))
