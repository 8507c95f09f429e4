"""Whole networks, and models whose inputs, outputs or names are out of the ordinary."""

import keras
from keras import layers

from export_topologies.topology import Topology, on

__all__ = ["NETWORKS", "STRUCTURES"]

IMAGE = (8, 8, 4)


def residual(x):
    """Return a residual block with a projection, and a pooled end."""
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", strides=2, use_bias=False)(x)))
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(y))
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(6, 1, strides=2)(x)]))
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y))


def squeeze_excite(x):
    """Return `x` with its channels weighed."""
    s = layers.Conv2D(2, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(s)])


def inverted_residual(inputs):
    """Return a block of MobileNetV3."""
    x = layers.Activation("hard_silu")(layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(inputs)))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = squeeze_excite(layers.Activation("relu6")(x))
    return layers.Add()([inputs, layers.Conv2D(4, 1)(x)])


def inception(x):
    """Return branches of several kernels, side by side."""
    pooled = layers.Conv2D(2, 1)(layers.MaxPooling2D(3, strides=1, padding="same")(x))
    wide = layers.Conv2D(3, (1, 5), padding="same")(layers.Conv2D(2, (5, 1), padding="same")(x))
    return layers.Concatenate()([layers.Conv2D(2, 1, activation="relu")(x), wide, pooled])


def dense_block(x):
    """Return three layers, each fed by all before it."""
    for _ in range(3):
        y = layers.Conv2D(2, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Concatenate()([x, y])
    return layers.AveragePooling2D(2)(layers.Conv2D(4, 1)(x))


def u_net(x):
    """Return a picture from a way down and a way up with a bridge."""
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    low = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(left))
    up = layers.Conv2DTranspose(4, 2, strides=2)(low)
    return layers.Conv2D(1, 1, activation="sigmoid")(layers.Concatenate()([left, up]))


def conv_next(x):
    """Return a block of ConvNeXt."""
    y = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(7, padding="same")(x))
    y = layers.Dense(4)(layers.Activation(exact_gelu)(layers.Dense(16)(y)))
    return layers.Add()([x, y])


def exact_gelu(x):
    """Return x * Phi(x), with the error function."""
    return keras.activations.gelu(x, approximate=False)


def vision_transformer(x):
    """Return scores of a picture cut into patches that attend to each other."""
    x = layers.Reshape((-1, 8))(layers.Conv2D(8, 4, strides=4)(x))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(y, y)])
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
    return layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Add()([x, y])))


NETWORKS = {
    "residual block": on(IMAGE, residual),
    "squeeze and excite": on(IMAGE, squeeze_excite),
    "inverted residual": on(IMAGE, inverted_residual),
    "inception": on(IMAGE, inception),
    "dense block": on(IMAGE, dense_block),
    "U-Net": on(IMAGE, u_net),
    "ConvNeXt block": on(IMAGE, conv_next),
    "vision transformer": on(IMAGE, vision_transformer),
}


def sequential() -> keras.Model:
    return keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )


def built_later() -> keras.Model:
    model = keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    model.build((None, *IMAGE))
    return model


def nested() -> keras.Model:
    inner = keras.Sequential([layers.Conv2D(4, 3), keras.Sequential([layers.ReLU()])])
    return keras.Sequential([keras.Input(IMAGE), layers.Rescaling(2.0), inner, layers.Flatten(), layers.Dense(3)])


def nested_twice() -> keras.Model:
    inputs = keras.Input((8,), name="inner_input")
    first = layers.Dense(4, activation="relu")(inputs)
    inner = keras.Model(inputs, [first, layers.Dense(4)(first)], name="inner")
    x = keras.Input((8,), name="x")
    a, b = inner(x)
    c, _ = inner(layers.Dense(8)(b))
    return keras.Model(x, layers.Add()([a, b, c]))


