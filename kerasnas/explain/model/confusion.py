"""Which classes a classifier takes for which, and the mistakes that it is most sure of."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.class_labels import class_labels
from kerasnas.explain.model.image_batch import looks_channels_first
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_whole_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Confusion", "Mistake", "confusion"]


@dataclass(frozen=True)
class Mistake:
    """A sample whose predicted class is not its true one; `probability` is that of the predicted class."""

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class Confusion:
    """What `confusion` counted.

    Attributes:
        matrix: shape (classes, classes), how many samples of the class of the row were predicted as that of the column.
        mistakes: those that the model is most sure of, the surest first.
        wrong: the number of all mistakes.
        images: shape (len(mistakes), ...), the images (or other samples) of `mistakes`; images with their channels last.
        attribution: why the model predicted what it did there, if that was asked for; None if not, or without mistakes.
        labels: names of the classes.
    """

    matrix: np.ndarray
    mistakes: tuple[Mistake, ...]
    wrong: int
    images: np.ndarray
    attribution: Attribution | None
    labels: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Confusion({int(self.matrix.sum())} samples, {self.wrong} wrong, accuracy {self.accuracy:.4g})"

    def __str__(self) -> str:
        import pandas as pd

        table = pd.DataFrame(self.matrix, pd.Index(self.labels, name="true"), pd.Index(self.labels, name="predicted"))
        return f"{self!r}\n{table.to_string()}"

    @property
    def accuracy(self) -> float:
        """Share of the samples that are predicted rightly, in [0, 1]."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row for each of `mistakes`: index, true, predicted, probability."""
        import pandas as pd

        return pd.DataFrame([asdict(mistake) for mistake in self.mistakes], columns=list(Mistake.__dataclass_fields__))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG: the matrix, and beside it the pictures of the mistakes, if they are images, with their maps if any.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        from kerasnas.explain.model.confusion_sheet import confusion_sheet

        path = png_path(path)
        figure = confusion_sheet(self)
        return write_png(path, figure)


def confusion(
    model: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    mistakes: int = 8,
    explain: Callable[..., Attribution] | None = None,
) -> Confusion:
    """Count which class is predicted for which, and collect the mistakes with the highest probability.

    A sure mistake is worth a look: a wrong label, a class that looks like another, or a mark that misleads. The
    probability is the model's own, from the softmax of its scores (the sigmoid, if it ends in one); it need not be calibrated.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        x: shape (batch, height, width, channels) or (batch, ...), images or other samples, as the model takes them.
        y: shape (batch,), integer classes.
        labels: names of the classes; None for their numbers.
        mistakes: the most mistakes to collect, >= 0.
        explain: a function (images, target=classes) -> Attribution, such as `functools.partial(grad_cam, model)`; it is
            called with the images of the mistakes and the classes that were predicted for them.

    Returns:
        Confusion, with a picture by `save`.

    Raises:
        InvalidArgument: if an argument is not as above.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((1, 1, 1)),
        ...         keras.layers.Flatten(),
        ...         keras.layers.Dense(1, kernel_initializer="ones", activation="sigmoid"),
        ...     ]
        ... )
        >>> confusion(model, np.array([-1.0, 1.0, 2.0]).reshape(3, 1, 1, 1), [0, 1, 0]).matrix
        array([[1, 1],
               [0, 1]])
    """
    require_whole_number("mistakes", mistakes, 0)
    view = ScoreView(model, x, images_only=False)
    if labels is not None and len(labels) != view.classes:
        raise InvalidArgument(f"Expected {view.classes} labels, one for each class; came {len(labels)}.")
    true = class_labels(y, len(view.images), view.classes)
    scores = view.evaluate(view.pixels())
    logs = -np.logaddexp(0, -scores) if view.sigmoid else view.log_probabilities(scores)  # of `view.probabilities`, unrounded
    predicted = scores.argmax(axis=1)
    sure = logs.max(axis=1)
    matrix = np.zeros((view.classes, view.classes), np.int64)
    np.add.at(matrix, (true, predicted), 1)
    wrong = np.flatnonzero(predicted != true)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")][:mistakes]
    attribution = None
    if explain is not None and len(surest):
        attribution = explain(view.images[surest], target=predicted[surest])
        if not isinstance(attribution, Attribution) or len(attribution) != len(surest):
            raise InvalidArgument(
                f"Expected explain to return an Attribution of {len(surest)} images; came {attribution!r}. Pass for "
                "instance functools.partial(grad_cam, model)."
            )
    return Confusion(
        matrix=matrix,
        mistakes=tuple(Mistake(int(i), int(true[i]), int(predicted[i]), float(np.exp(sure[i]))) for i in surest),
        wrong=len(wrong),
        images=_channels_last(view.images[surest], bool(view.channels_first)),
        attribution=attribution,
        labels=tuple(str(label) for label in (labels if labels is not None else range(view.classes))),
    )


def _channels_last(images: np.ndarray, convolved_first: bool) -> np.ndarray:
    """Return images with their channels last; a model may turn them round only inside."""
    return np.moveaxis(images, 1, -1) if convolved_first and looks_channels_first(images.shape) else images
