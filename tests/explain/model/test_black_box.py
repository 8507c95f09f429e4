import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import confusion, grad_cam, layer_importance, occlusion, rise, shap_values
from kerasnas.explain.model.black_box import BlackBox, scores_of
from kerasnas.explain.model.score_view import ScoreView

layers = keras.layers


@pytest.fixture
def images(rng):
    return rng.random((3, 12, 12, 3)).astype("float32")


def test_probabilities_are_explained_by_their_log_odds(cnn, images):
    model = cnn(classes=4)
    logits = ScoreView(model, images).evaluate(images)
    box = BlackBox(lambda x: model.predict(x, verbose=0), images)
    assert box.score_kind == "log-odds"
    others = np.stack([np.log(np.exp(np.delete(logits, i, axis=1)).sum(axis=1)) for i in range(4)], axis=1)
    np.testing.assert_allclose(box.evaluate(images), logits - others, atol=1e-4)
    np.testing.assert_allclose(box.probabilities(box.evaluate(images)), model.predict(images, verbose=0), atol=1e-5)


def test_a_sure_answer_still_tells_more_from_less(images):
    answers = iter([np.array([[1 - 2e-9, 1e-9, 1e-9]] * 3), np.array([[1 - 2e-12, 1e-12, 1e-12]] * 3)])
    box = BlackBox(lambda x: next(answers), images)
    np.testing.assert_allclose(box.evaluate(images)[0], np.log([1 / 2e-12, 1e-12, 1e-12]), rtol=1e-4)


def test_one_unit_has_two_opposite_classes(cnn, images):
    model = cnn(classes=1, head="sigmoid")
    box, view = BlackBox(lambda x: model.predict(x, verbose=0), images), ScoreView(model, images)
    assert box.single
    assert box.classes == 2
    np.testing.assert_allclose(box.evaluate(images), view.evaluate(images), atol=1e-5)
    p = model.predict(images, verbose=0)
    for scores in (box, view):
        np.testing.assert_allclose(scores.probabilities(scores.evaluate(images)), np.hstack([1 - p, p]), atol=1e-5)


def test_rounded_probabilities_are_nowhere_surer_than_half_a_step(images):
    exact = np.array([[0.9, 0.07, 0.03], [0.999, 0.0006, 0.0004]])
    rounded = np.round(exact * 64) / 64  # the sum is not 1
    box = BlackBox(lambda x: rounded[: len(x)], images[:2], rounding=1 / 64)
    assert box.score_kind == "log-odds"
    expected = np.log([[58 / 6, 4 / 60, 2 / 62], [64 / 1, 0.5 / 64.5, 0.5 / 64.5]])
    np.testing.assert_allclose(box.evaluate(images[:2]), expected)


def test_what_is_no_probability_is_explained_as_it_is(images):
    answers = np.array([[0.5, 0.4], [0.1, 0.2], [0.3, 0.3]])
    box = BlackBox(lambda x: answers[: len(x)], images)
    assert box.score_kind == "output"
    np.testing.assert_array_equal(box.evaluate(images), answers)


