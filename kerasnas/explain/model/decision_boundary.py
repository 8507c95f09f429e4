"""Where a classifier draws the lines between its classes, in a plane through its last features."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.class_labels import class_labels
from kerasnas.explain.model.graph_steps import GraphSteps
from kerasnas.explain.model.inner_network import InnerCall, InnerNetwork
from kerasnas.explain.model.log_probabilities import log_probabilities
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_whole_number

__all__ = ["DecisionBoundary", "decision_boundary"]

_MARGIN = 0.08  # of the range of the points, on each side
_SAME = 1e-4


@dataclass(frozen=True, eq=False, repr=False)
class DecisionBoundary:
    """The features of samples in a plane, and the class that the head predicts at each place of it.

    Attributes:
        points: shape (batch, 2), the samples on the first two principal components of their features.
        predicted: shape (batch,), the class that the model predicts for each sample.
        true: shape (batch,), the true classes; None if they were not given.
        regions: shape (resolution, resolution), the class predicted at `vertical[row]`, `horizontal[column]`.
        horizontal, vertical: shape (resolution,), coordinates on the first and the second component.
        variance_shares: share of the variance of the features that each of the two components holds, in [0, 1].
        agreement: share of the samples whose class on the plane is the one that the model predicts, in [0, 1].
        layer: path of the layer whose output the features are.
        labels: names of the classes.
    """

    points: np.ndarray
    predicted: np.ndarray
    true: np.ndarray | None
    regions: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    variance_shares: tuple[float, float]
    agreement: float
    layer: str
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"DecisionBoundary({len(self.points)} samples at {self.layer!r}, variance in the plane {self.variance_share:.0%}, "
            f"classes as the model's {self.agreement:.0%})"
        )

    @property
    def variance_share(self) -> float:
        """Share of the variance of the features that the plane holds, in [0, 1]."""
        return sum(self.variance_shares)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG: the regions as background, the samples as dots, those that are predicted wrongly as crosses.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        path = png_path(path)
        figure = _draw(self)
        return write_png(path, figure)


def decision_boundary(
    model: Any,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    layer: str | None = None,
    resolution: int = 200,
    labels: tuple[str, ...] | None = None,
) -> DecisionBoundary:
    """Project the features before the last layer to a plane, and predict a class at each place of that plane.

    The plane is that of the first two principal components of the features of `x`. What lies behind the features, the head,
    predicts at points of the plane, brought back to features: a cut through its regions. A sample lies beside the plane, so
    the class there may differ from its own: `variance_share` says how much of the features the plane holds, `agreement`
    for how many samples the class is the same. Places far from all samples may be features that no image has.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        x: shape (batch, height, width, channels) or (batch, ...), at least three samples, as the model takes them.
        y: shape (batch,), integer classes; None if they are not known.
        layer: whose output of shape (batch, features) is projected, "backbone/name" inside a nested model. None: what
            the last layer with a kernel gets.
        resolution: places along each side of the plane, from 2.
        labels: names of the classes; None for "class 0" and so on.

    Returns:
        DecisionBoundary, with a picture by `save`.

    Raises:
        InvalidArgument: if an argument is not as above, if there is no such layer, if the scores depend on more than its
            output, or if the features are the same for all samples.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((2, 1, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> found = decision_boundary(model, np.random.default_rng(0).normal(size=(20, 2, 1, 1)), resolution=50)
        >>> found.regions.shape, round(found.variance_share, 6)
        ((50, 50), 1.0)

    Source:
        Principal components: Pearson 1901. Cuts through regions: Migut et al. 2015, who colour by the nearest sample instead.
    """
    require_whole_number("resolution", resolution, 2)
    view = ScoreView(model, x, images_only=False)
    if len(view.images) < 3:
        raise InvalidArgument(f"Expected at least three samples; came {len(view.images)}. A plane takes three points.")
    if labels is not None and len(labels) != view.classes:
        raise InvalidArgument(f"Expected {view.classes} labels, one for each class; came {len(labels)}.")
    true = None if y is None else class_labels(y, len(view.images), view.classes)
    network = InnerNetwork(view)
    call = _features_call(network, layer)
    features = network.value(call.index).astype(np.float64)
    if not np.all(np.isfinite(features)):
        raise InvalidArgument(f"Expected finite features; those of {call.path!r} hold NaN or infinity. Look at the weights.")
    if not np.ptp(features, axis=0).any():
        raise InvalidArgument(f"Expected features that differ between samples; those of {call.path!r} are the same for all.")
    head = _Head(view, call)
    head.require_all(features)
    plane = PCA(2, svd_solver="full").fit(features)
    points = plane.transform(features)
    horizontal, vertical = (_axis(points[:, i], int(resolution)) for i in (0, 1))
    places = np.stack(np.meshgrid(horizontal, vertical), axis=-1).reshape(-1, 2)
    predicted = head.classes_of(features)
    return DecisionBoundary(
        points=points,
        predicted=predicted,
        true=true,
        regions=head.classes_of(plane.inverse_transform(places)).reshape(resolution, resolution),
        horizontal=horizontal,
        vertical=vertical,
        variance_shares=(float(plane.explained_variance_ratio_[0]), float(plane.explained_variance_ratio_[1])),
        agreement=float((head.classes_of(plane.inverse_transform(points)) == predicted).mean()),
        layer=call.path,
        labels=tuple(labels) if labels is not None else tuple(f"class {number}" for number in range(view.classes)),
    )


def _features_call(network: InnerNetwork, layer: str | None) -> InnerCall:
    calls = {call.index: call for call in network.calls}
    flat = [call for call in network.calls if len(call.shape) == 1 and call.shape[0] > 1 and call.end != "scores"]
    if layer is not None:
        chosen = [call for call in flat if layer in (call.path, call.path.rpartition("/")[2])]
    else:
        heads = [call for call in network.calls if any(len(w.shape) > 1 for w in getattr(call.operation, "weights", ()))]
        chosen = [calls[head.source] for head in heads[-1:] if head.source in calls and calls[head.source] in flat]
    if len(chosen) != 1:
        came = f"layer {layer!r}" if layer is not None else "a last layer with a kernel that gets something else"
        raise InvalidArgument(
            f"Expected one layer with output (batch, features) of at least two features before the scores; came {came}. "
            f"Choose layer from: {', '.join(call.path for call in flat) or 'none'}."
        )
    return chosen[0]


class _Head:
    """What the model does with the features."""

    def __init__(self, view: ScoreView, call: InnerCall) -> None:
        self._view, self._path, self._steps = view, call.path, GraphSteps(view)
        self._start, self._place = self._steps.steps[call.index] + 1, self._steps.places[call.index]
        self._past = self._steps.needed(self._start) - {self._place}  # what goes past the features

    def classes_of(self, features: np.ndarray) -> np.ndarray:
        """Return the predicted classes; shape (batch,)."""
        images = self._view.pixels(0, 1)
        step = self._view.chunk
        parts = [features[at : at + step] for at in range(0, len(features), step)]
        outputs = [self._score(images.repeat(len(part), axis=0), part) for part in parts]
        return np.asarray(log_probabilities(np.concatenate(outputs), from_logits=True).argmax(axis=1))

    def _score(self, images: np.ndarray, features: np.ndarray) -> np.ndarray:
        state = self._steps.advance(self._steps.state(images), 0, self._start) if self._past else {}
        state = {**state, self._place: keras.ops.convert_to_tensor(features, "float32")}
        return self._steps.outputs(state, self._start, len(features))

    def require_all(self, features: np.ndarray) -> None:
        """Raise InvalidArgument if the scores depend on more of an image than its features, or are not finite."""
        images = self._view.pixels(0, min(self._view.chunk, 64))
        own, swapped = (self._score(pixels, features[: len(images)]) for pixels in (images, images[::-1]))
        if not np.all(np.isfinite(own)):
            raise InvalidArgument("Expected finite scores; the model answered with NaN or infinity. Look at its weights.")
        if not np.allclose(own, swapped, rtol=_SAME, atol=_SAME * float(np.abs(own).max())):
            raise InvalidArgument(
                f"Expected scores that depend on the output of {self._path!r} alone; another branch of the model goes past "
                "it. Name the layer after which the branches are one."
            )


def _axis(values: np.ndarray, resolution: int) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    margin = _MARGIN * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, resolution)


def _draw(found: DecisionBoundary) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    count = len(found.labels)
    palette = mpl.colormaps["tab10" if count <= 10 else "hsv"]
    colours = np.array([palette(i if count <= 10 else i / count)[:3] for i in range(count)])
    figure = Figure(figsize=(9, 6.8), dpi=110, layout="constrained")
    axis = figure.subplots()
    corners = (found.horizontal[0], found.horizontal[-1], found.vertical[0], found.vertical[-1])
    pale = 0.30 * colours[found.regions] + 0.70
    axis.imshow(pale, extent=corners, origin="lower", aspect="auto", interpolation="nearest")
    shown = found.predicted if found.true is None else found.true
    wrong = shown != found.predicted
    marked: tuple[tuple[Any, ...], ...] = ((~wrong, "o", 16, "white", 0.3), (wrong, "X", 60, "black", 0.9))
    for rows, marker, size, edge, width in marked:
        across, up = found.points[rows].T
        axis.scatter(across, up, c=colours[shown[rows]], marker=marker, s=size, edgecolors=edge, linewidths=width)
    kind = "predicted" if found.true is None else "true"
    marks = [Line2D([], [], ls="", marker="o", color=colours[i], label=found.labels[i]) for i in sorted(set(shown.tolist()))]
    if found.true is not None:
        black: dict[str, Any] = {"markeredgecolor": "black", "markerfacecolor": "white", "markersize": 8}
        marks.append(Line2D([], [], ls="", marker="X", label=f"predicted wrongly\n({wrong.sum()} of {wrong.size})", **black))
    for number in np.unique(found.regions):
        rows, columns = np.nonzero(found.regions == number)
        if len(rows) > 0.01 * found.regions.size:
            middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # a place in the region itself
            place = found.horizontal[columns[middle]], found.vertical[rows[middle]]
            axis.text(*place, found.labels[number], ha="center", va="center", fontsize=13, alpha=0.6, fontweight="bold")
    title = f"samples: {kind} class\nbackground:\npredicted class"
    axis.legend(handles=marks, title=title, loc="upper left", bbox_to_anchor=(1, 1))
    axis.set_xlabel(f"first principal component ({found.variance_shares[0]:.0%} of the variance)")
    axis.set_ylabel(f"second principal component ({found.variance_shares[1]:.0%})")
    axis.set_title(
        f"What the last layer sees: output of {found.layer!r} for {len(shown)} samples\n"
        f"The plane holds {found.variance_share:.0%} of the variance; its background has the model's own class "
        f"for {found.agreement:.0%} of the samples",
        fontsize=10,
    )
    return figure
