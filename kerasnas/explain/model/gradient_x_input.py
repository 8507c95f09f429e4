"""Gradient times input: the first-order share of each pixel in the score."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.image_gradients import image_gradients

__all__ = ["gradient_x_input"]


def gradient_x_input(model: Any, images: ArrayLike, *, target: int | ArrayLike | None = None) -> Attribution:
    """Map what each pixel adds to the score, as if the score were linear: sum over channels of x d score / d x.

    It is exact for a linear score, against an image of zeros. A pixel of zero says nothing, whatever it means: on pictures
    whose background is zero only what is drawn is seen. Integrated gradients let the baseline be chosen.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; details: score.

    Raises:
        InvalidArgument: if the model, images or target are not as above, or if the score has no gradient.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> gradient_x_input(model, np.ones((2, 8, 8, 1)), target=1).values.shape
        (2, 8, 8)

    Source:
        Shrikumar et al. 2016, section 2, by the primitives of tf-explain.
    """
    view, targets, gradients = image_gradients(model, images, target)
    values = (view.pixels().astype(np.float64) * gradients).sum(axis=-1)
    explained = Explained(model, gradient_x_input)
    details = {"score": view.score_kind}
    return Attribution(values, view.images, targets, "gradient_x_input", details, explained=explained)
