"""Permutation importance: how much worse a classifier gets when one part of its input comes from other samples."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.class_labels import class_labels
from kerasnas.explain.model.log_probabilities import log_probabilities
from kerasnas.explain.model.mean_interval import mean_interval
from kerasnas.explain.model.sample_losses import Loss, sample_losses
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.model.whole_number import require_seed, require_whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InputPart", "PermutationImportance", "permutation_importance"]


@dataclass(frozen=True)
class InputPart:
    """A part of the input and what its permutation did; each change is with minus without, from `low` to `high` at 95 %.

    Attributes:
        name: "feature 3", or "rows 0-3, columns 4-7" with the last row and column included.
        start: first index on each axis: (feature,), or (row, column).
        stop: one after the last index on each axis.
        loss_change: mean over samples and repeats, in units of the loss; above 0 if the classifier got worse.
        accuracy_change: in [-1, 1]; below 0 if the classifier got worse.
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


@dataclass(frozen=True)
class PermutationImportance:
    """What `permutation_importance` measured.

    Attributes:
        rows: one for each part of the input, row by row of the grid for images.
        input_shape: shape of one sample.
        samples: how many samples were looked at.
        loss: mean loss of the classifier on the samples as they are.
        accuracy: accuracy on the samples as they are, in [0, 1].
        details: what was asked for, plain values.
    """

    rows: tuple[InputPart, ...]
    input_shape: tuple[int, ...]
    samples: int
    loss: float
    accuracy: float
    details: dict[str, Any]

    @property
    def values(self) -> np.ndarray:
        """The loss change of each input: shape (features,), or (height, width) with that of its patch at each pixel."""
        values = np.zeros(self.input_shape[:2])
        for row in self.rows:
            values[_area(row)] = row.loss_change
        return values

    def ranked(self) -> tuple[InputPart, ...]:
        """Return the rows, the largest loss change first."""
        return tuple(sorted(self.rows, key=lambda row: -row.loss_change))

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each part, columns named as in `InputPart`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])


def permutation_importance(
    model: Any,
    x: ArrayLike,
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
        model: built Keras 3 classifier; or any function from a NumPy batch to outputs of shape (batch, classes), such as
            `lambda batch: session.run(None, {"input": batch})[0]` with an ONNX session. One column, or (batch,), stands
            for two classes. A Keras model of images is taken before its softmax.
        x: shape (batch, height, width, channels) or (batch, features), at least two samples.
        y: shape (batch,), integer classes.
        patch: side or (height, width) of a patch, pixels; the last of a row or column may be smaller. None: an eighth
            of the smaller side of the image, rounded, at least 2. Not for vectors.
        repeats: how often each part is permuted, >= 1. The interval tells more with several.
        loss: "crossentropy" (nats), "brier", or a function (probabilities, labels) -> losses of shape (batch,).
        from_logits: whether the outputs of a function, or of a Keras model of vectors, are scores before a softmax (a
            sigmoid, if there is one output); else they must be probabilities.
        batch_size: the most samples in one call of `model`. A function of a fixed batch size is not padded for.
        seed: of the permutations; all parts are permuted alike.

    Returns:
        PermutationImportance, whose rows hold loss and accuracy changes with 95 % intervals (see `mean_interval`).

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
    samples, predict = _predictor(model, x, from_logits, batch_size)
    require_whole_number("repeats", repeats, 1)
    boxes = _boxes(samples.shape[1:], patch)
    logs = predict(samples)
    labels = class_labels(y, len(samples), logs.shape[1])
    before, hits = sample_losses(logs, labels, loss), logs.argmax(axis=1) == labels
    require_seed(seed)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(samples)) for _ in range(repeats)])
    rows = []
    for name, start, stop in boxes:
        area = (slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))
        losses, right = [], []
        for order in orders:
            permuted = samples.copy()
            permuted[area] = samples[order][area]
            logs = predict(permuted)
            losses.append(sample_losses(logs, labels, loss) - before)
            right.append((logs.argmax(axis=1) == labels).astype(np.float64) - hits)
        intervals = (mean_interval(np.stack(changes), orders) for changes in (losses, right))
        rows.append(InputPart(name, start, stop, *next(intervals), *next(intervals)))
    return PermutationImportance(
        rows=tuple(rows),
        input_shape=samples.shape[1:],
        samples=len(samples),
        loss=float(before.mean()),
        accuracy=float(hits.mean()),
        details={
            "repeats": repeats,
            "loss": loss if isinstance(loss, str) else getattr(loss, "__name__", "function"),
            "seed": seed,
        },
    )


def _area(row: InputPart) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(row.start, row.stop, strict=True))


def _predictor(
    model: Any, x: ArrayLike, from_logits: bool, batch_size: int
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the checked samples, and a function from samples to log-probabilities."""
    import keras

    require_whole_number("batch_size", batch_size, 1)
    if not callable(model):
        raise InvalidArgument(f"Expected a Keras model or a function of a NumPy batch; came {type(model).__name__}.")
    samples, run = np.array(x), model
    if isinstance(model, keras.Model) and len(getattr(model, "input_shape", None) or ()) == 4:
        view = ScoreView(model, samples)
        samples, from_logits, batch_size = view.images, True, min(batch_size, view.chunk)

        def run(batch: np.ndarray) -> np.ndarray:
            scores = view.evaluate(batch.astype(np.float32))
            return scores[:, 1:] if view.single else scores
    elif isinstance(model, keras.Model):

        def run(batch: np.ndarray) -> np.ndarray:
            return np.asarray(keras.ops.convert_to_numpy(model(batch, training=False)))

    if samples.ndim not in (2, 4) or 0 in samples.shape or samples.dtype.kind not in "biuf":
        raise InvalidArgument(
            "Expected x of shape (batch, height, width, channels) or (batch, features), real numbers; came shape "
            f"{samples.shape}, dtype {samples.dtype}. Add the missing axis, or flatten the features."
        )
    if len(samples) < 2:
        raise InvalidArgument("Expected at least two samples; came one. There is nothing to permute it with.")

    def predict(batch: np.ndarray) -> np.ndarray:
        parts = [np.asarray(run(batch[at : at + batch_size])) for at in range(0, len(batch), batch_size)]
        if any(part.ndim == 0 for part in parts) or sum(map(len, parts)) != len(batch):
            raise InvalidArgument(
                f"Expected one row of outputs for each of {len(batch)} samples; came shapes "
                f"{sorted({part.shape for part in parts})}. Return an array of shape (batch, classes)."
            )
        return log_probabilities(np.concatenate(parts), from_logits=from_logits)

    return samples, predict


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
