"""LIME: a linear model of what the classifier answers when parts of the image are hidden; its weights."""

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
from kerasnas.explain.model.scores import Scores
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["lime_weights"]

_SUPERPIXELS = 64  # about as many as the default grid has cells


def lime_weights(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None = None,
    segments: int | str | Callable[[np.ndarray], np.ndarray] = 8,
    samples: int = 1000,
    baseline: str | ArrayLike = "mean",
    seed: int | None = 0,
) -> Attribution:
    """Map the weights of a linear model that tells the score from which segments of the image are seen.

    In each sample, a segment is seen with probability 1/2; a ridge regression on the samples, those like the whole image
    counting more, gives each segment a weight, which all its pixels get. The share of the score's variance that the linear
    model explains is in the details: where it is low, the weights say little.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes), which is not changed; or a
            black box: the path of an ONNX or LiteRT file, or a function from images to class scores, such as `model.predict`.
        images: shape (batch, height, width, channels), or (batch, height, width) for a model or file of one channel; as the
            model takes them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        segments: a number for a grid of as many cells along each side, at most the smaller side of the image; "slic" for
            about 64 superpixels, which follow the edges in the image; or a function from an image of shape (height, width,
            channels) to the segment of each pixel, integers of shape (height, width).
        samples: how many masked images are scored for each image, the whole one included, at least 2. Take several times
            as many as there are segments.
        baseline: what hides, as `occlusion` takes it.
        seed: seed of the samples.

    Returns:
        Attribution with `values` of shape (batch, height, width), signed, in units of the score; details: segments (a number,
        "slic" or the name of the function), samples, baseline, seed, score, segment_count and fit, for each image the number
        of segments and the weighted share of variance that is explained, at most 1.

    Raises:
        InvalidArgument: if the model, images, target or one of the settings is not as above.
        MissingExtra: if lime is not installed.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        ... )
        >>> lime_weights(model, np.ones((2, 8, 8, 1)), target=1, segments=4, samples=50).values.shape
        (2, 8, 8)

    Source:
        Ribeiro et al. 2016, section 3.4, by the image explainer of lime with its kernel and its regression. Deviations: the
        score before the softmax; no choice among the segments.
    """
    require_seed(seed)
    scores = scores_of(model, images)
    require_whole_number("samples", samples, 2)
    segment, name = _segmentation(segments, *scores.images.shape[1:3])
    targets, pixels = scores.resolve_target(target), scores.pixels()
    neutral = np.asarray(neutral_images(baseline, pixels), np.float32)
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    values, counts, fits = np.zeros(pixels.shape[:3]), [], []
    with _lime() as library:
        for index, (image, hidden, label) in enumerate(zip(pixels, neutral, targets, strict=True)):
            # A generator for each image, so that none depends on the others.
            explainer = library.LimeImageExplainer(feature_selection="none", random_state=state)
            explainer.data_labels = partial(_sample, scores, explainer.random_state)
            found = explainer.explain_instance(
                image,
                None,
                labels=(int(label),),
                hide_color=hidden,
                top_labels=None,
                num_samples=int(samples),
                segmentation_fn=segment,
                random_seed=0,
            )
            weights = dict(found.local_exp[int(label)])
            values[index] = np.array([weights[number] for number in range(len(weights))])[found.segments]
            counts.append(len(weights))
            fits.append(float(found.score))
    details = {
        "segments": name,
        "samples": int(samples),
        "baseline": baseline_detail(baseline),
        "seed": seed,
        "score": scores.score_kind,
        "segment_count": counts,
        "fit": fits,
    }
    explained = Explained(model, partial(lime_weights, segments=segments, samples=samples, baseline=baseline, seed=seed))
    return Attribution(values, scores.images, targets, "lime_weights", details, explained=explained)


def _segmentation(segments: Any, height: int, width: int) -> tuple[Callable[[np.ndarray], np.ndarray], int | str]:
    """Return a function from an image to its segments, numbered from 0 without a gap, and the name of it."""
    if isinstance(segments, str) and segments == "slic":
        return lambda image: _numbered(_slic(image)), "slic"
    if isinstance(segments, int | np.integer) and not isinstance(segments, bool):
        try:
            grid = cell_grid(height, width, int(segments))
        except InvalidArgument as error:
            raise InvalidArgument(f"Expected segments to be a number of cells that fits. {error}") from None
        return lambda _: grid, int(segments)
    if not callable(segments):
        raise InvalidArgument(f"Expected segments to be a number of cells, 'slic' or a function; came {segments!r}.")

    def checked(image: np.ndarray) -> np.ndarray:
        found = np.asarray(segments(image.copy()))
        if found.shape != (height, width) or found.dtype.kind not in "biu":
            raise InvalidArgument(
                f"Expected a function segments that returns integers of shape {(height, width)}, the segment of each pixel; "
                f"came {found.dtype} of shape {found.shape}."
            )
        return _numbered(found)

    return checked, str(getattr(segments, "__name__", type(segments).__name__))


def _numbered(found: np.ndarray) -> np.ndarray:
    return np.asarray(np.unique(found, return_inverse=True)[1].reshape(found.shape))


def _slic(image: np.ndarray) -> np.ndarray:
    from skimage.segmentation import slic

    low, high = float(image.min()), float(image.max())
    scaled = (image.astype(np.float64) - low) / ((high - low) or 1.0)
    # skimage compares colours in CIELAB, which goes to 100, and other channels as they are, here from 0 to 1.
    compactness = 10.0 if image.shape[-1] == 3 else 0.1
    return np.asarray(slic(scaled, _SUPERPIXELS, compactness, channel_axis=-1, start_label=0))


def _sample(
    scores: Scores,
    rng: Any,
    image: np.ndarray,
    hidden: np.ndarray,
    segments: np.ndarray,
    _classifier: Any,
    samples: int,
    batch_size: int,  # noqa: ARG001
) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples as lime does, without its progress bar; return what is seen, and the scores of all classes."""
    seen = rng.randint(0, 2, samples * (segments.max() + 1)).reshape(samples, -1)
    seen[0] = 1
    answers = []
    for start in range(0, samples, scores.chunk):
        mask = (seen[start : start + scores.chunk] == 1)[:, segments][..., None]
        answers.append(scores.evaluate(np.where(mask, image, hidden)))
    return seen, np.concatenate(answers)


@contextmanager
def _lime() -> Iterator[Any]:
    """Yield the image part of lime without the warnings of its imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from lime import lime_image
        except ImportError:
            raise MissingExtra("lime", "explain") from None
    yield lime_image
