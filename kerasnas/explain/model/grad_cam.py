"""Grad-CAM: the feature maps of a convolution, weighed by what they do for a class."""

from functools import partial
from typing import Any

from numpy.typing import ArrayLike

from kerasnas.explain.model.attribution import Attribution, Explained
from kerasnas.explain.model.class_activation import class_activation_maps

__all__ = ["grad_cam"]


def grad_cam(model: Any, images: ArrayLike, *, target: int | ArrayLike | None = None, layer: str | None = None) -> Attribution:
    """Map where the features of one layer speak for a class.

    L = ReLU(sum_k a_k A^k) with a_k = mean over positions of d score / d A^k, where A^k are the feature maps of `layer`
    and the score is taken before the softmax; the map is enlarged to the image by cubic convolution. One backward pass per
    image. The map is as coarse as the layer: a pixel's value speaks for its neighbourhood.

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
    maps = class_activation_maps(model, images, target=target, layer=layer, weigh=_ponderate)
    explained = Explained(model, partial(grad_cam, layer=layer))  # another model may have other names
    return Attribution(maps.values, maps.images, maps.targets, "grad_cam", maps.details, explained=explained)


def _ponderate(features: Any, gradients: Any) -> Any:
    import tensorflow as tf
    from tf_explain.core.grad_cam import GradCAM

    return tf.stack(GradCAM.generate_ponderated_output(features, gradients))  # equation 2
