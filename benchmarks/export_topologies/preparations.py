"""Preprocessing layers: of pictures, numbers, text and sound."""

from typing import Any

import keras
import numpy as np
from keras import layers

from export_topologies.topology import Topology, on, single

__all__ = ["AUGMENTATION", "PREPROCESSING"]

PHOTO = (12, 10, 3)
PIXELS = {"value_range": (0.0, 255.0)}
NO_HASH = "no operator hashes"
WORDS = ["cat", "größer", "a dog"]


def refused(shape, body, reason, **settings):
    """Return a topology whose layer `culprit` the export must refuse."""
    return on(shape, body, refused=reason, **settings)


def adapted(x):
    """Return the output of a Normalization that has seen data."""
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
    return layer(x)


def crossed():
    """Return a model that hashes the pairs of two columns."""
    inputs = [keras.Input((1,), dtype="int32", name=name) for name in ("a", "b")]
    return keras.Model(inputs, layers.HashedCrossing(5, name="culprit")(inputs))


def of_bytes(x):
    """Return pictures scaled from bytes."""
    return layers.Conv2D(3, 3)(layers.Rescaling(1 / 255)(x))


PREPROCESSING = {
    "Rescaling": single(PHOTO, layers.Rescaling, 1 / 16, offset=-0.5),
    "Rescaling of bytes": on(PHOTO, of_bytes, dtype="uint8", value_range=(0, 255)),
    "Rescaling of each channel": single(PHOTO, layers.Rescaling, [0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]),
    "Normalization": single(PHOTO, layers.Normalization, mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5]),
    "Normalization, inverted": single(PHOTO, layers.Normalization, mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 0.5], invert=True),
    "Normalization, adapted": on((4,), adapted),
    "Resizing, bilinear": single(PHOTO, layers.Resizing, 7, 15),
    "Resizing, nearest": single(PHOTO, layers.Resizing, 7, 15, interpolation="nearest"),
    "Resizing, bicubic": single(PHOTO, layers.Resizing, 7, 15, interpolation="bicubic"),
    "Resizing, lanczos3": single(PHOTO, layers.Resizing, 7, 15, interpolation="lanczos3"),
    "Resizing, crop to the aspect": single(PHOTO, layers.Resizing, 8, 8, crop_to_aspect_ratio=True),
    "Resizing, pad to the aspect": single(PHOTO, layers.Resizing, 8, 8, pad_to_aspect_ratio=True),
    "Resizing of free sides": single((None, None, 3), layers.Resizing, 7, 15),
    "CenterCrop": single(PHOTO, layers.CenterCrop, 6, 5),
    "CenterCrop to more than there is": single(PHOTO, layers.CenterCrop, 16, 14),
    "CategoryEncoding, multi hot": on((4,), lambda x: layers.CategoryEncoding(6)(x), dtype="int32", value_range=(0, 5)),
    "CategoryEncoding, one hot": on(
        (1,), lambda x: layers.CategoryEncoding(6, output_mode="one_hot")(x), dtype="int32", value_range=(0, 5)
    ),
    "CategoryEncoding, count": on(
        (4,), lambda x: layers.CategoryEncoding(6, output_mode="count")(x), dtype="int32", value_range=(0, 5)
    ),
    "Discretization": single((4,), layers.Discretization, bin_boundaries=[-0.5, 0.0, 0.5]),
    "Discretization, one hot": single((1,), layers.Discretization, bin_boundaries=[-0.5, 0.0, 0.5], output_mode="one_hot"),
    "IntegerLookup": on(
        (4,), lambda x: layers.IntegerLookup(vocabulary=[7, 3, 5], name="culprit")(x), dtype="int64", value_range=(0, 9)
    ),
    "StringLookup": on((2,), lambda x: layers.StringLookup(vocabulary=WORDS)(x), dtype="string"),
    "StringLookup before Embedding": on(
        (2,), lambda x: layers.Embedding(4, 3)(layers.StringLookup(vocabulary=WORDS)(x)), dtype="string"
    ),
    "StringLookup, multi hot": on(
        (2,), lambda x: layers.StringLookup(vocabulary=WORDS, output_mode="multi_hot")(x), dtype="string"
    ),
    "StringLookup of known words": on(
        (2,), lambda x: layers.StringLookup(vocabulary=WORDS, num_oov_indices=0)(x), dtype="string"
    ),
    "StringLookup, unknown words spread": refused(
        (2,), lambda x: layers.StringLookup(vocabulary=WORDS, num_oov_indices=3, name="culprit")(x), NO_HASH, dtype="string"
    ),
    "TextVectorization": refused(
        (1,),
        lambda x: layers.TextVectorization(vocabulary=["a", "b"], name="culprit")(x),
        "no operator splits texts",
        dtype="string",
    ),
    "Hashing": refused((2,), lambda x: layers.Hashing(5, name="culprit")(x), NO_HASH, dtype="int32", value_range=(0, 9)),
    "STFTSpectrogram": single((400, 1), layers.STFTSpectrogram, frame_length=64, frame_step=32, fft_length=64),
    "MelSpectrogram": single(
        (400,),
        layers.MelSpectrogram,
        fft_length=64,
        sequence_stride=32,
        num_mel_bins=8,
        sampling_rate=800,
        min_freq=1,
        max_freq=400,
    ),
    "Pipeline": on(PHOTO, lambda x: layers.Pipeline([layers.Rescaling(1 / 255), layers.CenterCrop(6, 6)])(x), **PIXELS),
    "HashedCrossing": Topology(crossed, value_range=(0, 9), refused=NO_HASH),
}


