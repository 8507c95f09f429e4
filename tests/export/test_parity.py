"""Every kind of layer computes in the file what it computes in Keras."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.special
from keras import layers

from kerasnas.export import to_onnx


def network(body, shape=(8, 8, 4)):
    inputs = keras.Input(shape, name="image")
    x = body(inputs)
    if len(x.shape) > 2:
        x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="probabilities")(x))


def squeeze_excite(x):
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(2, 1, activation="relu")(s)
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(s)])


def inverted_residual(inputs):
    x = layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(inputs))
    x = layers.Activation("hard_swish")(x)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = squeeze_excite(layers.Activation("relu6")(x))
    return layers.Add()([inputs, layers.Conv2D(4, 1)(x)])


def residual_pooling(inputs):
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Add()([inputs, x])
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)  # the border divides by fewer than 9
    return layers.MaxPooling2D(2, padding="same")(x)


def exact_gelu(x):
    return keras.activations.gelu(x, approximate=False)


def gelu(inputs):
    x = layers.Activation(exact_gelu)(layers.Conv2D(6, 3)(inputs))
    return layers.Activation("gelu")(layers.Conv2D(6, 1)(x))


def grouped(inputs):
    x = layers.Conv2D(8, 3, groups=4, padding="same", strides=2)(inputs)
    return layers.Conv2D(8, 3, groups=2, padding="same", dilation_rate=2, use_bias=False)(x)


def scaled(inputs):
    x = layers.Rescaling(1 / 16, offset=-0.5)(inputs)
    return layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 0.5, 0.1])(x)


def regularised(inputs):
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(inputs))
    x = layers.RandomContrast(0.5)(layers.RandomTranslation(0.3, 0.3)(x))
    return layers.Dropout(0.5)(layers.GaussianNoise(1.0)(layers.Conv2D(4, 3)(x)))


def other_activations(inputs):
    branches = [layers.Conv2D(2, 1, activation=a)(inputs) for a in ("celu", "elu", "selu", "silu", "mish", "softplus")]
    return layers.Concatenate()(branches)


BODIES = {
    "convolution": lambda x: layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(6, 3)(x))),
    "separable": lambda x: layers.SeparableConv2D(6, 3, activation="silu")(x),
    "strided depthwise": lambda x: layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x),
    "squeeze and excite": squeeze_excite,
    "inverted residual": inverted_residual,
    "residual and pooling": residual_pooling,
    "gelu": gelu,
    "grouped convolution": grouped,
    "layer normalization": lambda x: layers.LayerNormalization()(layers.Conv2D(6, 3)(x)),
    "group normalization": lambda x: layers.GroupNormalization(2)(layers.Conv2D(6, 3)(x)),
    "flatten head": lambda x: layers.Dense(5, activation="tanh")(layers.Flatten()(layers.Conv2D(2, 3)(x))),
    "scaled input": scaled,
    "regularised": regularised,
    "upsampling": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2DTranspose(4, 3)(x)),
    "other activations": other_activations,
    "hard sigmoid without bias": lambda x: layers.Conv2D(6, 3, use_bias=False, activation="hard_sigmoid")(x),
}


def run(path, feed):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)


@pytest.mark.parametrize("body", BODIES)
def test_file_equals_keras_at_any_batch_size(tmp_path, scramble, body):
    model = scramble(network(BODIES[body]))
    x = np.random.default_rng(1).uniform(-1, 1, (7, 8, 8, 4)).astype("float32")
    file = to_onnx(model, tmp_path / "m.onnx", x=x)
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    assert np.ptp(expected, axis=0).max() > 1e-4, "the outputs must depend on the inputs for this test to say anything"
    for size in (1, 3, 7):
        (came,) = run(file.path, {"image": x[:size]})
        np.testing.assert_allclose(came, expected[:size], rtol=0, atol=2e-6)
    assert file.verification.worst < 2e-6
    assert {i.domain for i in onnx.load(file.path).opset_import} <= {"", "ai.onnx.ml"}


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def elementwise(activation):
    inputs = keras.Input((9,), name="x")
    return keras.Model(inputs, layers.Activation(activation, name="y")(inputs))


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        (exact_gelu, lambda x: x * scipy.special.ndtr(x)),
        ("celu", lambda x: np.maximum(x, 0) + np.minimum(np.expm1(x), 0)),
    ],
)
def test_repaired_operators_follow_their_formula(tmp_path, activation, formula):
    x = np.linspace(-4, 4, 9, dtype="float32")[None]
    file = to_onnx(elementwise(activation), tmp_path / "m.onnx", x=x)
    np.testing.assert_allclose(run(file, {"x": x})[0], formula(x.astype("float64")), rtol=0, atol=1e-6)


def test_grouped_convolution_is_one_operator_with_its_groups(tmp_path):
    file = to_onnx(network(lambda x: layers.Conv2D(8, 3, groups=4)(x)), tmp_path / "m.onnx")
    (node,) = (node for node in onnx.load(file).graph.node if node.op_type == "Conv")
    assert {a.name: a.i for a in node.attribute}["group"] == 4


def test_adding_a_scalar_does_not_stop_the_transpose_optimiser(tmp_path):
    # One transpose takes the image to channels first; each one more would be a copy of the feature maps.
    def body(x):
        for _ in range(3):
            x = layers.Conv2D(4, 3, use_bias=False, activation="hard_sigmoid")(x)
        return x

    assert operators(to_onnx(network(body), tmp_path / "m.onnx")).count("Transpose") == 1


def test_augmentation_vanishes(tmp_path, scramble):
    file = to_onnx(scramble(network(regularised)), tmp_path / "m.onnx")
    assert sorted(operators(file)) == sorted(["Transpose", "Conv", "GlobalAveragePool", "Squeeze", "MatMul", "Add", "Softmax"])


def test_sequential_with_a_nested_model(tmp_path, scramble):
    nested = keras.Sequential([layers.Conv2D(4, 3), layers.ReLU()])
    model = keras.Sequential([layers.Rescaling(1 / 16), nested, layers.Flatten(), layers.Dense(3, name="logits")])
    model.build((None, 6, 6, 1))
    x = np.random.default_rng(0).uniform(0, 16, (7, 6, 6, 1)).astype("float32")
    file = to_onnx(scramble(model), tmp_path / "m.onnx", preprocessing={"range": [0, 16]})
    (name,) = file.inputs
    np.testing.assert_allclose(run(file, {name: x})[0], model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
    assert list(file.outputs) == ["logits"]


def two_in_two_out(scramble):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    difference = layers.Subtract(name="difference")([a, b])
    outputs = {"first": layers.Dense(3, name="classes")(difference), "second": layers.Dense(1, name="value")(a)}
    return scramble(keras.Model({"a": a, "b": b}, outputs))


@pytest.mark.parametrize("as_dict", [True, False])
def test_several_inputs_and_outputs(tmp_path, scramble, as_dict):
    model = two_in_two_out(scramble)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 4)).astype("float32")
    file = to_onnx(model, tmp_path / "m.onnx", x={"b": b, "a": a} if as_dict else [a, b])
    expected = model({"a": a, "b": b}, training=False)
    classes, value = run(file, {"a": a, "b": b})
    np.testing.assert_allclose(classes, expected["first"], atol=2e-6)
    np.testing.assert_allclose(value, expected["second"], atol=2e-6)
    assert file.inputs == {"a": ("batch", 4), "b": ("batch", 4)}
    assert file.outputs == {"classes": ("batch", 3), "value": ("batch", 1)}
    assert set(file.verification.max_abs_difference) == {"classes", "value"}
    assert set(file.verification.top1_agreement) == {"classes"}


@pytest.mark.parametrize(("dtype", "high"), [("int32", 6), ("uint8", 255)])
def test_whole_number_inputs(tmp_path, scramble, dtype, high):
    inputs = keras.Input((5,), dtype=dtype, name="x")
    body = layers.Flatten()(layers.Embedding(7, 4)(inputs)) if dtype == "int32" else layers.Rescaling(1 / 255)(inputs)
    model = scramble(keras.Model(inputs, layers.Dense(2)(body)))
    file = to_onnx(model, tmp_path / "m.onnx", preprocessing={"range": [0, high]})
    x = np.random.default_rng(0).integers(0, high + 1, (3, 5)).astype(dtype)
    np.testing.assert_allclose(run(file, {"x": x})[0], model.predict(x, verbose=0), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("opset", [13, 15, 18])
def test_other_opsets(tmp_path, scramble, opset):
    file = to_onnx(scramble(network(inverted_residual)), tmp_path / "m.onnx", opset=opset)
    assert file.opset == opset
    assert {i.version for i in onnx.load(file).opset_import if i.domain == ""} == {opset}
