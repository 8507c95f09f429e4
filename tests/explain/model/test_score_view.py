"""What both methods refuse, and say about it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument, KerasNASError
from kerasnas.explain import grad_cam, occlusion
from kerasnas.explain.model.score_view import ScoreView

layers = keras.layers
both = pytest.mark.parametrize("explain", [grad_cam, occlusion])


def refuses(explain, model, images, match, **arguments):
    with pytest.raises(InvalidArgument, match=match) as caught:
        explain(model, images, **arguments)
    assert isinstance(caught.value, KerasNASError)
    assert "xpected" in str(caught.value)


@both
@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((12, 12, 3)), r"images\[None\]"),
        (np.zeros((2, 12, 11, 3)), r"\(batch, 12, 12, 3\); came shape \(2, 12, 11, 3\)"),
        (np.zeros((2, 3, 12, 12)), "reorder the axes"),
        (np.zeros((0, 12, 12, 3)), "at least one image"),
        (np.zeros((12, 3)), "came shape"),
        (np.full((1, 12, 12, 3), np.nan), "432 values that are NaN"),
        (np.full((1, 12, 12, 3), 1e300), "infinite"),
        (np.full((1, 12, 12, 3), "a"), "dtype"),
        (np.zeros((1, 12, 12, 3), complex), "dtype"),
    ],
)
def test_images_that_do_not_fit(explain, images, match, cnn):
    refuses(explain, cnn(), images, match)


@both
@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 1)])
@pytest.mark.parametrize("free", [False, True])
def test_one_grey_image_needs_its_batch_axis(explain, shape, free, cnn):
    inputs = keras.Input((None, None, 1))
    any_size = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))))
    refuses(explain, any_size if free else cnn((12, 12, 1)), np.zeros(shape), r"images\[None\]")


@both
@pytest.mark.parametrize("target", [4, -1, [0, 1, 2], 1.0, [[0]], "cat", True, [0, 9]])
def test_targets_that_are_no_class(explain, target, cnn):
    refuses(explain, cnn(), np.zeros((2, 12, 12, 3)), "target", target=target)


@both
def test_an_unbuilt_model(explain):
    refuses(explain, keras.Sequential([layers.Flatten(), layers.Dense(2)]), np.zeros((1, 4, 4, 1)), "model.build")


@both
def test_a_subclassed_model(explain):
    class Own(keras.Model):
        def call(self, x):
            return x

    refuses(explain, Own(name="mine"), np.zeros((1, 4, 4, 1)), "subclassed model Own.*mine")


@both
@pytest.mark.parametrize("kind", [keras.Model, keras.Sequential])
def test_a_graph_with_a_call_of_its_own(explain, kind):
    class Scaled(kind):
        def call(self, x, training=None, mask=None):
            return super().call(x / 255, training=training)

    inputs = keras.Input((4, 4, 1))
    outputs = layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(inputs)))
    parts = [inputs, outputs] if kind is keras.Model else [[inputs, layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(2)]]
    refuses(explain, Scaled(*parts), np.zeros((1, 4, 4, 1)), "subclassed model Scaled")


@both
def test_a_keras_2_model(explain):
    class Model:
        __module__ = "tf_keras.src.models"

    refuses(explain, Model(), np.zeros((1, 4, 4, 1)), "Rebuild it with Keras 3 and copy the weights")


@both
def test_a_model_of_two_inputs_or_outputs(explain):
    a, b = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    dense = layers.Dense(2)(layers.Flatten()(a))
    two_inputs = keras.Model([a, b], layers.Dense(2)(layers.Flatten()(layers.Add()([a, b]))), name="twins")
    refuses(explain, two_inputs, np.zeros((1, 4, 4, 1)), "'twins' came with 2 and 1")
    refuses(explain, keras.Model(a, [dense, layers.Dense(2)(dense)]), np.zeros((1, 4, 4, 1)), "1 and 2")


@both
def test_a_model_that_is_no_classifier_of_images(explain):
    inputs = keras.Input((4, 4, 1))
    refuses(explain, keras.Model(inputs, layers.Conv2D(2, 3)(inputs)), np.zeros((1, 4, 4, 1)), "classifier")
    vector = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    refuses(explain, vector, np.zeros((1, 4)), "model of images")


@both
def test_another_backend_is_told_the_way(explain, cnn, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    refuses(explain, cnn(), np.zeros((1, 12, 12, 3)), r"'jax'.*\.keras file.*KERAS_BACKEND=tensorflow")


@pytest.mark.slow
def test_on_another_backend_the_package_still_imports():
    pytest.importorskip("jax")
    code = (
        "import keras, numpy as np, kerasnas.explain as e\n"
        "from kerasnas.errors import InvalidArgument\n"
        "m = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])\n"
        "try: e.occlusion(m, np.zeros((1, 4, 4, 1)))\n"
        "except InvalidArgument as error: print('refused', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True, check=True
    )
    assert "refused Expected Keras to run on TensorFlow" in done.stdout


@both
def test_weights_that_are_nan_are_reported(explain, cnn):
    model = cnn()
    model.get_layer("scores").set_weights([np.full((16, 4), np.nan), np.zeros(4)])
    refuses(explain, model, np.ones((1, 12, 12, 3)), "weights", target=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_of_a_network_that_has_diverged(cnn, value):
    model = cnn()
    model.get_layer("scores").set_weights([np.full((16, 4), value), np.zeros(4)])
    with pytest.raises(InvalidArgument, match="finite scores"):
        ScoreView(model, np.ones((1, 12, 12, 3))).evaluate(np.ones((1, 12, 12, 3), "float32"))


@both
def test_a_model_whose_input_is_named_in_a_dictionary(explain, rng):
    inputs = keras.Input((6, 6, 1), name="image")
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3)(inputs)))
    images = rng.random((1, 6, 6, 1))
    named, plain = keras.Model({"image": inputs}, outputs), keras.Model(inputs, outputs)
    np.testing.assert_array_equal(explain(named, images).values, explain(plain, images).values)


@both
def test_a_dropout_that_is_always_on_is_off_as_in_predict(explain, rng):
    inputs = keras.Input((6, 6, 1))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(8, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.5)(x, training=True)))
    images = rng.random((2, 6, 6, 1))
    np.testing.assert_array_equal(explain(model, images, target=0).values, explain(model, images, target=0).values)


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        ("model.onnx", "A file has answers, but no gradients .*: occlusion, rise, shap_values, lime_weights"),
        (lambda x: x, "A function has answers, but no gradients"),
        ("model.keras", r"Pass keras\.models\.load_model\(path\)"),
        (3, r"came builtins\.int\. Pass the model\."),
    ],
)
def test_what_has_no_gradients_is_sent_to_what_explains_it(model, advice):
    with pytest.raises(InvalidArgument, match=f"Expected a Keras 3 model.*{advice}"):
        ScoreView(model, np.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize("last", [keras.layers.Permute((2, 3, 1)), lambda x: keras.ops.transpose(x, (0, 2, 3, 1))])
def test_channels_that_a_model_puts_last_itself_are_refused(last):
    inputs = keras.Input((3, 8, 6))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(last(inputs)))
    with pytest.raises(InvalidArgument, match="puts the first axis of the images there"):
        ScoreView(keras.Model(inputs, keras.layers.Dense(2)(x)), np.ones((1, 3, 8, 6)))


@pytest.mark.parametrize("end", ["tanh", "linear", "keras.ops.tanh"])
def test_a_number_that_is_no_probability_is_not_taken_for_one_by_chance(rng, end):
    start = keras.Input((4, 4, 1))
    unit = layers.Dense(1, kernel_initializer="zeros", bias_initializer="ones", activation="linear")
    value = 0.2 * unit(layers.Flatten()(start))
    value = (
        keras.ops.tanh(value) if end == "keras.ops.tanh" else layers.Dense(1, kernel_initializer="ones", activation=end)(value)
    )
    view = ScoreView(keras.Model(start, value), rng.random((3, 4, 4, 1)).astype("float32"))
    assert view.score_kind == "output"


def test_all_images_are_asked_whether_a_model_gives_probabilities():
    start = keras.Input((4, 4, 1))
    value = layers.Lambda(lambda x: keras.ops.where(x[:, :1, 0, 0] == 5.0, -0.5, 0.5))(start)
    images = np.zeros((9, 4, 4, 1), "float32")
    assert ScoreView(keras.Model(start, value), images).score_kind == "log-probability"
    images[-1] = 5
    assert ScoreView(keras.Model(start, value), images).score_kind == "output"
