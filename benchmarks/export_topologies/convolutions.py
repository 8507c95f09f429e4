"""Convolutions of every kind, and pooling."""

from keras import layers

from export_topologies.topology import on, single

__all__ = ["CONVOLUTIONS"]

ROW, IMAGE, CUBE = (12, 4), (9, 8, 4), (6, 6, 6, 4)
# What TensorFlow runs on the CPU only through oneDNN.
ONEDNN = {"needs_onednn": True}

CONVOLUTIONS = {
    "Conv1D": single(ROW, layers.Conv1D, 6, 3),
    "Conv1D, causal and dilated": single(ROW, layers.Conv1D, 6, 3, padding="causal", dilation_rate=2),
    "Conv1D, strided, same": single(ROW, layers.Conv1D, 6, 3, strides=2, padding="same"),
    "Conv1D, grouped": single(ROW, layers.Conv1D, 6, 3, groups=2),
    "Conv2D": single(IMAGE, layers.Conv2D, 6, 3),
    "Conv2D, strided, same": single(IMAGE, layers.Conv2D, 6, 3, strides=2, padding="same"),
    "Conv2D, dilated": single(IMAGE, layers.Conv2D, 6, 3, dilation_rate=(2, 1), padding="same"),
    "Conv2D, kernel of even sides": single(IMAGE, layers.Conv2D, 6, (2, 4), padding="same", activation="relu"),
    "Conv2D, grouped": single(IMAGE, layers.Conv2D, 8, 3, groups=4),
    "Conv2D, grouped, strided, same": single(IMAGE, layers.Conv2D, 8, 3, groups=2, strides=2, padding="same", use_bias=False),
    "Conv2D, grouped, dilated": single(IMAGE, layers.Conv2D, 8, 3, groups=2, dilation_rate=2),
    "Conv2D without bias, hard sigmoid": single(IMAGE, layers.Conv2D, 6, 3, use_bias=False, activation="hard_sigmoid"),
    "Conv2D, free sides": single((None, None, 4), layers.Conv2D, 6, 3, strides=2, padding="same"),
    # As many filters as the output is wide, and Keras 3.15 adds the bias along the width (`add` in its backend for TensorFlow).
    "Conv2D, channels first": on(
        (4, 9, 8), lambda x: layers.Conv2D(5, 3, data_format="channels_first", name="culprit")(x), **ONEDNN
    ),
    "Conv3D": single(CUBE, layers.Conv3D, 5, 3),
    "Conv3D, strided, same": single(CUBE, layers.Conv3D, 5, 3, strides=2, padding="same"),
    "Conv3D, grouped": single(CUBE, layers.Conv3D, 6, 3, groups=2),
    "DepthwiseConv1D": single(ROW, layers.DepthwiseConv1D, 3, depth_multiplier=2),
    "DepthwiseConv2D": single(IMAGE, layers.DepthwiseConv2D, 3),
    "DepthwiseConv2D, strided, two for each channel": single(
        IMAGE, layers.DepthwiseConv2D, 3, strides=2, padding="same", depth_multiplier=2
    ),
    "DepthwiseConv2D, dilated": single(IMAGE, layers.DepthwiseConv2D, 3, dilation_rate=2),
    "SeparableConv1D": single(ROW, layers.SeparableConv1D, 6, 3),
    "SeparableConv2D": single(IMAGE, layers.SeparableConv2D, 6, 3, strides=2, padding="same", activation="silu"),
    "Conv1DTranspose": single(ROW, layers.Conv1DTranspose, 6, 3, strides=2, padding="same"),
    "Conv2DTranspose": single(IMAGE, layers.Conv2DTranspose, 6, 3),
    "Conv2DTranspose, strided, same": single(IMAGE, layers.Conv2DTranspose, 6, 3, strides=2, padding="same"),
    "Conv2DTranspose, output padding": single(IMAGE, layers.Conv2DTranspose, 6, 3, strides=2, output_padding=1),
    "Conv2DTranspose, dilated": on(IMAGE, lambda x: layers.Conv2DTranspose(6, 3, dilation_rate=2, name="culprit")(x), **ONEDNN),
    "Conv3DTranspose": single(CUBE, layers.Conv3DTranspose, 4, 3, strides=2, padding="same"),
    "MaxPooling1D": single(ROW, layers.MaxPooling1D, 3, padding="same"),
    "MaxPooling2D": single(IMAGE, layers.MaxPooling2D, 3, strides=2, padding="same"),
    "MaxPooling3D": single(CUBE, layers.MaxPooling3D, 2),
    "AveragePooling1D": single(ROW, layers.AveragePooling1D, 3, padding="same"),
    "AveragePooling2D": single(IMAGE, layers.AveragePooling2D, 3, strides=2, padding="same"),
    "AveragePooling3D": single(CUBE, layers.AveragePooling3D, 2),
    "GlobalMaxPooling1D": single(ROW, layers.GlobalMaxPooling1D),
    "GlobalMaxPooling2D": single(IMAGE, layers.GlobalMaxPooling2D),
    "GlobalMaxPooling3D": single(CUBE, layers.GlobalMaxPooling3D),
    "GlobalAveragePooling1D": single(ROW, layers.GlobalAveragePooling1D),
    "GlobalAveragePooling2D": single(IMAGE, layers.GlobalAveragePooling2D, keepdims=True),
    "GlobalAveragePooling3D": single(CUBE, layers.GlobalAveragePooling3D),
    "AdaptiveMaxPooling1D": single(ROW, layers.AdaptiveMaxPooling1D, 5),
    "AdaptiveMaxPooling2D": single(IMAGE, layers.AdaptiveMaxPooling2D, (4, 3)),
    "AdaptiveMaxPooling3D": single(CUBE, layers.AdaptiveMaxPooling3D, (2, 4, 3)),
    "AdaptiveAveragePooling1D": single(ROW, layers.AdaptiveAveragePooling1D, 5),
    "AdaptiveAveragePooling2D": single(IMAGE, layers.AdaptiveAveragePooling2D, (4, 3)),
    "AdaptiveAveragePooling3D": single(CUBE, layers.AdaptiveAveragePooling3D, (2, 4, 3)),
}
