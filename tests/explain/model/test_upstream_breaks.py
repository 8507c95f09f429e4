"""What tf-explain 0.3.1 gets wrong on Keras 3, break by break, and that it does not reach a user.

Each test holds what is right, and then tries tf-explain itself and prints how far that is off, or what it raises (pytest -rP
shows it): nothing fails on the day that it is mended.
"""

import ast
import importlib.metadata
import importlib.util
import re
import sys
import warnings
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnas.errors import InvalidArgument
from kerasnas.explain import (
    Attribution,
    grad_cam,
    integrated_gradients,
    occlusion,
    smooth_grad,
    vanilla_gradients,
)
from kerasnas.explain.by_name import METHODS

layers = keras.layers
EVERY = pytest.mark.parametrize("explain", METHODS, ids=lambda method: method.__name__)


@pytest.fixture
def tf_explain():
    """Note how far what tf-explain gives is from what is right, or what it raises."""

    def note(call, right):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = np.abs(np.asarray(call(), np.float64) - right).max()
        except (AttributeError, tf.errors.InvalidArgumentError) as error:
            if not re.search("no attribute 'output_shape'|no defined output|cannot compute Mul", str(error)):
                raise
            found = f"an exception: {type(error).__name__}: {error}"
        print("tf-explain is off by", found)

    return note


def pooled(shape=(9, 6, 2), tail=None, **kwargs):
    """A convolution, the mean over positions and a linear head, and what computes its features."""
    inputs = keras.Input(shape)
    features = layers.Conv2D(5, 3, padding="same", activation="relu", name="features", **kwargs)(inputs)
    x = features if tail is None else tail(features)
    x = layers.GlobalAveragePooling2D(name="pool")(x) if len(x.shape) == 4 else x
    model = keras.Model(inputs, layers.Dense(3, name="scores")(x))
    return model, keras.Model(inputs, features)


def cam(model, features, images, target):
    weights = model.get_layer("scores").get_weights()[0][:, target].astype("float64")
    maps = features(images).numpy().astype("float64")
    return np.maximum(maps @ weights, 0) / np.prod(maps.shape[1:3])


def raw_cam(model, images, target, layer="features", guided=True):
    from tf_explain.core.grad_cam import GradCAM

    maps, gradients = GradCAM.get_gradients_and_filters(model, images, layer, target, guided)
    return np.stack(GradCAM.generate_ponderated_output(maps, gradients))


def test_1_all_that_it_imports_is_declared():
    """It declares no dependency at all, so that this package has to."""
    folder = Path(importlib.util.find_spec("tf_explain").submodule_search_locations[0])
    trees = [ast.walk(ast.parse(file.read_text())) for file in folder.rglob("*.py")]
    nodes = [node for tree in trees for node in tree]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"tf_explain"}
    assert {"cv2", "numpy", "tensorflow"} <= foreign
    needs = [need for need in importlib.metadata.requires("kerasnas") if "extra ==" not in need]
    declared = {re.match(r"[\w.-]+", need)[0].lower() for need in needs}
    for name in foreign:
        owners = {owner.lower() for owner in importlib.metadata.packages_distributions()[name]}
        assert owners & declared, name
    assert "tensorboard" in declared  # tf_explain.callbacks: tensorflow.summary does not work without
    importlib.import_module("tf_explain.callbacks")


def four_dimensions_again(x):
    return layers.Reshape((2, 2, 2), name="late")(layers.Dense(8)(layers.GlobalAveragePooling2D()(x)))


TAILS = {
    "pooled": layers.MaxPooling2D,
    "padded": lambda: layers.ZeroPadding2D(1),
    "enlarged": lambda: layers.UpSampling2D(2),
    "one position": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "a convolution of one position": lambda: keras.Sequential(
        [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1), layers.Flatten()]
    ),
    "four dimensions again": lambda: four_dimensions_again,
}


@pytest.mark.parametrize("tail", TAILS)
def test_2_the_layer_is_the_last_with_a_spatial_convolution_and_not_the_last_of_four_dimensions(tail, rng, tf_explain):
    """tf-explain asks for `layer.output_shape`, which Keras 3 does not have, and would take the last of four dimensions."""
    from tf_explain.core.grad_cam import GradCAM

    model, _ = pooled((8, 8, 2), TAILS[tail]())
    images = rng.random((1, 8, 8, 2)).astype("float32")
    assert grad_cam(model, images).details["layer"] == "features"
    tf_explain(lambda: GradCAM().infer_grad_cam_target_layer(model) != "features", 0)


