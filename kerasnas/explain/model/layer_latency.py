"""How long each layer of a model takes."""

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.graph_steps import GraphSteps, State
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.model.structure import structure

__all__ = ["LayerLatency", "layer_latency"]

_PICTURES = 32  # at once, so that what it costs to call TensorFlow does not hide the work
_ROUNDS, _SECONDS = 7, 0.03  # of each layer: so often, or until so long is gone


class LayerLatency(dict[str, float]):
    """Milliseconds for one sample by the path of the operation; printed as a table, the slowest first."""

    def __str__(self) -> str:
        total, width = sum(self.values()), max(map(len, self), default=0)
        slowest = sorted(self.items(), key=lambda pair: -pair[1])
        lines = [f"{path:<{width}}  {ms:.4f} ms  {ms / total if total else 0:4.0%}" for path, ms in slowest]
        return "\n".join([*lines, f"{'together':<{width}}  {total:.4f} ms for one sample"])


def layer_latency(model: Any, images: ArrayLike) -> LayerLatency:
    """Measure each layer by itself, with what it gets when the model sees the images.

    Every layer is compiled as a TensorFlow function and run on up to 32 images at once. What it takes to hand the same tensors
    through an empty function is subtracted, and the least of several rounds counts. The runtime of an exported file joins
    layers, and its times are others: `kerasnas.export.benchmark` tells how long a file takes.

    Args:
        model: built Keras 3 Functional or Sequential classifier.
        images: shape (batch, height, width, channels) or (batch, ...), as the model takes them; the first ones are used.

    Returns:
        Milliseconds for one sample by the path of the operation, as `structure(model, latency=...)` takes them.

    Raises:
        InvalidArgument: if the model or the images are not as above.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(name="flat"), keras.layers.Dense(2, name="scores")]
        ... )
        >>> sorted(layer_latency(model, np.ones((4, 8, 8, 1))))
        ['flat', 'scores']
    """
    view = ScoreView(model, images, images_only=False)
    steps = GraphSteps(view)
    paths = [row.path for row in structure(model).rows if row.kind != "InputLayer"]
    if len(paths) != len(steps.steps):
        raise InvalidArgument("Expected a model whose layers are run one after the other as its graph says; came another one.")
    count = min(len(view.images), _PICTURES, view.chunk)
    state, at, found = steps.state(view.pixels(0, count)), 0, {}
    for path, step in zip(paths, steps.steps, strict=True):
        state = steps.advance(state, at, step)
        seconds = _least(steps, state, step, step + 1, count) - _least(steps, state, step, step, count)
        found[path] = 1e3 * max(seconds, 0.0) / count
        state, at = steps.advance(state, step, step + 1), step + 1
    return LayerLatency(found)


def _least(steps: GraphSteps, state: State, start: int, stop: int, count: int) -> float:
    """Return the least seconds in which the steps from `start` to `stop` are computed."""
    steps.compute(state, start, stop, count)  # compiled at the first call
    best, begun = np.inf, time.perf_counter()
    for _ in range(_ROUNDS):
        before = time.perf_counter()
        steps.compute(state, start, stop, count)
        best = min(best, time.perf_counter() - before)
        if time.perf_counter() - begun > _SECONDS:
            break
    return float(best)