@pytest.fixture
def onnx_file(tmp_path):
    """Make an ONNX file of logits: the mean of each channel, times 3."""
    from onnx import TensorProto, checker, helper, save

    def make(batch="batch", kind=TensorProto.FLOAT, outputs=1):
        nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0)]
        nodes.append(helper.make_node("Add", ["mean", "mean"], ["twice"]))
        nodes.append(helper.make_node("Add", ["mean", "twice"], ["scores"]))
        start = helper.make_tensor_value_info("x", kind, [batch, 12, 12, 3])
        ends = [helper.make_tensor_value_info(name, kind, [batch, 3]) for name in ("scores", "twice")[:outputs]]
        model = helper.make_model(helper.make_graph(nodes, "box", [start], ends), opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        checker.check_model(model)
        path = tmp_path / f"{batch}-{kind}-{outputs}.onnx"
        save(model, path)
        return path

    return make


@pytest.mark.parametrize("last", [[], ["Reshape", "Identity"]])
def test_an_onnx_file_that_rounds_its_answers_is_nowhere_surer_than_half_a_step(ending_onnx_file, images, last):
    path, logits = ending_onnx_file("Softmax", "QuantizeLinear", "DequantizeLinear", *last)
    powers = np.exp(logits(images))
    steps = np.rint(255 * powers / powers.sum(axis=1, keepdims=True))
    assert np.abs(steps.sum(axis=1) / 255 - 1).max() > 1e-3  # no sum of 1 by luck
    scores = scores_of(path, images)
    assert scores.score_kind == "log-odds"
    steps = np.maximum(steps, 0.5)
    others = np.stack([np.delete(steps, i, axis=1).sum(axis=1) for i in range(10)], axis=1)
    np.testing.assert_allclose(scores.evaluate(images), np.log(steps / others), atol=1e-5)
    assert scores_of(ending_onnx_file("Softmax")[0], images).evaluate(images).min() < np.log(0.5 / 255) - 1  # not rounded


def test_a_file_of_several_sigmoids_has_the_log_odds_of_each(ending_onnx_file, images):
    path, logits = ending_onnx_file("Sigmoid", units=4)
    scores, expected = scores_of(path, images), logits(images)
    assert scores.score_kind == "log-odds"
    np.testing.assert_allclose(scores.evaluate(images), expected, atol=1e-3)
    np.testing.assert_allclose(scores.probabilities(expected), 1 / (1 + np.exp(-expected)))
    np.testing.assert_allclose(np.exp(scores.log_probabilities(expected)).sum(axis=1), 1)  # as of the Keras model


@pytest.mark.parametrize("batch", ["batch", 1, 2, 7])
def test_an_onnx_file_of_any_batch_size(onnx_file, images, batch):
    scores = scores_of(str(onnx_file(batch)), images)
    np.testing.assert_allclose(scores.evaluate(images), 3 * images.mean(axis=(1, 2)), rtol=1e-4)
    found = occlusion(onnx_file(batch), images, target=1, patch=3, stride=3, baseline=0.0)
    expected = images[..., 1].reshape(3, 4, 3, 4, 3).sum(axis=(2, 4)) * 3 / 144
    np.testing.assert_allclose(found.values, expected.repeat(3, axis=1).repeat(3, axis=2), atol=1e-5)


@pytest.mark.parametrize("method", [occlusion, rise])
def test_a_file_of_whole_pixels_is_given_the_nearest(method, tmp_path):
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("ReduceMean", ["float"], ["scores"], axes=[1, 2], keepdims=0))
    start = helper.make_tensor_value_info("x", TensorProto.UINT8, ["batch", 6, 6, 3])
    end = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])
    model = helper.make_model(helper.make_graph(nodes, "box", [start], [end]), opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    save(model, path := tmp_path / "whole.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)

    def nearest(x):
        return np.clip(np.rint(x), 0, 255).mean(axis=(1, 2))

    for baseline in ("mean", -3.0, 255.6):  # what is between or beyond the pixels that it takes
        found, expected = (method(one, images, target=1, baseline=baseline).values for one in (path, nearest))
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("batch", ["batch", 2])
def test_shapley_values_of_an_onnx_file_and_of_a_function_have_the_closed_form(onnx_file, images, batch):
    pytest.importorskip("shap")
    # Of a linear score, the value of a cell is the part of the score that it adds to that of the baseline.
    cells = images[:2, ..., 1].reshape(2, 3, 4, 3, 4).sum(axis=(2, 4)) * 3 / 144
    for model in (onnx_file(batch), lambda x: 3 * x.mean(axis=(1, 2))):
        found = shap_values(model, images[:2], target=1, cells=3, evaluations=19, baseline=0.0)
        sums = found.values.reshape(2, 3, 4, 3, 4).sum(axis=(2, 4))
        np.testing.assert_allclose(sums, cells, atol=1e-5)


def test_files_that_are_no_classifier_of_images(onnx_file, images, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    broken_litert = tmp_path / "broken.tflite"
    broken_litert.write_bytes(b"no model")
    (tmp_path / "model.keras").write_bytes(b"PK")
    for path, message in (
        (tmp_path / "none.onnx", "there is none at"),
        (broken, "onnxruntime cannot load"),
        (tmp_path / "none.tflite", "a LiteRT file; there is none at"),
        (tmp_path / "model.keras", r"ONNX or LiteRT file; model.keras is a Keras .* Pass keras.models.load_model\(path\)"),
        (broken_litert, "can load, but broken.tflite stopped it"),
        (onnx_file(outputs=2), "one output.*scores, twice"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            occlusion(path, images)
    with pytest.raises(InvalidArgument, match="images of shape"):
        occlusion(onnx_file(), images[:, :6])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: np.zeros(len(x)), "real numbers of shape"),
        (lambda x: np.zeros((len(x) + 1, 2)), "real numbers of shape"),
        (lambda x: np.zeros((len(x), 0)), "real numbers of shape"),
        (lambda x: [["a", "b"]] * len(x), "real numbers of shape"),
        (lambda x: np.full((len(x), 2), np.nan), "NaN"),
    ],
)
def test_functions_that_do_not_answer_with_scores(images, answer, message):
    with pytest.raises(InvalidArgument, match=message):
        occlusion(answer, images)


def test_three_axes_may_be_grey_images_or_one_image():
    message = r"images\[\.\.\., None\] if they are grey.*images\[None\] if it is one image"
    for shape in ((3, 12, 12), (12, 12, 3), (12, 12, 1)):
        with pytest.raises(InvalidArgument, match=message):
            occlusion(lambda x: x.mean(axis=(1, 2)), np.zeros(shape))


def test_what_cannot_be_explained_at_all(images):
    with pytest.raises(InvalidArgument, match=r"ONNX or LiteRT file, or a function.*builtins\.int"):
        occlusion(3, images)


def test_a_subclassed_model_is_explained_as_a_function(images, subclassed):
    model = subclassed
    with pytest.raises(InvalidArgument, match=r"subclassed.*model\.predict"):
        grad_cam(model, images)
    found = occlusion(lambda x: model.predict(x, verbose=0), images, target=1)
    assert found.details["score"] == "log-odds"
    assert np.abs(found.values).max() > 0


def test_a_score_that_lies_between_zero_and_one_is_no_probability():
    weights = np.zeros((8, 8))
    weights[2:4, 2:4], weights[5:7, 5:7] = 1.0, -0.9
    one = np.ones((1, 8, 8, 1), "float32")

    def explained(images):
        return occlusion(lambda x: (x[..., 0] * weights).sum(axis=(1, 2))[:, None], images, baseline=0.0, patch=2, stride=2)

    found = explained(np.concatenate([one, 10 * one]))
    assert found.details["score"] == "output"
    assert found.targets[0] == 1
    assert found.values[0, 2, 2] == pytest.approx(4)
    with pytest.raises(InvalidArgument, match="Expected probabilities"):  # of this image alone it cannot be told before
        explained(one)


def test_a_function_that_leaves_zero_to_one_is_told(images):
    box = BlackBox(lambda x: np.full((len(x), 1), 0.5 if x.max() <= 1 else 2.0), images)
    with pytest.raises(InvalidArgument, match="Expected probabilities"):
        box.evaluate(images + 5)


@pytest.mark.parametrize("units", [1, 3])
def test_a_keras_model_that_mixes_probabilities_is_explained_by_their_logarithms(rng, units):
    start = keras.Input((8, 8, 1))
    parts = [
        keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(units, "softmax" if units > 1 else "sigmoid")])
        for _ in range(2)
    ]
    model = keras.Model(start, layers.Average()([part(start) for part in parts]))
    x = rng.standard_normal((40, 8, 8, 1)).astype("float32")
    p = model.predict(x, verbose=0)
    p = p if units > 1 else np.hstack([1 - p, p])
    view = ScoreView(model, x)
    assert view.score_kind == "log-probability"
    np.testing.assert_allclose(view.probabilities(view.evaluate(x)), p, atol=1e-5)
    np.testing.assert_array_equal(view.resolve_target(None), p.argmax(axis=1))
    found = confusion(model, x, p.argmax(axis=1))
    assert found.accuracy == 1
    assert layer_importance(model, x, p.argmax(axis=1), repeats=1, ways="mean").accuracy == 1


def test_a_sigmoid_for_each_class_keeps_its_probabilities(rng):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3, activation="sigmoid")])
    x = rng.standard_normal((5, 4, 4, 1)).astype("float32")
    view = ScoreView(model, x)
    np.testing.assert_allclose(view.probabilities(view.evaluate(x)), model.predict(x, verbose=0), atol=1e-5)


def test_parts_that_do_not_fit_together(cnn):
    with pytest.raises(InvalidArgument, match="several inputs"):
        occlusion(cnn(), [np.zeros((2, 4, 4, 1)), np.zeros((2, 3))])
