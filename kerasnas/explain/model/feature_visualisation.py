"""Feature visualisation: images that a feature, or a class, responds to most."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.class_activation import _choose
from kerasnas.explain.model.feature_images import FeatureImages
from kerasnas.explain.model.score_view import ScoreView, _functional
from kerasnas.explain.whole_number import require_seed, require_whole_number

__all__ = ["feature_visualisation"]

_RATE = 0.05  # of the first step, in shares of the range of a pixel; it falls to a tenth of this
_NOISE = np.linspace(0.1, 0.4, 16)  # standard deviations of the starts around the middle of the range, in shares of it
_EDGE = 0.1  # below this, differences of neighbours count less than in proportion, or smooth parts would flicker


def feature_visualisation(
    model: Any,
    layer: str | None,
    features: int | ArrayLike,
    *,
    at: str = "middle",
    low: float | ArrayLike = 0.0,
    high: float | ArrayLike = 1.0,
    steps: int = 200,
    jitter: int | None = None,
    smoothness: float = 0.1,
    restraint: float = 0.1,
    examples: ArrayLike | None = None,
    seed: int | None = 0,
) -> FeatureImages:
    """Make an image for each feature that excites it, by gradient ascent from noise on the pixels.

    With s in [0, 1] for a pixel from `low` to `high`, a step goes to s + rate * (g / rms(g) - d R / d s), clipped, where g is
    the gradient of the activation by s, taken at the image shifted at random by a few pixels; rms is over the pixels that have
    a gradient, and R = `smoothness` * (total variation) + `restraint` * sum of (s - 1/2)^2. Without R and the shifts, the
    image is often a noise that excites the feature but shows nothing. It shows one thing that excites the feature, which may
    respond to others as well: look at `examples` too.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        layer: name or path of a layer with a feature map, as `activation_maps` takes it; None for the scores of classes,
            before the softmax.
        features: number of a feature of the layer, or of a class, or several of them.
        at: "middle" for the position in the middle of the feature map, which shows the pattern that the feature looks for, or
            "everywhere" for the mean over the positions, which shows the texture that it likes. Classes have no positions.
        low: the least that a pixel may be: a number, or one for each channel; in the units of the model's images.
        high: the most that a pixel may be, more than `low`.
        steps: at least 1.
        jitter: the most pixels by which the image is shifted along each axis, at least 0 and less than its smaller side;
            what leaves it comes in on the other side. None: a sixteenth of the smaller side.
        smoothness: weight of the total variation, at least 0.
        restraint: weight of the square of the distance from the middle of the range, at least 0.
        examples: images of shape (n, height, width, channels) to compare with. Of a model that takes images of any size, the
            image gets theirs.
        seed: seed of the shifts, and of the noises, of which each feature starts at the first that it has a gradient for.

    Raises:
        InvalidArgument: if one of the arguments is not as above.

    Example:
        >>> import keras
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, name="conv"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3),
        ... ])
        >>> found = feature_visualisation(model, "conv", [0, 2], steps=5)
        >>> found.images.shape, found.curve.shape
        ((2, 8, 8, 1), (2, 5))

    Source:
        Olah et al. 2017 (Feature Visualization), the objectives and the regularisers of its sections on optimisation and on
        frequency penalties. Deviation: pixels with clipping instead of a Fourier basis.
    """
    view = _view(model, examples)
    size = view.images.shape[1:]
    path = None if layer is None else _choose(view.spatial_layers, layer)
    measure = _measure(view, path, at)
    numbers = _numbers(features, int(measure(view.images[:1].astype(np.float32)).shape[-1]), path)
    floor, ceiling = _range(low, high, size[-1])
    _check(steps, smoothness, restraint)
    reach = _reach(jitter, min(size[:2]))
    ascend = _ascend(measure, (smoothness, restraint), floor, ceiling, size)

    require_seed(seed)
    rng = np.random.default_rng(seed)
    noises = [np.clip(0.5 + spread * rng.standard_normal(size), 0, 1).astype(np.float32) for spread in _NOISE]
    shifts = rng.integers(-reach, reach + 1, (steps, 2)).astype(np.int32)
    rates = np.linspace(_RATE, _RATE / 10, steps, dtype=np.float32)
    images, starts = np.empty((2, len(numbers), *size), np.float32)
    curve, responded = np.empty((len(numbers), steps)), np.zeros(len(numbers), bool)
    for first in range(0, len(numbers), view.chunk):
        part = slice(first, first + view.chunk)
        shares = _starts(ascend, noises, numbers[part])
        starts[part] = floor + shares * (ceiling - floor)
        for step, (shift, rate) in enumerate(zip(shifts, rates, strict=True)):
            activations, way, alive = ascend(shares, shift, numbers[part])
            shares = np.clip(shares + rate * way, 0, 1)
            curve[part, step] = activations
            responded[part] |= alive
        images[part] = floor + shares * (ceiling - floor)

    def activations_of(x: np.ndarray) -> np.ndarray:
        parts = [np.asarray(measure(x[i : i + view.chunk])) for i in range(0, len(x), view.chunk)]
        return np.concatenate(parts)[:, numbers].astype(np.float64)

    return FeatureImages(
        images=images,
        features=numbers,
        layer=path,
        reached=np.diagonal(activations_of(images)).copy(),
        start=np.diagonal(activations_of(starts)).copy(),
        examples=None if examples is None else activations_of(view.pixels()).T.copy(),
        curve=curve,
        responded=responded,
        low=floor,
        high=ceiling,
    )


def _view(model: Any, examples: ArrayLike | None) -> ScoreView:
    if examples is not None:
        return ScoreView(model, examples)
    shape = tuple(_functional(model).inputs[0].shape[1:])
    if len(shape) == 3 and None in shape:
        raise InvalidArgument(f"Expected examples, since the model takes images of any size, {shape}; none came. Pass some.")
    return ScoreView(model, np.zeros((1, *shape), np.float32))


def _measure(view: ScoreView, path: str | None, at: str) -> Callable[[Any], Any]:
    """Return a function from images to the activations of all features, shape (n, features)."""
    import keras

    if at not in ("everywhere", "middle"):
        raise InvalidArgument(f"Expected at to be 'everywhere' or 'middle'; came {at!r}.")

    def measure(x: Any) -> Any:
        if path is None:
            return view.score(x)
        maps = keras.ops.cast(view.score(x, path)[0], "float32")
        rows, columns = maps.shape[1:3]
        return keras.ops.mean(maps, axis=(1, 2)) if at == "everywhere" else maps[:, rows // 2, columns // 2]

    return measure


def _starts(ascend: Callable[..., Any], noises: list[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Return the first noise for each feature for which it has a gradient, as it has none where a ReLU is closed."""
    chosen, closed = np.repeat(noises[0][None], len(numbers), axis=0), np.ones(len(numbers), bool)
    for noise in noises:
        chosen[closed] = noise
        closed &= ~ascend(chosen, np.zeros(2, np.int32), numbers)[2]
        if not closed.any():
            break
    return chosen


