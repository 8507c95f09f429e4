"""Grad-CAM++: Grad-CAM whose weights favour the places where a feature helps the class."""

from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.class_activation import class_activation_maps

__all__ = ["grad_cam_plus_plus"]


def grad_cam_plus_plus(
    model: Any, images: ArrayLike, *, target: int | ArrayLike | None = None, layer: str | None = None
) -> Attribution:
    """Map where the features of one layer speak for a class, several objects of the class included.

    L = ReLU(sum_k w_k A^k) with w_k = sum over positions of alpha_k ReLU(g_k), g_k = d score / d A^k and
    alpha_k = g_k^2 / (2 g_k^2 + sum(A^k) g_k^3): the paper's weights for the exponential of the score, whose own factor is the
    same for all features of an image and is left out. A feature that hurts the class anywhere counts where it helps.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        target: the class to explain for all images, one class per image, or None for the predicted class.
        layer: name of a layer with a feature map, as `grad_cam` takes it; None for the one that `grad_cam` takes.

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
        >>> grad_cam_plus_plus(model, np.ones((2, 8, 8, 1)), target=1).values.shape
        (2, 8, 8)

    Source:
        Chattopadhay et al. 2018, equations 5, 12 and 19. Deviation: sum(A^k) is taken as 0 where it is negative, which
        features after a ReLU never are.
    """
    maps = class_activation_maps(model, images, target=target, layer=layer, weigh=_weigh)
    explained = Explained(model, partial(grad_cam_plus_plus, layer=layer))  # another model may have other names
    return Attribution(maps.values, maps.images, maps.targets, "grad_cam_plus_plus", maps.details, explained=explained)


def _weigh(features: Any, gradients: Any) -> Any:
    import tensorflow as tf

    helps = tf.nn.relu(gradients)
    total = tf.nn.relu(tf.reduce_sum(features, axis=(1, 2), keepdims=True))
    alpha = 1 / (2 + total * helps)  # equation 19, divided by g^2; where g <= 0 it does not count
    weights = tf.reduce_sum(alpha * helps, axis=(1, 2), keepdims=True)  # equation 12
    return tf.reduce_sum(weights * features, axis=-1)  # equation 5, before its ReLU
