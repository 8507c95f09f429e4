"""Permutation importance: how much worse a classifier gets when one part of its input comes from other samples."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.change_chart import Change, change_chart, change_map
from kerasnas.explain.model.class_labels import class_labels
from kerasnas.explain.model.mean_interval import mean_interval
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.sample_classifier import Samples, sample_classifier
from kerasnas.explain.model.sample_losses import Loss, sample_losses
from kerasnas.explain.whole_number import require_seed, require_whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InputPart", "PermutationImportance", "permutation_importance"]


@dataclass(frozen=True)
class InputPart:
    """A part of the input and what its permutation did; each change is with minus without, from `low` to `high` at 95 %.

    Attributes:
        name: "feature 3", or "rows 0-3, columns 4-7" with the last row and column included; of several inputs with the name of
            the input before it, "photo: rows 0-3, columns 4-7".
        start: first index on each axis: (feature,), or (row, column).
        stop: one after the last index on each axis.
        loss_change: mean over samples and repeats, in units of the loss; above 0 if the classifier got worse.
        accuracy_change: in [-1, 1]; below 0 if the classifier got worse.
        input: name of the input that it is a part of; None if there is only one.
    """

    name: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    loss_change: float
    loss_change_low: float
    loss_change_high: float
    accuracy_change: float
    accuracy_change_low: float
    accuracy_change_high: float
    input: str | None = None


@dataclass(frozen=True, repr=False)
class PermutationImportance:
    """What `permutation_importance` measured.

    Attributes:
        rows: one for each part of the input, row by row of the grid for images, input after input.
        input_shape: shape of one sample; of several inputs a dict by name.
        samples: how many samples were looked at.
        loss: mean loss of the classifier on the samples as they are.
        accuracy: accuracy on the samples as they are, in [0, 1].
        details: what was asked for, plain values.
    """

    rows: tuple[InputPart, ...]
    input_shape: tuple[int, ...] | dict[str, tuple[int, ...]]
    samples: int
    loss: float
    accuracy: float
    details: dict[str, Any]

    @property
    def values(self) -> Any:
        """The loss change of each input: shape (features,), or (height, width) with that of its patch at each pixel.

        Of several inputs a dict of such arrays by name.
        """
        shapes = self.input_shape
        by_name: dict[Any, tuple[int, ...]] = shapes if isinstance(shapes, dict) else {None: shapes}
        values = {name: np.zeros(shape[:2]) for name, shape in by_name.items()}
        for row in self.rows:
            values[row.input][_area(row.start, row.stop)] = row.loss_change
        return values if isinstance(shapes, dict) else values[None]

    def __repr__(self) -> str:
        facts = f"{len(self.rows)} parts, {self.samples} samples, loss {self.loss:.4g}, accuracy {self.accuracy:.4g}"
        return f"PermutationImportance({facts})"

    def __str__(self) -> str:
        columns = ["name", "loss_change", "loss_change_low", "loss_change_high", "accuracy_change"]
        return f"{self!r}\n{self.to_dataframe()[columns].to_string(index=False, float_format='{:.4g}'.format)}"

    def ranked(self) -> tuple[InputPart, ...]:
        """Return the rows, the largest loss change first."""
        return tuple(sorted(self.rows, key=lambda row: -row.loss_change))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each part, columns named as in `InputPart`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG: of images the changes of the loss at their places, else a line for each part with its 95 % interval.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path. Of more than 40 features it shows those with the largest changes, and says so.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        path = png_path(path)
        title = f"Loss when a part comes from another sample, {self.samples} samples\n(loss as they are: {self.loss:.3g})"
        if not isinstance(self.input_shape, dict) and len(self.input_shape) > 1:
            return write_png(path, change_map(self.values, title=title, unit="change of the loss"))
        changes = [Change(row.loss_change, row.loss_change_low, row.loss_change_high) for row in self.rows]
        names = [row.name for row in self.rows]
        return write_png(path, change_chart(names, {"permutation": changes}, title=title, unit="change of the loss"))


def permutation_importance(
    model: Any,
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike,
    *,
    patch: int | tuple[int, int] | None = None,
    repeats: int = 5,
    loss: Loss = "crossentropy",
    from_logits: bool = False,
    batch_size: int = 256,
    seed: int | None = 0,
) -> PermutationImportance:
    """Measure how the loss and the accuracy change when a part of the input is permuted between the samples.

    I(P) = mean over repeats and samples of loss(y, f(x with part P of another sample)) - loss(y, f(x)). For images the
    parts are the cells of a grid of patches, all channels together; for vectors they are single features. It says
    what the classifier uses on such samples: patches or features that tell the same as their neighbours may each look
    unimportant, and permuted samples may be unlike any real one. It costs 1 + parts * repeats predictions of all samples.

    Args:
        model: built Keras 3 classifier; or a black box: the path of an ONNX or LiteRT file with one output, or any function
            from a NumPy batch (a dict of them if x is one) to outputs of shape (batch, classes), such as `predict_proba` of a
            scikit-learn model, or what `scores_of` in `black_box.py` returns. One column, or (batch,), stands for two
            classes. A Keras model is taken before its last softmax or sigmoid, for a probability that has been rounded to 1
            hides how large a loss is; the losses of a function or a file end at that rounding, in float32 at 16 nats. Several
            sigmoid units of a model of one image are taken as scores of a softmax; of other models they are refused.
        x: shape (batch, height, width, channels) or (batch, features), at least two samples. Of several inputs such arrays
            in a dict by the names of the inputs, or, for a Keras model or a file, in a list in their order; the parts
            of each are permuted by themselves.
        y: shape (batch,), integer classes.
        patch: side or (height, width) of a patch, pixels; the last of a row or column may be smaller. None: an eighth
            of the smaller side of the image, rounded, at least 2. Not where all inputs are vectors.
        repeats: how often each part is permuted, >= 1. The interval tells more with several.
        loss: "crossentropy" (nats), "brier", or a function (probabilities, labels) -> losses of shape (batch,).
        from_logits: whether the outputs of a file, of a function, or of a Keras model of vectors or several inputs that
            does not end in a softmax or sigmoid are scores before one (a sigmoid, if there is one output); else they must
            be probabilities. Without effect where a softmax or sigmoid is left out.
        batch_size: the most samples in one call of `model`. A file of a fixed batch size is given batches of that size; a
            function is not padded for.
        seed: of the permutations; all parts are permuted alike.

    Returns:
        PermutationImportance, whose rows hold loss and accuracy changes with 95 % intervals (see `mean_interval`), NaN with
            fewer than 8 samples.

    Raises:
        InvalidArgument: if an argument or an output of `model` is not as above.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(50, 3))
        >>> found = permutation_importance(lambda batch: 5 * batch[:, 1], x, (x[:, 1] > 0).astype(int), from_logits=True)
        >>> [row.name for row in found.rows if row.loss_change > 0]
        ['feature 1']

    Source:
        Breiman 2001, "Random forests", section 10; for any classifier Fisher, Rudin and Dominici 2019.
    """
    require_whole_number("batch_size", batch_size, 1)
    classifier = sample_classifier(model, x, from_logits=from_logits, batch_size=batch_size)
    samples, predict = classifier.samples, classifier.evaluate
    require_whole_number("repeats", repeats, 1)
    boxes = _all_boxes(samples, patch)
    logs = predict(samples)
    labels = class_labels(y, len(logs), logs.shape[1])
    before, hits = sample_losses(logs, labels, loss), logs.argmax(axis=1) == labels
    require_seed(seed)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(labels)) for _ in range(repeats)])
    rows = []
    for source, name, start, stop in boxes:
        area = (slice(None), *_area(start, stop))
        losses, right = [], []
        for order in orders:
            permuted = samples[source].copy()
            permuted[area] = samples[source][order][area]
            logs = predict({**samples, source: permuted})
            losses.append(sample_losses(logs, labels, loss) - before)
            right.append((logs.argmax(axis=1) == labels).astype(np.float64) - hits)
        intervals = (mean_interval(np.stack(changes), orders) for changes in (losses, right))
        rows.append(InputPart(name, start, stop, *next(intervals), *next(intervals), input=source))
    shapes: dict[Any, tuple[int, ...]] = {name: array.shape[1:] for name, array in samples.items()}
    return PermutationImportance(
        rows=tuple(rows),
        input_shape=shapes[None] if None in shapes else shapes,
        samples=len(labels),
        loss=float(before.mean()),
        accuracy=float(hits.mean()),
        details={
            "repeats": repeats,
            "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "function"),
            "seed": seed,
        },
    )


def _area(start: tuple[int, ...], stop: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _all_boxes(samples: Samples, patch: Any) -> list[tuple[str | None, str, tuple[int, ...], tuple[int, ...]]]:
    """Return the parts of all inputs: input, name, start and stop."""
    images = any(array.ndim == 4 for array in samples.values())
    boxes = []
    for source, array in samples.items():
        own = patch if array.ndim == 4 or not images else None
        for name, start, stop in _boxes(array.shape[1:], own):
            boxes.append((source, name if source is None else f"{source}: {name}", start, stop))
    return boxes


def _boxes(shape: tuple[int, ...], patch: Any) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    if len(shape) == 1:
        if patch is not None:
            raise InvalidArgument(f"Expected patch to be None for vectors; came {patch!r}. Patches are for images.")
        return [(f"feature {index}", (index,), (index + 1,)) for index in range(shape[0])]
    height, width = shape[:2]
    side = max(2, int(min(height, width) / 8 + 0.5))
    sizes = np.asarray((side, side) if patch is None else patch)
    if sizes.shape not in ((), (2,)) or sizes.dtype.kind not in "iu" or np.any(sizes < 1):
        raise InvalidArgument(
            f"Expected patch to be None, a number of pixels of at least 1, or a pair (height, width); came {patch!r}."
        )
    high, wide = (int(size) for size in np.broadcast_to(sizes, (2,)))
    boxes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for top in range(0, height, high):
        for left in range(0, width, wide):
            bottom, right = min(top + high, height), min(left + wide, width)
            boxes.append((f"rows {top}-{bottom - 1}, columns {left}-{right - 1}", (top, left), (bottom, right)))
    return boxes
