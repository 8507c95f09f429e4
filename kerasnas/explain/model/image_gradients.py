"""The gradient of each image's score by its pixels."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.explain.model.score_view import ScoreView

__all__ = ["image_gradients"]


def image_gradients(model: Any, images: ArrayLike, target: int | ArrayLike | None) -> tuple[ScoreView, np.ndarray, np.ndarray]:
    """Return the view of the model, the class of each image, and d score / d x, shape (batch, height, width, channels)."""
    view = ScoreView(model, images)
    targets = view.resolve_target(target)
    gradients = np.zeros(view.images.shape, np.float32)
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        gradients[rows] = view.gradient(view.pixels()[rows], int(label))
    return view, targets, gradients
