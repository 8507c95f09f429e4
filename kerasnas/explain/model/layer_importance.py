"""Ablation: how much worse a classifier gets when a layer, or one of its channels, tells it nothing of the sample."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.change_chart import Change, change_chart
from kerasnas.explain.model.class_labels import class_labels
from kerasnas.explain.model.graph_steps import GraphSteps, State
from kerasnas.explain.model.inner_network import InnerCall, InnerNetwork
from kerasnas.explain.model.log_probabilities import log_probabilities
from kerasnas.explain.model.mean_interval import mean_interval
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.sample_losses import Loss, sample_losses
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_seed, require_whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ablation", "LayerImportance", "layer_importance"]

_WAYS = ("mean", "permutation")


@dataclass(frozen=True)
class Ablation:
    """What one ablation did; each change is with minus without, and has a 95 % interval from `low` to `high`.

    Attributes:
        layer: path of the layer, "backbone/name" inside a nested model.
        channel: number of the channel on the last axis; None for the whole output.
        way: "mean" or "permutation".
        repeats: how often it was done.
        loss_change: mean over the samples, in units of the loss; above 0 if the model got worse.
        accuracy_change: in [-1, 1]; below 0 if the model got worse.
    """

    layer: str
    channel: int | None
    way: str
    repeats: int
    loss_change: float
    loss_change_low: float
    loss_change_high: float
    accuracy_change: float
    accuracy_change_low: float
    accuracy_change_high: float


@dataclass(frozen=True, repr=False)
class LayerImportance:
    """What `layer_importance` measured.

    Attributes:
        rows: one for each layer or channel and way, in the order in which the layers are computed.
        samples: how many samples were looked at.
        loss: mean loss of the model as it is.
        accuracy: accuracy of the model as it is, in [0, 1].
        details: what was asked for, plain values.
    """

    rows: tuple[Ablation, ...]
    samples: int
    loss: float
    accuracy: float
    details: dict[str, Any]

    def __repr__(self) -> str:
        facts = f"{len(self.rows)} rows, {self.samples} samples, loss {self.loss:.4g}, accuracy {self.accuracy:.4g}"
        return f"LayerImportance({facts})"

    def __str__(self) -> str:
        columns = ["layer", "channel", "way", "loss_change", "loss_change_low", "loss_change_high", "accuracy_change"]
        return f"{self!r}\n{self.to_dataframe()[columns].to_string(index=False, float_format='{:.4g}'.format, na_rep='')}"

    def ranked(self, way: str = "mean") -> tuple[Ablation, ...]:
        """Return the rows of one way, the largest loss change first."""
        return tuple(sorted((row for row in self.rows if row.way == way), key=lambda row: -row.loss_change))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each ablation, columns named as in `Ablation`."""
        import pandas as pd

        table = pd.DataFrame([asdict(row) for row in self.rows], columns=list(Ablation.__dataclass_fields__))
        return table.astype({"channel": "Int64"})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG: a line for each layer or channel with the changes of the loss and their 95 % intervals.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path. Of more than 40 layers or channels it shows those with the largest changes, and says so.

        Raises:
            InvalidArgument: if `path` does not end in .png, or nothing was ablated.
        """
        path = png_path(path)
        if not self.rows:
            raise InvalidArgument("Expected a layer that was ablated; the model has none that can be.")
        series: dict[str, list[Change]] = {}
        for row in self.rows:
            series.setdefault(row.way, []).append(Change(row.loss_change, row.loss_change_low, row.loss_change_high))
        parts = dict.fromkeys((row.layer, row.channel) for row in self.rows)
        names = [layer if channel is None else f"{layer}, channel {channel}" for layer, channel in parts]
        title = f"Loss without the layer, {self.samples} samples (loss with all of it: {self.loss:.3g})"
        if self.rows[0].channel is not None:
            title = title.replace("the layer", "the channel")
        return write_png(path, change_chart(names, series, title=title, unit="change of the loss"))


def layer_importance(
    model: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    channels: bool = False,
    layers: Sequence[str] | None = None,
    ways: Sequence[str] = _WAYS,
    repeats: int = 5,
    loss: Loss = "crossentropy",
    seed: int | None = 0,
) -> LayerImportance:
    """Measure how the loss and the accuracy change when the output of a layer is ablated.

    "mean" replaces the output by its mean over the samples, at each position: the layer says the same of all samples.
    "permutation" gives each sample the output that another one had: the values stay such as the model knows them, the
    link to the sample is cut. Both say what the trained model uses, not what it would miss if it were trained without:
    two layers that hold the same may each look unimportant. All that a model knows of a sample goes through each layer of a
    chain: permuting any of them does the same, whatever the layer is worth. Layers beside each other and channels
    can be compared. The intervals of "mean" take that mean as given.

    Layers that only hand on the input or the scores are left out; nested models are opened. What the rest of the network
    takes from a layer and from those before it is in memory for all samples, one layer at a time. It costs a prediction
    of all samples per layer, from that layer on, and one more for "mean" and for each of `repeats`, which cost none where all
    goes through the layer; with `channels`, these for each channel.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed. The loss
            is that of the softmax of its scores before the softmax, of the sigmoid if it has one unit.
        x: shape (batch, height, width, channels) or (batch, ...), at least two samples, as the model takes them.
        y: shape (batch,), integer classes.
        channels: whether each channel (index on the last axis) is ablated by itself, in the place of the whole output.
        layers: names of those to ablate, "backbone/name" or "name" inside a nested model; None for all.
        ways: "mean", "permutation" or both.
        repeats: how often the samples are permuted, >= 1. The interval tells more with several.
        loss: "crossentropy" (nats), "brier", or a function (probabilities, labels) -> losses of shape (batch,).
        seed: of the permutations.

    Returns:
        LayerImportance, whose rows hold loss and accuracy changes with 95 % intervals (see `mean_interval`), NaN with fewer
            than 8 samples.

    Raises:
        InvalidArgument: if the model, x, y, layers, ways, repeats or loss are not as above.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((4, 4, 1)),
        ...         keras.layers.Conv2D(2, 3, name="conv"),
        ...         keras.layers.Flatten(name="flat"),
        ...         keras.layers.Dense(3, activation="softmax"),
        ...     ]
        ... )
        >>> images, classes = np.random.default_rng(0).normal(size=(6, 4, 4, 1)), np.arange(6) % 3
        >>> found = layer_importance(model, images, classes)
        >>> sorted(row.layer for row in found.ranked("permutation"))
        ['conv', 'flat']

    Source:
        Morcos et al. 2018, "On the importance of single directions for generalization"; permutation as Breiman 2001,
        section 10. Deviation: the mean over the samples in the place of zero, for zero may be a value like no other.
    """
    ways, view, labels = _checked(model, x, y, ways, repeats)
    if channels:
        view.require_channels_last(", or ablate whole layers")
    network = InnerNetwork(view)
    whole = view.log_probabilities(view.evaluate(view.pixels()))
    require_seed(seed)
    rng = np.random.default_rng(seed)
    # The same permutations for all, which makes layers comparable.
    orders = np.stack([rng.permutation(len(labels)) for _ in range(repeats)])
    rows: list[Ablation] = []
    layers = (layers,) if isinstance(layers, str) else layers
    steps, count, at = GraphSteps(view), len(labels), 0
    states = [steps.state(view.pixels(start, start + view.chunk)) for start in range(0, count, view.chunk)]
    for call in _chosen(network, layers):
        start, at = at, steps.steps[call.index] + 1
        states = [steps.advance(state, start, at) for state in states]
        rows.extend(_ablate(_Judge(steps, states, call, labels, loss), ways, orders, channels))
    return LayerImportance(
        rows=tuple(rows),
        samples=len(labels),
        loss=float(sample_losses(whole, labels, loss).mean()),
        accuracy=float((whole.argmax(axis=1) == labels).mean()),
        details={
            "channels": channels,
            "layers": None if layers is None else tuple(layers),
            "ways": ways,
            "repeats": repeats,
            "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "function"),
            "seed": seed,
        },
    )


def _chosen(network: InnerNetwork, layers: Sequence[str] | None) -> list[InnerCall]:
    inner = [call for call in network.calls if not call.end]
    if layers is None:
        return inner
    wanted = tuple(layers)
    names = [{call.path, call.path.rpartition("/")[2]} for call in inner]
    unknown = [name for name in wanted if not any(name in own for own in names)]
    if unknown or not wanted:
        raise InvalidArgument(
            f"Expected layers to name inner layers; came {unknown or layers!r}. "
            f"Choose from: {', '.join(call.path for call in inner)}."
        )
    return [call for call, own in zip(inner, names, strict=True) if own & set(wanted)]


class _Judge:
    """Losses and hits of all samples with some value in the place of what one call computes."""

    def __init__(self, steps: GraphSteps, states: Sequence[State], call: InnerCall, labels: np.ndarray, loss: Loss) -> None:
        self._steps, self._states, self._labels, self._loss = steps, states, labels, loss
        self._next, self._place = steps.steps[call.index] + 1, steps.places[call.index]
        self.path = call.path
        self.value = np.concatenate([np.asarray(state[self._place]) for state in states])
        # Through the same computation as the ablated ones, so that what changes nothing changes exactly nothing.
        self._logs = self._log_probabilities(self.value)
        self._before = self._measure(self._logs)

    def changes(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the changes of loss and hits; two arrays of shape (samples,)."""
        return self._changes(self._log_probabilities(value))

    def changes_of_order(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the changes where each sample has the value of another one."""
        if self._steps.needed(self._next) == {self._place}:  # all goes through it: it has the scores of that one, too
            return self._changes(self._logs[order])
        return self.changes(self.value[order])

    def _changes(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        losses, hits = self._measure(logs)
        return losses - self._before[0], hits - self._before[1]

    def _measure(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits = (logs.argmax(axis=1) == self._labels).astype(np.float64)
        return sample_losses(logs, self._labels, self._loss), hits

    def _log_probabilities(self, value: np.ndarray) -> np.ndarray:
        outputs, at = [], 0
        for state in self._states:
            own = state[self._place]
            count = len(own)
            changed = {**state, self._place: keras.ops.convert_to_tensor(value[at : at + count], own.dtype)}
            outputs.append(self._steps.outputs(changed, self._next, count))
            at += count
        return log_probabilities(np.concatenate(outputs), from_logits=True)


def _ablate(judge: _Judge, ways: Sequence[str], orders: np.ndarray, channels: bool) -> Iterator[Ablation]:
    value = judge.value
    mean = value.mean(axis=0, keepdims=True, dtype=np.float64).astype(value.dtype).repeat(len(value), axis=0)

    def only(channel: int, source: np.ndarray) -> np.ndarray:
        ablated = value.copy()
        ablated[..., channel] = source[..., channel]
        return ablated

    for channel in range(value.shape[-1]) if channels else (None,):
        for way in ways:
            if way == "mean":
                changes = [judge.changes(mean if channel is None else only(channel, mean))]
            elif channel is None:
                changes = [judge.changes_of_order(order) for order in orders]
            else:
                changes = [judge.changes(only(channel, value[order])) for order in orders]
            donors = None if way == "mean" else orders
            loss, accuracy = (mean_interval(np.stack(each), donors) for each in zip(*changes, strict=True))
            yield Ablation(judge.path, channel, way, len(changes), *loss, *accuracy)


def _checked(
    model: Any, x: ArrayLike, y: ArrayLike, ways: Sequence[str], repeats: int
) -> tuple[tuple[str, ...], ScoreView, np.ndarray]:
    ways = (ways,) if isinstance(ways, str) else tuple(ways)
    if not ways or len(set(ways)) < len(ways) or not set(ways) <= set(_WAYS):
        raise InvalidArgument(f"Expected ways to be some of {_WAYS}, each once; came {ways!r}.")
    require_whole_number("repeats", repeats, 1)
    view = ScoreView(model, x, images_only=False)
    if len(view.images) < 2:
        raise InvalidArgument("Expected at least two samples; came one. An ablation needs others to take the values from.")
    return ways, view, class_labels(y, len(view.images), view.classes)