def _ascend(
    measure: Callable[[Any], Any], weights: tuple[float, float], low: np.ndarray, high: np.ndarray, size: tuple[int, ...]
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return a function (shares, shift, numbers) -> (activations, the way of a step, whether there is a gradient)."""
    import tensorflow as tf

    smoothness, restraint = (tf.constant(weight, tf.float32) for weight in weights)

    def run(shares: Any, shift: Any, numbers: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(shares)
            images = tf.roll(low + shares * (high - low), shift, axis=[1, 2])
            activations = tf.gather(measure(images), numbers, axis=1, batch_dims=1)
        gradient = tape.gradient(activations, shares, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        with tf.GradientTape() as tape:
            tape.watch(shares)
            down, across = shares[:, 1:] - shares[:, :-1], shares[:, :, 1:] - shares[:, :, :-1]
            variation = sum(tf.reduce_sum(tf.sqrt(step**2 + _EDGE**2)) for step in (down, across))
            penalty = smoothness * variation + restraint * tf.reduce_sum((shares - 0.5) ** 2)
        touched = tf.math.count_nonzero(gradient, axis=[1, 2, 3], keepdims=True, dtype=tf.float32)
        largest = tf.reduce_max(tf.abs(gradient), axis=[1, 2, 3], keepdims=True)
        scaled = tf.math.divide_no_nan(gradient, largest)  # the square of a small gradient would be zero
        norm = tf.sqrt(tf.math.divide_no_nan(tf.reduce_sum(scaled**2, axis=[1, 2, 3], keepdims=True), touched))
        return activations, tf.math.divide_no_nan(scaled, norm) - tape.gradient(penalty, shares), touched[:, 0, 0, 0] > 0

    specs = [tf.TensorSpec((None, *size), tf.float32), tf.TensorSpec((2,), tf.int32), tf.TensorSpec((None,), tf.int64)]
    compiled = tf.function(run, input_signature=specs).get_concrete_function()
    return lambda *values: tuple(np.asarray(one) for one in compiled(*map(tf.constant, values)))


def _numbers(features: Any, count: int, path: str | None) -> np.ndarray:
    numbers = np.atleast_1d(np.asarray(features))
    of = "classes of the model" if path is None else f"features of layer {path!r}"
    bad = numbers.dtype.kind not in "iu" or numbers.ndim != 1 or numbers.size == 0
    if bad or numbers.min() < 0 or numbers.max() >= count:
        raise InvalidArgument(
            f"Expected features to be one or more of the {count} {of}, from 0 to {count - 1}; came {features!r}."
        )
    return numbers.astype(np.int64)


def _range(low: Any, high: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    ends = [np.asarray(end) for end in (low, high)]
    if any(end.dtype.kind not in "iuf" or end.shape not in ((), (channels,)) or not np.all(np.isfinite(end)) for end in ends):
        raise InvalidArgument(
            f"Expected low and high to be finite, one number or {channels}, one a channel; came {low!r}, {high!r}."
        )
    floor, ceiling = (np.broadcast_to(end, (channels,)).astype(np.float32) for end in ends)
    if not np.all(floor < ceiling):
        raise InvalidArgument(f"Expected low to be less than high; came {low!r} and {high!r}.")
    return floor, ceiling


def _check(steps: Any, smoothness: Any, restraint: Any) -> None:
    require_whole_number("steps", steps, 1)
    for name, weight in (("smoothness", smoothness), ("restraint", restraint)):
        if not isinstance(weight, int | float | np.number) or isinstance(weight, bool) or not 0 <= weight < np.inf:
            raise InvalidArgument(f"Expected {name} to be a number of at least 0; came {weight!r}.")


def _reach(jitter: Any, side: int) -> int:
    if jitter is None:
        return side // 16
    if not isinstance(jitter, int | np.integer) or isinstance(jitter, bool) or not 0 <= jitter < side:
        raise InvalidArgument(f"Expected jitter to be None or a number of pixels from 0 to {side - 1}; came {jitter!r}.")
    return int(jitter)
