"""The memory of the tensors between layers."""

import math
import re
from typing import Any

import keras
from keras import layers

from kerasnas.cost.graph import Graph, Tensor

__all__ = ["AUGMENTATION", "is_view", "peak_activation_bytes"]

# Augmentation that leaves the pictures as they are at inference; not every Keras has all of it. RandomCrop gives another
# size, and AutoContrast works at inference, too.
# Layers that change pictures in training alone.
AUGMENTATION = (
    "AugMix CutMix MixUp RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast "
    "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert "
    "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation "
    "RandomZoom Solarization"
).split()
_VIEWS = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.Reshape,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    *(getattr(layers, name) for name in AUGMENTATION if hasattr(layers, name)),
)
_VIEW_OPERATIONS = {"ExpandDims", "Identity", "Ravel", "Reshape", "Squeeze"}  # of keras.ops, by class name


def peak_activation_bytes(graph: Graph) -> int:
    """Return the largest sum of the sizes of the tensors alive at once, bytes for one sample.

    Args:
        graph: with shapes that are fixed but for the batch.
    """
    holder = {tensor.number: tensor.number for tensor in graph.inputs}  # tensor -> the tensor whose memory it lies in
    size = {tensor.number: size_bytes(tensor) for tensor in graph.inputs}
    last_read = dict.fromkeys(holder, -1)
    for step, call in enumerate(graph.calls):
        for tensor in call.inputs:
            last_read[holder[tensor.number]] = step
        view = is_view(call.operation) and len(call.outputs) == 1 == len(call.inputs)
        for tensor in call.outputs:
            if view and size_bytes(tensor) == size_bytes(call.inputs[0]):
                holder[tensor.number] = holder[call.inputs[0].number]
            else:
                holder[tensor.number] = tensor.number
                size[tensor.number] = size_bytes(tensor)
                last_read[tensor.number] = step
    for tensor in graph.outputs:
        last_read[holder[tensor.number]] = len(graph.calls)

    freed: dict[int, int] = {}
    for number, step in last_read.items():
        freed[step] = freed.get(step, 0) + size[number]
    live = peak = sum(size[tensor.number] for tensor in graph.inputs)
    live -= freed.get(-1, 0)
    for step, call in enumerate(graph.calls):
        live += sum(size[tensor.number] for tensor in call.outputs if holder[tensor.number] == tensor.number)
        peak = max(peak, live)
        live -= freed.get(step, 0)
    return peak


def size_bytes(tensor: Tensor) -> int:
    """Return the memory of one sample of a tensor; text counts as one pointer an element."""
    elements = math.prod(length or 0 for length in tensor.shape[1:])
    bits = re.search(r"\d+", tensor.dtype)
    return elements * (1 if tensor.dtype == "bool" else int(bits.group()) // 8 if bits else 8)


def is_view(operation: Any) -> bool:
    """Return whether a layer or an operation of keras.ops changes nothing but the shape at inference."""
    if isinstance(operation, keras.Layer):
        return isinstance(operation, _VIEWS)
    return type(operation).__name__ in _VIEW_OPERATIONS