def test_2_an_activation_and_a_merge_belong_to_the_convolution(rng):
    inputs = keras.Input((8, 8, 2))
    x = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(inputs))
    x = layers.ReLU(name="end")(layers.Add()([x, inputs]))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert grad_cam(model, rng.random((1, 8, 8, 2))).details["layer"] == "end"


def sequential(first=()):
    return keras.Sequential(
        [
            *first,
            layers.Conv2D(3, 3, activation="relu", name="features"),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )


QUICK = {
    "occlusion": {"patch": 3, "stride": 3},
    "rise": {"masks": 10},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "shap_values": {"cells": 2, "evaluations": 9},
    "lime_weights": {"segments": 2, "samples": 10},
}


@EVERY
def test_3_a_sequential_model_however_it_was_built_is_the_functional_one(explain, rng, tf_explain):
    """`model.output` of a Sequential model that was built by its first call is not there: "never been called"."""
    images, plain = rng.random((2, 6, 8, 1)).astype("float32"), sequential([keras.Input((6, 8, 1))])
    explain = partial(explain, target=1, **QUICK.get(explain.__name__, {}))
    expected = explain(keras.Model(plain.inputs[0], plain.outputs[0]), images).values
    called, built = sequential(), sequential()
    called(images)
    built.build((None, 6, 8, 1))
    for model in (plain, called, built):
        model.set_weights(plain.get_weights())
        np.testing.assert_array_equal(explain(model, images).values, expected)
    if "grad_cam" in str(explain.func):
        tf_explain(lambda: raw_cam(called, images, 1).shape != (2, 4, 6), 0)


@EVERY
def test_3_a_model_that_is_not_built_is_told_what_to_do(explain):
    with pytest.raises(InvalidArgument, match=r"Expected a built model.*keras\.Input.*model\.build.*train it first"):
        explain(sequential(), np.zeros((1, 6, 8, 1)))


@EVERY
def test_4_subclassed_and_multi_input_models_are_refused_by_name(explain, subclassed):
    images = np.zeros((1, 4, 4, 1), "float32")
    own = subclassed
    own(images)
    with pytest.raises(InvalidArgument, match=r"the subclassed model Own.*explain model\.predict with occlusion or RISE"):
        explain(own, images)
    a, b = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    twins = keras.Model([a, b], layers.Dense(2)(layers.Flatten()(layers.Add()([a, b]))), name="twins")
    with pytest.raises(InvalidArgument, match=r"one input and one output; 'twins' came with 2 and 1\. Explain keras\.Model"):
        explain(twins, images)


def test_4_the_way_out_of_the_message_works(rng, subclassed):
    images, own = rng.random((2, 4, 4, 1)).astype("float32"), subclassed
    own(images)
    inputs = keras.Input((4, 4, 1))
    same = keras.Model(inputs, own.dense(layers.Flatten()(inputs)))
    found = occlusion(lambda x: own.predict(x, verbose=0), images, target=1, baseline=0.0)
    # Of two classes, the log-odds are the difference of the scores.
    ours, other = (occlusion(same, images, target=target, baseline=0.0).values for target in (1, 0))
    np.testing.assert_allclose(found.values, ours - other, atol=1e-4)


@EVERY
def test_4_a_nested_backbone_of_mixed_precision_is_the_flat_model(explain, rng, tf_explain):
    images = rng.random((2, 6, 8, 1)).astype("float32")

    def parts(dtype):
        conv = layers.Conv2D(3, 3, activation="relu", name="features", dtype=dtype)
        return [conv, layers.Flatten(dtype=dtype), layers.Dense(2, activation="softmax", dtype=dtype)]

    conv, *head = parts("mixed_float16")
    backbone = keras.Sequential([keras.Input((6, 8, 1)), conv], name="backbone")
    nested = keras.Sequential([keras.Input((6, 8, 1)), backbone, *head])
    flat = keras.Sequential([keras.Input((6, 8, 1)), *parts("float32")])
    flat.set_weights(nested.get_weights())
    explain = partial(explain, target=1, **QUICK.get(explain.__name__, {}))
    expected = explain(flat, images).values
    np.testing.assert_allclose(explain(nested, images).values, expected, atol=1e-5 * np.abs(expected).max())
    functional = keras.Model(nested.inputs[0], nested.outputs[0])
    if "grad_cam" in str(explain.func):
        tf_explain(lambda: raw_cam(functional, images, 1, "backbone").shape != (2, 4, 6), 0)


def test_5_the_gradients_are_not_gated_and_the_map_is_rectified(rng, tf_explain):
    """ "Guided" gradients are those > 0 where the feature is > 0; and what is negative in the map stays."""
    model, features = pooled()
    images = np.abs(rng.normal(size=(3, 9, 6, 2))).astype("float32")
    model.get_layer("scores").set_weights([np.tile([[2.0], [-1], [1], [-3], [0.5]], 3), np.zeros(3)])
    expected = cam(model, features, images, 1)
    assert np.any(expected == 0)
    np.testing.assert_allclose(grad_cam(model, images, target=1).values, expected, atol=1e-6)
    tf_explain(lambda: raw_cam(model, images, 1), expected)


def test_6_scores_and_not_probabilities_are_differentiated(rng, tf_explain):
    """Logits that are 30 times as large give its maps a gradient of zero."""
    model, features = pooled()
    images = 10 * rng.normal(size=(3, 9, 6, 2)).astype("float32")
    model.get_layer("scores").set_weights([30 * model.get_layer("scores").get_weights()[0], np.zeros(3)])
    sure = keras.Model(model.inputs[0], layers.Softmax()(model.outputs[0]))
    expected = cam(model, features, images, 2)
    np.testing.assert_allclose(grad_cam(sure, images, target=2).values, expected, rtol=1e-4, atol=1e-4)
    assert expected.max() > 1
    tf_explain(lambda: raw_cam(sure, images, 2, guided=False), expected)


@pytest.mark.parametrize("case", ["constant map", "white image", "floats up to 255"])
def test_7_the_picture_is_a_convex_blend(case, rng, tf_explain):
    """tf-explain divides by the range of the map, adds the heat map to the image, and multiplies floats by 255."""
    from tf_explain.utils.display import heatmap_display

    values = np.zeros((1, 8, 8)) if case == "constant map" else np.pad(np.ones((1, 2, 2)), ((0, 0), (3, 3), (3, 3)))
    image = np.full((1, 8, 8, 3), 255.0, "float32") if case == "white image" else 255 * rng.random((1, 8, 8, 3), "float32")
    if case != "floats up to 255":
        image /= 255
    else:
        image[0, 0, 0] = 255
    shown = Attribution(values, image, np.zeros(1, int), "made up").to_image(0, scale=1).astype(float)
    plain = np.rint(image[0] * (255 / (255 if image.max() > 1 else 1)))
    quiet = values[0] == 0
    np.testing.assert_allclose(shown[quiet], plain[quiet], atol=1)
    assert case == "constant map" or np.abs(shown[~quiet] - plain[~quiet]).max() > 100
    # How much of what is shown is missing, or too much, where the map speaks; of a constant map, anywhere.
    loud = quiet if case == "constant map" else ~quiet
    contrast = np.abs(shown - plain)[loud].max(axis=-1)
    tf_explain(lambda: np.abs(heatmap_display(values[0], image[0]) - plain)[loud].max(axis=-1), contrast)


class Linear:
    """What tf-explain takes for a model; the score is linear, its rise over a neutral image known."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, images):
        return np.stack([(images * self.weights).sum(axis=(1, 2, 3)), np.zeros(len(images))], axis=1)

    def predict(self, images, batch_size=None):
        return self(images)


@pytest.mark.parametrize("shape", [(8, 8, 1), (4, 12, 2), (12, 4, 3)])
def test_8_occlusion_is_the_rise_of_the_score_over_the_neutral_value(shape, rng, tf_explain):
    """tf-explain hides by 127.5 whatever the units, gives one minus the score, and scrambles what is not square."""
    from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity

    weights, images = rng.normal(size=shape), rng.random((2, *shape)).astype("float32")
    model = Linear(weights)
    evidence = (weights * (images - 0.5)).sum(axis=-1)
    rows, columns = shape[0] // 4, shape[1] // 4
    cells = evidence.reshape(2, rows, 4, columns, 4).sum(axis=(2, 4))
    found = occlusion(model, images, target=0, patch=4, stride=4, baseline=0.5)
    np.testing.assert_allclose(found.values, cells.repeat(4, axis=1).repeat(4, axis=2), atol=1e-4)
    # The centres of its cells, as it resizes them.
    engine = OcclusionSensitivity()
    tf_explain(lambda: engine.get_sensitivity_map(model, images[0], 0, 4).reshape(shape[:2])[2::4, 2::4], cells[0])


def slopes(images, head="softmax"):
    """A linear model with a softmax, and its weights for class 1."""
    shape = images.shape[1:]
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(3, activation=head)])
    kernel = model.layers[-1].get_weights()[0]
    return model, kernel[:, 1].reshape(shape).astype("float64")


def test_9_integrated_gradients_are_multiplied_by_the_way_from_the_baseline(rng, tf_explain):
    from tf_explain.core.integrated_gradients import IntegratedGradients

    images = rng.normal(size=(3, 4, 6, 2)).astype("float32")
    model, weights = slopes(images, head=None)
    expected = (weights * images).sum(axis=-1)
    np.testing.assert_allclose(integrated_gradients(model, images, target=1, baseline=0.0).values, expected, atol=1e-5)

    def theirs():
        stops = IntegratedGradients.generate_interpolations(images, 8).astype("float32")
        return tf.reduce_sum(IntegratedGradients.get_integrated_gradients(tf.constant(stops), model, 1, 8), axis=-1)

    tf_explain(theirs, expected)


@pytest.mark.parametrize("explain", [vanilla_gradients, smooth_grad])
def test_9_the_score_is_differentiated_and_its_units_are_kept(explain, rng, tf_explain):
    """The cross-entropy of a softmax has the gradient -(w - sum p w); its maps are standardised and cut to 256 shades."""
    from tf_explain.core.smoothgrad import SmoothGrad

    images = rng.normal(size=(3, 4, 6, 2)).astype("float32")
    model, weights = slopes(images)
    expected = np.broadcast_to(np.abs(weights).max(axis=-1), (3, 4, 6))
    np.testing.assert_allclose(explain(model, images, target=1).values, expected, atol=1e-5)
    if explain is smooth_grad:
        noisy = images.repeat(2, axis=0)
        theirs = SmoothGrad.get_averaged_gradients.python_function
        functional = keras.Model(model.inputs[0], model.outputs[0])
        tf_explain(lambda: np.abs(theirs(noisy, functional, 1, 2)).max(axis=-1), expected)


def test_9_the_noise_is_relative_to_the_range_of_the_image(rng):
    """The same image in units 255 times as large has the same map, in those units."""
    images = rng.random((2, 6, 6, 1)).astype("float32")
    small = sequential([keras.Input((6, 6, 1))])
    large = keras.Sequential([keras.Input((6, 6, 1)), layers.Rescaling(1 / 255), *small.layers])
    explain = partial(smooth_grad, target=1, noise=0.3, samples=8)
    expected = explain(small, images).values
    np.testing.assert_allclose(255 * explain(large, 255 * images).values, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(expected - explain(small, images, noise=0.0).values).max() > 0.01 * expected.max()
    images[1] *= 100  # each image has its own range
    np.testing.assert_allclose(explain(small, images).values[0], expected[0], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def keras_2():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tf_keras")


@EVERY
@pytest.mark.parametrize("kind", ["Sequential", "functional", "subclassed"])
def test_10_a_model_of_keras_2_is_refused_by_name(explain, kind, keras_2):
    parts = [keras_2.layers.Flatten(), keras_2.layers.Dense(2)]
    if kind == "Sequential":
        model = keras_2.Sequential([keras_2.layers.InputLayer((4, 4, 1)), *parts])
    else:
        start = keras_2.Input((4, 4, 1))
        kind_of_model = keras_2.Model if kind == "functional" else type("Own", (keras_2.Model,), {})
        model = kind_of_model(start, parts[1](parts[0](start)))
    with pytest.raises(InvalidArgument, match=r"Expected a Keras 3 model.*Rebuild it with Keras 3 and copy the weights"):
        explain(model, np.zeros((1, 4, 4, 1)), **QUICK.get(explain.__name__, {}))


def test_10_its_weights_explain_it_in_keras_3(keras_2, rng):
    start = keras_2.Input((6, 8, 1))
    conv, dense = keras_2.layers.Conv2D(3, 3, activation="relu"), keras_2.layers.Dense(2, activation="softmax")
    old = keras_2.Model(start, dense(keras_2.layers.Flatten()(conv(start))))
    images, new = rng.random((2, 6, 8, 1)).astype("float32"), sequential([keras.Input((6, 8, 1))])
    new.set_weights(old.get_weights())
    np.testing.assert_allclose(new(images).numpy(), old(images).numpy(), atol=1e-6)
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        flat = tf.reshape(conv(x), (2, -1))
        score = (flat @ dense.kernel + dense.bias)[:, 1]
    expected = np.abs(tape.gradient(score, x)).max(axis=-1)
    np.testing.assert_allclose(vanilla_gradients(new, images, target=1).values, expected, atol=1e-6)


def test_10_tf_keras_in_the_place_of_keras_is_told(monkeypatch, rng):
    """As it is where TF_USE_LEGACY_KERAS was set before TensorFlow was used."""
    monkeypatch.setattr(tf.keras, "Model", object)
    with pytest.raises(InvalidArgument, match="TF_USE_LEGACY_KERAS"):
        grad_cam(pooled()[0], rng.random((1, 9, 6, 2)))
