"""Integrated gradients: the score's rise from a neutral image, shared out among the pixels."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.baseline import baseline_detail, neutral_images
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_whole_number

__all__ = ["integrated_gradients"]


def integrated_gradients(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    baseline: str | ArrayLike = "mean",
    steps: int = 32,
) -> Attribution:
    """Map what each pixel adds to the score on the straight way from a neutral image b to the image x.

    M = sum over channels of (x - b) times the mean of d score / d x along the way, by Gauss-Legendre quadrature. The values
    of an image add up to score(x) - score(b), but for the error of the quadrature, which is in the details.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        baseline: the neutral image: "mean" for the mean of each channel of the image itself, a number, one number per channel,
            or an image of shape (height, width, channels); in the units of the images.
        steps: points on the way, one backward pass each, at least 1.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; details: baseline, steps,
        score, and for each image score_rise, score(x) - score(b), and completeness_gap, how far the sum of values is from it.

    Raises:
        InvalidArgument: if the model, images, target, baseline or steps are not as above, or if the score has no gradient.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> integrated_gradients(model, np.ones((2, 8, 8, 1)), target=1, baseline=0.0).values.shape
        (2, 8, 8)

    Source:
        Sundararajan et al. 2017, equation 1, by the primitives of tf-explain. Deviations: the gradients are multiplied by
        x - b, which tf-explain leaves out; Gauss-Legendre points instead of a Riemann sum.
    """
    require_whole_number("steps", steps, 1)
    view = ScoreView(model, images)
    targets, pixels = view.resolve_target(target), view.pixels()
    neutral = neutral_images(baseline, pixels)
    points, weights = np.polynomial.legendre.leggauss(steps)
    at, weights = (points + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    values = np.zeros(pixels.shape[:3])
    for index, (image, start, label) in enumerate(zip(pixels, neutral, targets, strict=True)):
        way = image.astype(np.float64) - start
        slope = np.zeros(way.shape)
        for first in range(0, steps, view.chunk):
            part = slice(first, first + view.chunk)
            stops = (start + at[part, None, None, None] * way).astype(np.float32)
            slope += np.tensordot(weights[part], view.gradient(stops, int(label)), axes=1)
        values[index] = (way * slope).sum(axis=-1)
    rows = np.arange(len(targets))
    rise = view.evaluate(pixels)[rows, targets] - view.evaluate(neutral.astype(np.float32))[rows, targets]
    details = {
        "baseline": baseline_detail(baseline),
        "steps": int(steps),
        "score": view.score_kind,
        "score_rise": rise.tolist(),
        "completeness_gap": np.abs(values.sum(axis=(1, 2)) - rise).tolist(),
    }
    explained = Explained(model, partial(integrated_gradients, baseline=baseline, steps=steps))
    return Attribution(values, view.images, targets, "integrated_gradients", details, explained=explained)
