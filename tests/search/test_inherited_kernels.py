"""Kernels of another size, and channels that come from new layers."""

import keras
import pytest
from keras import layers
from preserving import preserves, scramble


@pytest.mark.parametrize(("old", "new", "strides", "side"), [(2, 3, 2, 7), (2, 3, 2, 8), (4, 5, 1, 8), (3, 6, 3, 8)])
def test_a_larger_kernel_stands_on_the_same_pixel(old, new, strides, side):
    def net(size):
        x = keras.Input((side, side, 1))
        y = layers.Conv2D(2, size, strides=strides, padding="same", name="conv")(x)
        return keras.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(y)))

    preserves(net(new), scramble(net(old)))


@pytest.mark.parametrize(("old", "new", "stride"), [(3, 4, 2), (2, 3, 1), (4, 5, 1), (1, 3, 2), (2, 5, 3)])
def test_a_larger_transposed_kernel_stands_on_the_same_pixel(old, new, stride):
    def net(size):
        x = keras.Input((5, 5, 1))
        y = layers.Conv2DTranspose(2, size, strides=stride, padding="same", name="up")(x)
        return keras.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(y)))

    preserves(net(new), scramble(net(old)))


def test_a_larger_causal_kernel_stands_on_its_last_place():
    def net(size):
        x = keras.Input((9, 2))
        y = layers.Conv1D(3, size, padding="causal", name="conv")(x)
        return keras.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(y)))

    preserves(net(5), scramble(net(3)))


def test_a_wider_network_with_a_new_wider_layer_computes_the_same():
    def net(width, new):
        x = keras.Input((4,))
        y = layers.Dense(width, "relu", name="first")(x)
        y = layers.Dense(new, "relu", name="new")(y) if new else y
        return keras.Model(x, layers.Dense(3, name="out")(y))

    preserves(net(24, 48), scramble(net(16, 0)))
