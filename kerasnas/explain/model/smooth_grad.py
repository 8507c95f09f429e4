"""SmoothGrad: gradients, averaged over noisy copies of the image."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["smooth_grad"]


def smooth_grad(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    noise: float = 0.2,
    samples: int = 50,
    seed: int | None = 0,
) -> Attribution:
    """Map where a change of a pixel changes the score, small wiggles of the gradient averaged out.

    M = max over channels of |mean of d score / d x over x + Gaussian noise|.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        noise: standard deviation of the noise, as a share of the range of each image, >= 0; the paper has 0.1 to 0.2.
        samples: noisy copies of each image, one backward pass each, at least 1; the paper finds little more beyond 50.
        seed: seed of the noise; each image gets the noise that it would get alone.

    Returns:
        Attribution with `values` of shape (batch, height, width), >= 0, in units of the score per unit of the image; details:
        noise, samples, seed, score.

    Raises:
        InvalidArgument: if the model, images, target, noise or samples are not as above, or if the score has no gradient.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> smooth_grad(model, np.ones((2, 8, 8, 1)), target=1).values.shape
        (2, 8, 8)

    Source:
        Smilkov et al. 2017, section 3, by the primitives of tf-explain. Deviations from tf-explain: the score instead of the
        cross-entropy, noise relative to the range of the image.
    """
    require_whole_number("samples", samples, 1)
    if not isinstance(noise, int | float | np.number) or not 0 <= noise < np.inf:
        raise InvalidArgument(f"Expected noise to be a finite share of the range of an image, >= 0; came {noise!r}.")
    require_seed(seed)
    view = ScoreView(model, images)
    targets = view.resolve_target(target)
    values = np.zeros(view.images.shape[:3])
    for index, (image, label) in enumerate(zip(view.pixels(), targets, strict=True)):
        rng = np.random.default_rng(seed)
        deviation = noise * (float(image.max()) - float(image.min()))
        total = np.zeros(image.shape)
        for first in range(0, samples, view.chunk):
            count = min(view.chunk, samples - first)
            copies = image + deviation * rng.standard_normal((count, *image.shape))
            total += view.gradient(copies.astype(np.float32), int(label)).sum(axis=0, dtype=np.float64)
        values[index] = np.abs(total / samples).max(axis=-1)
    details = {"noise": float(noise), "samples": int(samples), "seed": seed, "score": view.score_kind}
    explained = Explained(model, partial(smooth_grad, noise=noise, samples=samples, seed=seed))
    return Attribution(values, view.images, targets, "smooth_grad", details, explained=explained)
