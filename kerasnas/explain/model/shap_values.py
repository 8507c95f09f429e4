"""SHAP: what each cell of the image adds to the score, in the mean over the orders in which cells are shown."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument, MissingExtra
from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.baseline import baseline_detail, neutral_images
from kerasnas.explain.model.black_box import scores_of
from kerasnas.explain.model.cell_grid import cell_grid
from kerasnas.explain.model.image_batch import image_batch
from kerasnas.explain.model.scores import Scores
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["shap_values"]


def shap_values(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    cells: int = 8,
    evaluations: int = 1000,
    baseline: str | ArrayLike = "mean",
    background: ArrayLike | None = None,
    seed: int | None = 0,
) -> Attribution:
    """Map the Shapley values of the cells of a grid: how the rise of the score over a neutral image is shared out.

    The cells are shown one after the other in a random order, and hidden again in the same order; the value of a cell is the
    mean change of the score that it makes. The values of an image add up to score(x) - score(b). One order is exact where the
    score is a sum of functions of one cell and of pairs of cells; else the error falls with the number of orders. It needs
    nothing of the model but its scores. The first call in a process takes some seconds, in which shap compiles its loops.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes), which is not changed; or a
            black box: the path of an ONNX or LiteRT file, or a function from images to class scores, such as `model.predict`.
        images: shape (batch, height, width, channels), or (batch, height, width) for a model or file of one channel; as the
            model takes them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        cells: cells of the grid along each side of the image, at least 1 and at most the smaller side.
        evaluations: the most masked images that are scored for each image, at least 2 cells**2 + 1, which one order takes.
        baseline: what hides, as `occlusion` takes it.
        background: images of shape (n, height, width, channels) instead of a baseline: what is hidden shows each of them in
            turn, and the score is the mean, so that each evaluation costs n predictions. None: `baseline` hides.
        seed: seed of the orders, which are the same for all images.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; a cell's value is spread
        evenly over its pixels. Details: cells, orders, evaluations (as they were made), baseline, background (how many, or
        None), seed, score, and completeness_gap, for each image |sum of values - (score(x) - score(b))| in units of the score.

    Raises:
        InvalidArgument: if the model, images, target or one of the settings is not as above.
        MissingExtra: if shap is not installed.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> shap_values(model, np.ones((2, 8, 8, 1)), target=1, cells=4, evaluations=33).values.shape
        (2, 8, 8)

    Source:
        Lundberg and Lee 2017, by the permutation explainer of shap, which of its explainers of black boxes is exact on linear
        scores and on pairs with the fewest evaluations. Deviation: the features are cells instead of pixels.
    """
    require_seed(seed)
    scores = scores_of(model, images)
    height, width = scores.images.shape[1:3]
    require_whole_number("cells", cells, 1, min(height, width))
    grid = cell_grid(height, width, cells)
    least = 2 * cells**2 + 1
    if not isinstance(evaluations, int | np.integer) or isinstance(evaluations, bool) or evaluations < least:
        raise InvalidArgument(
            f"Expected evaluations to be a whole number of at least {least}, one order of {cells} x {cells} cells; "
            f"came {evaluations!r}. Use fewer cells or more evaluations."
        )
    targets, pixels = scores.resolve_target(target), scores.pixels()
    hidden = _hidden(baseline, background, pixels)
    orders = int(evaluations) // least
    # All images have the same orders, so that none depends on the others.
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    area = np.bincount(grid.reshape(-1))
    values, gaps, rises = np.zeros(pixels.shape[:3]), [], []
    with _shap() as library:
        for index, (image, label) in enumerate(zip(pixels, targets, strict=True)):
            score = _cell_score(scores, image, hidden[index], int(label), grid)
            found = _permutation(library, score, len(area), orders * least, state, scores.chunk)
            values[index] = (found / area)[grid]
            ends = score(np.stack([np.zeros(len(area)), np.ones(len(area))]))
            rises.append(float(ends[1] - ends[0]))
            gaps.append(abs(float(values[index].sum()) - rises[-1]))
    details = {
        "cells": int(cells),
        "orders": orders,
        "evaluations": orders * least,
        "baseline": baseline_detail(baseline) if background is None else None,
        "background": None if background is None else len(hidden[0]),
        "seed": seed,
        "score": scores.score_kind,
        "score_rise": rises,
        "completeness_gap": gaps,
    }
    again = partial(shap_values, cells=cells, evaluations=evaluations, baseline=baseline, background=background, seed=seed)
    return Attribution(values, scores.images, targets, "shap_values", details, explained=Explained(model, again))


def _hidden(baseline: str | ArrayLike, background: ArrayLike | None, pixels: np.ndarray) -> list[np.ndarray]:
    """Return, for each image, what is seen where it is hidden; shape (n, height, width, channels)."""
    neutral = neutral_images(baseline, pixels)
    if background is None:
        return [one[None].astype(np.float32) for one in neutral]
    if not (isinstance(baseline, str) and baseline == "mean"):
        raise InvalidArgument("Expected a baseline or a background; came both. Leave one out.")
    try:
        images = image_batch(background, (None, *pixels.shape[1:]))
    except InvalidArgument as error:
        raise InvalidArgument(f"Expected background images of the size of the images that are explained. {error}") from None
    return [images.astype(np.float32)] * len(pixels)


def _cell_score(
    scores: Scores, image: np.ndarray, hidden: np.ndarray, label: int, grid: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from shape (n, cells) of 0, hidden, and 1, shown, to the mean score of `label`; shape (n,)."""
    step = max(1, scores.chunk // len(hidden))

    def score(shown: np.ndarray) -> np.ndarray:
        means = []
        for start in range(0, len(shown), step):
            mask = (shown[start : start + step] > 0.5)[:, grid][:, None, ..., None]
            batch = np.where(mask, image, hidden).astype(np.float32)
            answers = scores.evaluate(batch.reshape(-1, *image.shape))[:, label]
            means.append(answers.reshape(len(batch), len(hidden)).mean(axis=1))
        return np.concatenate(means)

    return score


def _permutation(
    library: Any, score: Callable[[np.ndarray], np.ndarray], cells: int, evaluations: int, state: int, batch: int
) -> np.ndarray:
    # A function as the masker: shap compiles its own maskers for a quarter of a minute.
    explainer = library.PermutationExplainer(score, lambda mask, _: mask[None].astype(np.float64), seed=state)
    found = explainer(np.ones((1, cells)), max_evals=evaluations, batch_size=batch, silent=True)
    return np.asarray(found.values[0], np.float64)


@contextmanager
def _shap() -> Iterator[Any]:
    """Yield shap without the warnings of its imports; NumPy's global generator, which it seeds, is put back.

    Never use its DeepExplainer: it leaves patches in TensorFlow's registry of gradients, with which a later `fit` fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import shap
        except ImportError:
            raise MissingExtra("shap", "explain") from None
    before = np.random.get_state()  # noqa: NPY002
    try:
        yield shap
    finally:
        np.random.set_state(before)  # noqa: NPY002
