"""Vanilla gradients: how much the score of a class moves with each pixel."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.image_gradients import image_gradients

__all__ = ["vanilla_gradients"]


def vanilla_gradients(model: Any, images: ArrayLike, *, target: int | ArrayLike | None = None) -> Attribution:
    """Map the size of the gradient of the score: where a small change of a pixel would change the score most.

    M = max over channels of |d score / d x|, of the score before the softmax. It tells how sensitive the score is, not what it
    rests on: a pixel that the score uses but has used up, or that is zero, may have no gradient or a large one.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.

    Returns:
        Attribution with `values` of shape (batch, height, width), >= 0, in units of the score per unit of the image; details:
        score.

    Raises:
        InvalidArgument: if the model, images or target are not as above, or if the score has no gradient.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> vanilla_gradients(model, np.ones((2, 8, 8, 1)), target=1).values.shape
        (2, 8, 8)

    Source:
        Simonyan et al. 2014, section 3.1, by the primitives of tf-explain.
    """
    view, targets, gradients = image_gradients(model, images, target)
    values = np.abs(gradients).max(axis=-1)
    explained = Explained(model, vanilla_gradients)
    details = {"score": view.score_kind}
    return Attribution(values, view.images, targets, "vanilla_gradients", details, explained=explained)
