"""Class activation maps: the feature maps of a layer, weighed and added."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.score_view import ScoreView, SpatialLayer

__all__ = ["ClassActivation", "class_activation_maps"]


class ClassActivation(NamedTuple):
    """Maps of shape (batch, height, width), >= 0, and what they were made of."""

    values: np.ndarray
    images: np.ndarray
    targets: np.ndarray
    details: dict[str, Any]


def class_activation_maps(
    model: Any,
    images: ArrayLike,
    *,
    target: int | ArrayLike | None,
    layer: str | None,
    weigh: Callable[[Any, Any], Any],
) -> ClassActivation:
    """Add up the feature maps of a layer, leave out what is negative, and enlarge the result to the image by cubic convolution.

    Args:
        model: see `grad_cam`.
        images: see `grad_cam`.
        target: see `grad_cam`.
        layer: see `grad_cam`.
        weigh: takes the feature maps and the gradient of the score by them, both of shape (n, rows, columns, features), and
            returns their weighed sum, shape (n, rows, columns).

    Raises:
        InvalidArgument: see `grad_cam`.
    """
    view = ScoreView(model, images)
    chosen = _choose(view.spatial_layers, layer)
    targets = view.resolve_target(target)
    values = np.zeros(view.images.shape[:3], np.float32)
    for start in range(0, len(values), view.chunk):
        pixels = view.pixels(start, start + view.chunk)
        for label in np.unique(targets[start : start + view.chunk]):
            rows = np.flatnonzero(targets[start : start + view.chunk] == label)
            values[start + rows] = _maps(view, chosen, pixels[rows], int(label), weigh)
    details = {"layer": chosen, "score": view.score_kind}
    return ClassActivation(values, view.images, targets, details)


def _choose(layers: tuple[SpatialLayer, ...], name: str | None) -> str:
    paths = [layer.path for layer in layers]
    convolutions = [index for index, layer in enumerate(layers) if layer.convolutional]
    if name is not None:
        matches = sorted({path for path in paths if path == name or path.rpartition("/")[2] == name})
        if name in matches or len(matches) == 1:
            return name if name in matches else matches[0]
        raise InvalidArgument(
            f"Expected layer to name one layer with a feature map; came {name!r}. Choose from: {', '.join(paths) or 'none'}."
        )
    if not convolutions:
        raise InvalidArgument(
            "Expected a model with a convolution whose output is (batch, height, width, features) with more than one "
            f"position; none came (layers with such an output: {', '.join(paths) or 'none'}). "
            "Name one of these as layer, or use occlusion, which works with any model."
        )
    last = layers[convolutions[-1]]
    alike = [x for x in layers[convolutions[-1] :] if (x.height, x.width) == (last.height, last.width)]
    return alike[-1].path


def _maps(view: ScoreView, layer: str, pixels: np.ndarray, label: int, weigh: Callable[[Any, Any], Any]) -> np.ndarray:
    import tensorflow as tf
    from tf_explain.core.grad_cam import GradCAM

    if tf.keras.Model is not keras.Model:
        raise InvalidArgument(
            "Expected tf.keras to be Keras 3; Keras 2 came, since TF_USE_LEGACY_KERAS was set when TensorFlow was "
            "first used. Explain in a process where it is not set."
        )
    # tf-explain wants a model with these four names. Its own way fails on Sequential and nested models and explains
    # probabilities (https://github.com/sicara/tf-explain); the view gives it scores, and the feature map as an output.
    start = keras.Input(pixels.shape[1:], dtype="float32")
    features, scores = keras.layers.Lambda(lambda x: view.score(x, layer), dtype="float32")(start)
    shown = SimpleNamespace(inputs=start, output=scores, get_layer=lambda _: SimpleNamespace(output=features))
    maps, gradients = GradCAM.get_gradients_and_filters(shown, pixels, layer, label, use_guided_grads=False)
    if gradients is None:
        raise InvalidArgument(f"Expected a layer that the score depends on by a gradient; came {layer!r}. Choose another.")
    cams = tf.nn.relu(weigh(maps, gradients))
    # Keys 1981. It overshoots beside a peak: once more without what is negative. Where nothing is marked it marks nothing.
    large = tf.image.resize(cams[..., None], pixels.shape[1:3], method="bicubic")
    return np.asarray(tf.nn.relu(large))[..., 0]
