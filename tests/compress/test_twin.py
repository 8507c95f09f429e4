"""The twin computes and trains as the Keras 3 model does, whatever the layers."""

import keras
import numpy as np
import pytest

from kerasnas.compress.clone import clone_trained
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.compress.twin import build_twin
from kerasnas.errors import InvalidArgument

layers = keras.layers


class Doubled(layers.Layer):
    """A custom layer that no registry knows."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return 2 * x * self.scale


def squeeze_excite(x):
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(layers.Conv2D(2, 1, activation="swish")(s))
    return layers.Multiply()([x, s])


def convolutions(x):
    x = layers.Conv2D(8, 3, padding="same", kernel_regularizer="l2")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("gelu")(x)
    x = layers.DepthwiseConv2D(3, depthwise_constraint="max_norm")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", activation="elu")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    return layers.LeakyReLU()(x)


def residual(x):
    a = layers.Conv2D(4, 1)(x)
    b = layers.GroupNormalization(2)(layers.Conv2D(4, 3, padding="same")(a))
    x = layers.Concatenate()([layers.Add()([a, b]), layers.AveragePooling2D(2, 1, "same")(a)])
    x = layers.LayerNormalization()(squeeze_excite(x))
    return layers.Activation("hard_swish")(layers.MaxPooling2D(2)(x))


def preprocessing(x):
    x = layers.Normalization(mean=[0.3], variance=[0.2])(layers.Rescaling(2.0, -0.5)(x))
    return layers.Conv2D(4, 3)(layers.Reshape((8, 8, 1))(layers.Flatten()(x)))


def shared_and_nested(x):
    conv = layers.Conv2D(4, 3, padding="same", activation="relu")
    block_input = layers.Input((8, 8, 4))
    block = keras.Model(block_input, layers.Conv2D(4, 1)(block_input), name="block")
    x = conv(block(conv(block(layers.Conv2D(4, 1)(x)))))
    return keras.Sequential([layers.Conv2D(5, 2), layers.ReLU()], name="tail")(x)


def operations_and_custom(x):
    return Doubled()(keras.ops.tanh(layers.Conv2D(4, 3, kernel_constraint="non_neg")(x)) + 1.0)


def attention(x):
    x = layers.Dense(4)(layers.Reshape((16, 4))(x))
    return layers.TimeDistributed(layers.Dense(3))(layers.MultiHeadAttention(2, 4)(x, x))


BODIES = [convolutions, residual, preprocessing, shared_and_nested, operations_and_custom, attention]


def build(body):
    keras.utils.set_random_seed(3)
    inputs = layers.Input((8, 8, 1))
    outputs = layers.Dense(5, activation="softmax")(layers.Flatten()(body(inputs)))
    return keras.Model(inputs, outputs)


def make_twin(model, schedule):
    loss = keras.losses.SparseCategoricalCrossentropy()
    kernels = [kernel.variable for kernel in prunable_kernels(model)]
    return build_twin(model, kernels, schedule, loss, keras.optimizers.Adam(1e-3))


@pytest.mark.parametrize("body", BODIES)
def test_twin_predicts_and_trains_as_keras_does(body):
    import tensorflow as tf

    tfmot = load_tfmot()
    model = build(body)
    rng = np.random.default_rng(0)
    x, y = rng.random((48, 8, 8, 1)).astype("float32"), rng.integers(0, 5, 48)

    copy = clone_trained(model)
    for source, target in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(source.numpy(), target.numpy())
    twin = make_twin(copy, tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=10**6))  # never prunes
    np.testing.assert_allclose(twin(x, training=False), model(x, training=False), atol=1e-6)

    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    twin.fit(data, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    for source, target in zip(model.weights, copy.weights, strict=True):
        # Adam divides by the gradient's size: rounding of one near zero becomes a part of the 3e-3 moved in 3 steps.
        np.testing.assert_allclose(target.numpy(), source.numpy(), atol=1e-4, err_msg=source.path)


def test_random_layers_run_only_in_training():
    inputs = layers.Input((8, 8, 1))
    x = layers.RandomFlip()(layers.RandomTranslation(0.2, 0.2)(layers.RandomRotation(0.2)(layers.RandomZoom(0.2)(inputs))))
    x = layers.SpatialDropout2D(0.5)(layers.GaussianNoise(1.0)(layers.RandomContrast(0.5)(x)))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.5)(layers.Flatten()(x))))
    twin = make_twin(clone_trained(model), load_tfmot().sparsity.keras.ConstantSparsity(0.5, begin_step=10**6))
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(twin(images, training=False), model(images, training=False), atol=1e-6)


def test_clone_keeps_adapted_statistics_and_frozen_layers():
    inner = layers.Normalization()
    inner.adapt(np.random.default_rng(0).normal(5, 3, (200, 4)).astype("float32"))
    model = keras.Sequential([layers.Input((4,)), inner, layers.Dense(3), layers.Dense(2)])
    model.layers[1].trainable = False
    copy = clone_trained(model)
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(copy(x), model(x))
    assert [layer.trainable for layer in copy.layers] == [layer.trainable for layer in model.layers]
    assert not {id(v) for v in model.variables} & {id(v) for v in copy.variables}


class BuildsItself(keras.Model):
    """A graph of its own, of which its config tells nothing."""

    def __init__(self, **settings):
        inputs = keras.Input((4,), name="in")
        super().__init__(inputs, layers.Dense(2, name="out")(layers.Dense(8, name="hidden")(inputs)), **settings)


def test_clone_of_a_subclass_that_builds_itself():
    model = BuildsItself()
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(clone_trained(model)(x), model(x))


def test_clone_keeps_functions_without_a_name():
    times = 3.0
    inner = keras.Sequential([layers.Input((4,)), layers.Lambda(lambda x: x * times, output_shape=lambda shape: shape)])
    model = keras.Sequential([layers.Input((4,)), inner, layers.Dense(2)])
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(clone_trained(model)(x), model(x))


def test_clone_keeps_the_names_of_inputs():
    inputs = layers.Input((4,), name="pixels")
    copy = clone_trained(keras.Model(inputs, layers.Dense(2, name="scores")(inputs), name="net"))
    assert (copy.name, [layer.name for layer in copy.layers]) == ("net", ["pixels", "scores"])


def test_clone_says_what_cannot_be_copied():
    dense, inner = layers.Dense(4), layers.Input((4,))
    nested = keras.Model(inner, dense(inner))
    outer = layers.Input((4,))
    with pytest.raises(InvalidArgument, match="shares a layer"):
        clone_trained(keras.Model(outer, nested(dense(outer))))

    model = keras.Sequential([layers.Input((4,)), layers.Dense(2)])
    model.compile(loss=lambda y, p: keras.ops.mean((y - p) ** 2))
    with pytest.raises(InvalidArgument, match="register_keras_serializable"):
        clone_trained(model)