def two_in_two_out() -> keras.Model:
    a, b = keras.Input(IMAGE, name="picture"), keras.Input((3,), name="facts")
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(a), b])
    return keras.Model([a, b], [layers.Dense(3, name="classes", activation="softmax")(x), layers.Dense(1, name="value")(x)])


def by_name() -> keras.Model:
    # The alphabet has another order than the model.
    inputs = {"zebra": keras.Input((4,), name="zebra"), "ant": keras.Input((4,), name="ant")}
    difference = layers.Subtract()([inputs["zebra"], inputs["ant"]])
    outputs = {"later": layers.Dense(3, name="classes")(difference), "earlier": layers.Dense(2, name="value")(inputs["ant"])}
    return keras.Model(inputs, outputs)


def of_two_dtypes() -> keras.Model:
    tokens, numbers = keras.Input((5,), dtype="int32", name="tokens"), keras.Input((4,), name="numbers")
    x = layers.GlobalMaxPooling1D()(layers.Embedding(6, 4)(tokens))
    return keras.Model([tokens, numbers], layers.Dense(2)(layers.Multiply()([x, numbers])))


def siamese() -> keras.Model:
    shared = keras.Sequential([layers.Dense(6, activation="relu"), layers.Dense(4)], name="shared")
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    return keras.Model([a, b], layers.Dot(axes=1, normalize=True)([shared(a), shared(b)]))


def named() -> keras.Model:
    inputs = keras.Input((4,), name="the picture, in °C")
    return keras.Model(inputs, layers.Dense(2, name="Wahrscheinlichkeit größer 1")(inputs), name="my model")


def without_names() -> keras.Model:
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


def feature_maps() -> keras.Model:
    inputs = keras.Input(IMAGE, name="x")
    first = layers.Conv2D(4, 3, name="first")(inputs)
    return keras.Model(inputs, [first, layers.Conv2D(2, 3, name="second")(layers.ReLU()(first))])


def one_output_twice() -> keras.Model:
    inputs = keras.Input((4,), name="x")
    y = layers.Dense(2, name="y")(inputs)
    return keras.Model(inputs, [y, layers.ReLU(name="positive")(y), y])


def passed_through() -> keras.Model:
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, [inputs, layers.Dense(2, name="y")(inputs)])


def unused_input() -> keras.Model:
    inputs = [keras.Input((4,), name="used"), keras.Input((3,), name="unused")]
    return keras.Model(inputs, layers.Dense(2)(inputs[0]))


def of_doubles() -> keras.Model:
    inputs = keras.Input((4,), name="x", dtype="float64")
    return keras.Model(inputs, layers.Dense(2, dtype="float64")(inputs))


@keras.saving.register_keras_serializable("export_topologies")
class Gate(layers.Layer):
    """A layer of one's own: the input, weighed by a dense layer of it."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], activation="sigmoid")
        self.dense.build(shape)

    def call(self, x):
        return x * self.dense(x)


class Named(keras.Model):
    """A subclass that is made by passing inputs and outputs."""


def subclassed_with_a_graph() -> keras.Model:
    inputs = keras.Input((4,), name="x")
    return Named(inputs, layers.Dense(2)(inputs))


STRUCTURES = {
    "Sequential": Topology(sequential),
    "Sequential, built later": Topology(built_later),
    "Sequential in a Sequential": Topology(nested),
    "functional model called twice": Topology(nested_twice),
    "two inputs, two outputs": Topology(two_in_two_out),
    "inputs and outputs by name": Topology(by_name),
    "inputs of two dtypes": Topology(of_two_dtypes),
    "siamese": Topology(siamese),
    "names of one's own": Topology(named),
    "no names": Topology(without_names),
    "feature maps": Topology(feature_maps),
    "one output twice": Topology(one_output_twice),
    "an input that is an output": Topology(passed_through),
    "an input that nothing uses": Topology(unused_input),
    "float64": Topology(of_doubles),
    "a layer of one's own": on(IMAGE, lambda x: Gate(name="gate")(x)),
    "a subclass with a graph": Topology(subclassed_with_a_graph),
}
