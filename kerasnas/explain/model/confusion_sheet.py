"""A sheet of a confusion matrix and the pictures of the surest mistakes."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasnas.explain.model.attribution import Attribution

if TYPE_CHECKING:
    from kerasnas.explain.model.confusion import Confusion

__all__ = ["confusion_sheet"]

_MOST_NUMBERS = 25  # classes, with which the counts can still be read


def confusion_sheet(found: "Confusion") -> Any:
    """Draw the matrix, each row as shares of its class, and beside it the mistakes on images; returns a matplotlib figure."""
    from matplotlib.figure import Figure

    count = len(found.mistakes) if found.images.ndim == 4 else 0  # what is no image has no picture
    columns = 2 if found.attribution is None else 4  # two mistakes beside each other
    lines, width = max(1, math.ceil(count / 2)), 1.8 * columns
    side = min(11.0, max(5.0, 0.55 * len(found.labels) + 2))
    figure = Figure(figsize=(side + (width if count else 0), max(side, 2.1 * lines + 0.9)), dpi=110, layout="constrained")
    if not count:
        _draw_matrix(figure.subplots(), found)
        return figure
    parts: Any = figure.subfigures(1, 2, width_ratios=(side, width))
    left, right = parts
    _draw_matrix(left.subplots(), found)
    title = f"The {count} surest of {found.wrong} mistakes" if found.wrong > count else "All mistakes, the surest first"
    if found.attribution is not None:
        title += f", with maps by {found.attribution.method}:\norange for the predicted class, blue against it"
    right.suptitle(title, fontsize=10)
    axes = right.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    blank = Attribution(np.zeros(found.images.shape[:3]), found.images, np.zeros(count, np.int64), "picture")
    pictures = [blank.to_image(alpha=0.0)] + ([found.attribution.to_image()] if found.attribution is not None else [])
    places = iter(axes.flat)
    for number, mistake in enumerate(found.mistakes):
        for kind, images in enumerate(pictures):
            axis = next(places)
            axis.imshow(images[number])
            if kind == 0:
                true, predicted = _short(found.labels[mistake.true]), _short(found.labels[mistake.predicted])
                text = f"true {true}\npredicted {predicted} ({_percent(mistake.probability)})\nsample {mistake.index}"
                axis.set_title(text, fontsize=7.5)
    return figure


def _draw_matrix(axis: Any, found: "Confusion") -> None:
    matrix, classes = found.matrix, len(found.labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.figure.colorbar(shown, ax=axis, shrink=0.7, label="share of the true class")
    if classes <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8, color=colour)
        names = [_short(label) for label in found.labels]
        upright = max(map(len, names)) > 3
        axis.set_xticks(range(classes), names, rotation=60 if upright else 0, ha="right" if upright else "center", fontsize=8)
        axis.set_yticks(range(classes), names, fontsize=8)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_title(f"{matrix.sum()} samples, accuracy {found.accuracy:.1%}; numbers: samples", fontsize=10)


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability < 0.9995 else "> 99.9%"


def _short(label: str) -> str:
    return label if len(label) <= 16 else f"{label[:15]}…"
