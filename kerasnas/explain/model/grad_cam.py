"""Grad-CAM: the feature maps of a convolution, weighed by what they do for a class."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.score_view import ScoreView, SpatialLayer

__all__ = ["grad_cam"]


def grad_cam(model: Any, images: ArrayLike, *, target: int | ArrayLike | None = None, layer: str | None = None) -> Attribution:
    """Map where the features of one layer speak for a class.

    L = ReLU(sum_k a_k A^k) with a_k = mean over positions of d score / d A^k, where A^k are the feature maps of `layer`
    and the score is taken before the softmax; the map is enlarged to the image bilinearly. One backward pass per image.
    The map is as coarse as the layer: a pixel's value speaks for its neighbourhood.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class. A model with
            one output unit z has class 0 with score -z and class 1 with score z.
        layer: name of a layer with a feature map, "backbone/name" inside a nested model. None takes the feature map of
            the last convolution-like layer (one with a kernel of four axes), after the normalisations, activations and
            merges that follow it at the same height and width.

    Returns:
        Attribution with `values` of shape (batch, height, width), >= 0, in units of the score; details: layer, score.

    Raises:
        InvalidArgument: if the model, images, target or layer are not as above, or if the model has no feature map.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((8, 8, 1)),
        ...         keras.layers.Conv2D(4, 3, activation="relu"),
        ...         keras.layers.GlobalAveragePooling2D(),
        ...         keras.layers.Dense(3, activation="softmax"),
        ...     ]
        ... )
        >>> grad_cam(model, np.ones((2, 8, 8, 1)), target=1).values.shape
        (2, 8, 8)

    Source:
        Selvaraju et al. 2017, equations 1 and 2, by the primitives of tf-explain. Deviations: the feature map is taken
        after the activation and merge that follow the convolution, as Zhou et al. 2016 do for CAM.
    """
    view = ScoreView(model, images)
    chosen = _choose(view.spatial_layers, layer)
    targets = view.resolve_target(target)
    values = np.zeros(view.images.shape[:3], np.float32)
    for start in range(0, len(values), view.chunk):
        pixels = view.pixels(start, start + view.chunk)
        for label in np.unique(targets[start : start + view.chunk]):
            rows = np.flatnonzero(targets[start : start + view.chunk] == label)
            values[start + rows] = _maps(view, chosen, pixels[rows], int(label))
    details = {"layer": chosen, "score": view.score_kind}
    return Attribution(values=values, images=view.images, targets=targets, method="grad_cam", details=details)


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


def _maps(view: ScoreView, layer: str, pixels: np.ndarray, label: int) -> np.ndarray:
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
    cams = tf.nn.relu(tf.stack(GradCAM.generate_ponderated_output(maps, gradients)))  # equation 2
    return np.asarray(tf.image.resize(cams[..., None], pixels.shape[1:3], method="bilinear"))[..., 0]
