"""The building blocks of convolutional search spaces; plain functions from tensor to tensor."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

__all__ = ["BLOCKS", "LAST", "BlockStyle", "block", "pool", "squeeze_excite"]

BLOCKS = ("conv", "separable", "inverted_residual", "residual")

# Pictures are channels last whatever Keras is set to: a user's `image_data_format` would take a row for a channel.
LAST = "channels_last"


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of one network share: an activation, a normalisation ("batch", "layer", "none") and an L2 weight."""

    activation: str
    normalization: str
    l2: float

    @property
    def regularizer(self) -> keras.regularizers.Regularizer | None:
        """A fresh L2 penalty, or None for a weight of zero."""
        return keras.regularizers.L2(self.l2) if self.l2 else None

    def normalize(self, x: Any, name: str) -> Any:
        """Apply the normalisation."""
        if self.normalization == "batch":
            # The default momentum, 0.99, needs some 500 steps before validation means anything: short trials would lose.
            return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        if self.normalization == "layer":
            return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
        return x

    def finish(self, x: Any, name: str) -> Any:
        """Apply normalisation and activation."""
        return layers.Activation(self.activation, name=f"{name}_act")(self.normalize(x, name))

    def conv(self, x: Any, filters: int, kernel: int, name: str) -> Any:
        """Apply a convolution that keeps height and width."""
        return layers.Conv2D(
            filters,
            kernel,
            padding="same",
            data_format=LAST,
            use_bias=self.normalization != "batch",
            kernel_regularizer=self.regularizer,
            name=name,
        )(x)


def block(x: Any, kind: str, filters: int, kernel: int, *, style: BlockStyle, squeeze: bool, skip: bool, name: str) -> Any:
    """Apply one block of `filters` channels; height and width are kept.

    conv: convolution. separable: depthwise then pointwise convolution. residual: two convolutions and a shortcut (He et al.
    2015). inverted_residual: expand fourfold, depthwise, project, a shortcut where the channels match (Sandler et al. 2018).
    `skip` gives the first two a shortcut as well; `squeeze` adds squeeze-and-excitation before the shortcut is added.
    """
    shortcut = x
    if kind == "conv":
        x = style.finish(style.conv(x, filters, kernel, name), name)
    elif kind == "separable":
        x = _depthwise(x, kernel, style, name)
        x = style.finish(style.conv(x, filters, 1, f"{name}_pointwise"), f"{name}_pointwise")
    elif kind == "residual":
        x = style.finish(style.conv(x, filters, kernel, f"{name}_a"), f"{name}_a")
        x = style.normalize(style.conv(x, filters, kernel, f"{name}_b"), f"{name}_b")
    elif kind == "inverted_residual":
        x = style.finish(style.conv(x, 4 * int(x.shape[-1]), 1, f"{name}_expand"), f"{name}_expand")
        x = style.finish(_depthwise(x, kernel, style, name), f"{name}_depthwise")
        x = style.normalize(style.conv(x, filters, 1, f"{name}_project"), f"{name}_project")
    else:
        raise ValueError(f"Expected a block kind of {BLOCKS}, got {kind!r}.")
    if squeeze:
        x = squeeze_excite(x, name=name)
    if kind == "residual" or (skip and kind in ("conv", "separable")):
        if shortcut.shape[-1] != filters:
            shortcut = style.conv(shortcut, filters, 1, f"{name}_shortcut")
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    elif kind == "inverted_residual" and shortcut.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    if kind == "residual":
        x = layers.Activation(style.activation, name=f"{name}_out")(x)
    return x


def squeeze_excite(x: Any, *, ratio: int = 4, name: str) -> Any:
    """Weigh each channel by a gate computed from all channel means (Hu et al. 2018)."""
    channels = int(x.shape[-1])
    gate = layers.GlobalAveragePooling2D(LAST, keepdims=True, name=f"{name}_squeeze")(x)
    gate = layers.Conv2D(max(channels // ratio, 4), 1, data_format=LAST, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Conv2D(channels, 1, data_format=LAST, activation="sigmoid", name=f"{name}_excite")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def pool(x: Any, kind: str, size: int, *, style: BlockStyle, name: str) -> Any:
    """Halve height and width by "max" or "average" pooling over `size` pixels, or by a strided convolution ("stride").

    A picture that is one pixel high or wide is left as it is.
    """
    if min(x.shape[1], x.shape[2]) < 2:
        return x
    if kind == "stride":
        conv = layers.Conv2D(
            int(x.shape[-1]),
            size,
            strides=2,
            padding="same",
            data_format=LAST,
            kernel_regularizer=style.regularizer,
            name=f"{name}_conv",
        )
        return layers.Activation(style.activation, name=f"{name}_act")(conv(x))
    pooling = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[kind]
    return pooling(size, strides=2, padding="same", data_format=LAST, name=name)(x)


def _depthwise(x: Any, kernel: int, style: BlockStyle, name: str) -> Any:
    bias = style.normalization != "batch"
    return layers.DepthwiseConv2D(kernel, padding="same", data_format=LAST, use_bias=bias, name=f"{name}_dw")(x)