def augmentation(layer: type, *arguments: Any, **settings: Any) -> Topology:
    """Return the topology of a layer of augmentation before a convolution."""
    return on(PHOTO, lambda x: layers.Conv2D(3, 3)(layers.Rescaling(1 / 255)(layer(*arguments, **settings)(x))), **PIXELS)


AUGMENTATION = {
    "AugMix": augmentation(layers.AugMix),
    "AutoContrast": augmentation(layers.AutoContrast),
    "ContrastLimitedAdaptiveHistogramEqualization": augmentation(
        layers.ContrastLimitedAdaptiveHistogramEqualization, tile_grid_size=(2, 2)
    ),
    "CutMix": augmentation(layers.CutMix),
    "Equalization": augmentation(layers.Equalization),
    "MixUp": augmentation(layers.MixUp),
    "RandAugment": augmentation(layers.RandAugment),
    "RandomBrightness": augmentation(layers.RandomBrightness, 0.5),
    "RandomColorDegeneration": augmentation(layers.RandomColorDegeneration, 0.5),
    "RandomColorJitter": augmentation(layers.RandomColorJitter, brightness_factor=0.5, hue_factor=0.5),
    "RandomContrast": augmentation(layers.RandomContrast, 0.5),
    "RandomCrop": augmentation(layers.RandomCrop, 8, 8),
    "RandomElasticTransform": augmentation(layers.RandomElasticTransform),
    "RandomErasing": augmentation(layers.RandomErasing),
    "RandomFlip": augmentation(layers.RandomFlip),
    "RandomGaussianBlur": augmentation(layers.RandomGaussianBlur),
    "RandomGrayscale": augmentation(layers.RandomGrayscale),
    "RandomHue": augmentation(layers.RandomHue, 0.5),
    "RandomInvert": augmentation(layers.RandomInvert),
    "RandomPerspective": augmentation(layers.RandomPerspective),
    "RandomPosterization": augmentation(layers.RandomPosterization, 4),
    "RandomRotation": augmentation(layers.RandomRotation, 0.2),
    "RandomSaturation": augmentation(layers.RandomSaturation, 0.5),
    "RandomSharpness": augmentation(layers.RandomSharpness, 0.5),
    "RandomShear": augmentation(layers.RandomShear, 0.2, 0.2),
    "RandomTranslation": augmentation(layers.RandomTranslation, 0.3, 0.3),
    "RandomZoom": augmentation(layers.RandomZoom, 0.3),
    "Solarization": augmentation(layers.Solarization, 0.5, threshold_factor=0.5),
}
