"""A fitted classifier: what it predicts, and what becomes of it."""

import copy
import json
import os
import shutil
import stat
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest
import sklearn.metrics
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from kerasnas import ImageClassifier
from kerasnas.errors import InvalidArgument
from kerasnas.search.final_epochs import final_epochs
from kerasnas.spaces import ConvDense

DIGITS = load_digits()

PIXELS = DIGITS.images.astype("uint8")

NAMES = np.asarray(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[DIGITS.target]

TRAIN, TEST = slice(0, 400), slice(400, 520)


@pytest.fixture(scope="module")
def fits():
    """What `ConvDense.fit` was called with."""
    return []


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, fits):
    original = ConvDense.fit

    def spy(self, hp, model, *args, **kwargs):
        fits.append((args, kwargs))
        return original(self, hp, model, *args, **kwargs)

    classifier = ImageClassifier(
        max_trials=2, space="tiny", seed=0, directory=str(tmp_path_factory.mktemp("search")), project_name="digits"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConvDense, "fit", spy)
        assert classifier.fit(PIXELS[TRAIN], NAMES[TRAIN], epochs=4, verbose=0) is classifier
    return classifier


@pytest.mark.parametrize(
    "use",
    [
        lambda c: c.predict(PIXELS),
        lambda c: c.predict_proba(PIXELS),
        lambda c: c.score(PIXELS, NAMES),
        lambda c: c.evaluate(PIXELS, NAMES),
        lambda c: c.classification_report(PIXELS, NAMES),
        lambda c: c.explain(PIXELS),
        lambda c: c.compress(PIXELS, NAMES),
        lambda c: c.export("never.onnx"),
        lambda c: c.save("never"),
        lambda c: c.summary(),
    ],
)
def test_not_fitted(use):
    with pytest.raises(NotFittedError):
        use(ImageClassifier())


def test_fit_leaves_the_parameters_and_adds_underscored_attributes(classifier):
    assert clone(classifier).get_params() == classifier.get_params()
    added = set(vars(classifier)) - set(classifier.get_params())
    assert added == {
        "classes_", "model_", "record_", "best_hyperparameters_", "epochs_", "history_", "members_", "pixel_range_",
        "_trials_ended",
    }  # fmt: skip
    assert classifier.classes_.tolist() == sorted(set(NAMES))
    assert classifier.pixel_range_ == (0, 16)


# -- what it predicts --


def test_probabilities_and_labels(classifier):
    probabilities, labels = classifier.predict_proba(PIXELS[TEST]), classifier.predict(PIXELS[TEST])
    assert probabilities.shape == (120, 10)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert labels.dtype.kind == "U"
    np.testing.assert_array_equal(labels, classifier.classes_[probabilities.argmax(axis=1)])


def test_it_has_learned(classifier):
    assert classifier.score(PIXELS[TEST], NAMES[TEST]) > 0.3  # chance is 0.1


def test_pictures_in_any_form_give_the_same(classifier):
    expected = classifier.predict_proba(PIXELS[:20])
    for x in (PIXELS[:20, ..., None], PIXELS[:20].astype("float64"), PIXELS[:20].astype("int64"), PIXELS[:20].tolist()):
        np.testing.assert_allclose(classifier.predict_proba(x), expected, atol=1e-6)
    dataset = _dataset(PIXELS[:20, ..., None], NAMES[:20])
    np.testing.assert_allclose(classifier.predict_proba(dataset), expected, atol=1e-6)
    assert classifier.evaluate(dataset) == classifier.evaluate(PIXELS[:20], NAMES[:20])
    assert classifier.score(dataset) == classifier.score(PIXELS[:20], NAMES[:20])


def _dataset(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(7)


def test_the_figures_are_those_of_scikit_learn(classifier):
    x, y = PIXELS[TEST], NAMES[TEST]
    predicted, probabilities = classifier.predict(x), classifier.predict_proba(x).astype("float64")
    accuracy = sklearn.metrics.accuracy_score(y, predicted)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    evaluation = classifier.evaluate(x, y)
    assert classifier.score(x, y) == pytest.approx(accuracy, abs=1e-12)
    assert evaluation["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    expected = sklearn.metrics.log_loss(y, probabilities, labels=classifier.classes_)
    assert evaluation["loss"] == pytest.approx(expected, rel=1e-5)  # float32 rows sum to 1 within 1e-6
    weights = np.random.default_rng(0).random(len(y))
    assert classifier.score(x, y, weights) == pytest.approx(sklearn.metrics.accuracy_score(y, predicted, sample_weight=weights))
    report = sklearn.metrics.classification_report(y, predicted, labels=classifier.classes_, zero_division=0)
    assert classifier.classification_report(x, y) == report


def test_the_winner_is_trained_again_on_all_the_data(classifier, fits):
    trials, final = fits[:-1], fits[-1]
    assert len(trials) == 2
    for (x, y), settings in trials:
        assert len(x) == len(y) == 320
        assert len(settings["validation_data"][0]) == 80
    (x, y), settings = final
    assert sorted(row.tobytes() for row in x) == sorted(row.tobytes() for row in PIXELS[TRAIN, ..., None])
    by_pixels = {row.tobytes(): name for row, name in zip(PIXELS[TRAIN], NAMES[TRAIN], strict=True)}
    assert [by_pixels[row.tobytes()] for row in x] == classifier.classes_[y].tolist()
    assert "validation_data" not in settings
    assert settings["epochs"] == classifier.epochs_ == final_epochs(classifier.record_, 4)
    assert len(classifier.history_["loss"]) == classifier.epochs_


def test_the_record_is_that_of_the_search(classifier):
    assert len(classifier.record_.trials) == 2
    assert classifier.best_hyperparameters_ == dict(classifier.record_.best.values)
    assert classifier.record_.best.score == max(t.score for t in classifier.record_.completed)


def test_summary(classifier, capsys):
    classifier.summary()
    printed = capsys.readouterr().out
    assert f"val_accuracy {classifier.record_.best.score:.4f}" in printed
    assert all(f"  {name}: " in printed for name in classifier.best_hyperparameters_)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 9, 8)), r"shape \(8, 8, 1\), got \(9, 8, 1\)"),
        (np.zeros((2, 8, 8, 3)), r"got \(8, 8, 3\)"),
        (np.zeros((0, 8, 8)), "to hold pictures"),
        (np.full((2, 8, 8), np.nan), "finite"),
    ],
)
def test_pictures_that_do_not_fit(classifier, x, message):
    with pytest.raises(InvalidArgument, match=message):
        classifier.predict(x)


def test_pictures_of_any_size_for_a_model_that_takes_them():
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    estimator = ImageClassifier()
    estimator.model_, estimator.classes_ = keras.Model(inputs, outputs), np.asarray(["a", "b"])
    assert estimator.predict_proba(np.zeros((3, 5, 7))).shape == (3, 2)
    with pytest.raises(InvalidArgument, match=r"got \(5, 7, 3\)"):
        estimator.predict_proba(np.zeros((3, 5, 7, 3)))


def test_labels_that_do_not_fit(classifier):
    for method in (classifier.evaluate, classifier.score, classifier.classification_report, classifier.compress):
        with pytest.raises(InvalidArgument, match=r"among .* got \['ten'\]"):
            method(PIXELS[:2], ["ten", "one"])
        with pytest.raises(InvalidArgument, match="3"):
            method(PIXELS[:2], ["one", "one", "two"])


# -- what becomes of it --


def test_explain_a_label(classifier):
    x = PIXELS[400:403]
    one = classifier.explain(x, target="three")
    assert one.values.shape == (3, 8, 8)
    code = classifier.classes_.tolist().index("three")
    np.testing.assert_array_equal(np.asarray(one.targets), [code] * 3)
    each = classifier.explain(x, target=["three", "one", "three"])
    np.testing.assert_array_equal(each.values[[0, 2]], one.values[[0, 2]])
    default = classifier.explain(x)
    assert default.method == "integrated_gradients"  # of 8 x 8 pixels Grad-CAM marks nothing
    assert classifier.explain(x, method="grad_cam").method == "grad_cam"
    np.testing.assert_array_equal(np.asarray(default.targets), classifier.predict_proba(x).argmax(axis=1))
    with pytest.raises(InvalidArgument, match=r"target among .* got \['ten'\]"):
        classifier.explain(x, target="ten")
    with pytest.raises(InvalidArgument, match=r"one of grad_cam, .*rise.*; came 'saliency'"):
        classifier.explain(x, method="saliency")


@pytest.mark.slow
def test_compress_returns_a_copy(classifier):
    before = [w.copy() for w in classifier.model_.get_weights()]
    small = classifier.compress(PIXELS[TRAIN], NAMES[TRAIN], sparsity=0.5, epochs=2)
    for old, now in zip(before, classifier.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    assert small is not classifier
    assert small.model_ is not classifier.model_
    kernels = [w for w in small.model_.get_weights() if w.ndim > 1]
    zeros = sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels)
    assert zeros > 0.4
    assert small.predict(PIXELS[:5]).dtype.kind == "U"


@pytest.mark.slow
def test_compress_by_channels_or_for_a_goal(classifier, tmp_path):
    half = classifier.compress(PIXELS[TRAIN], NAMES[TRAIN], channels=0.5, epochs=1)
    assert half.model_.count_params() < 0.6 * classifier.model_.count_params()
    assert half.predict(PIXELS[:5]).dtype.kind == "U"
    judged = {"held_out": (PIXELS[TEST], NAMES[TEST]), "test": (PIXELS[520:700], NAMES[520:700])}
    bounds = {"max_loss": 1.0, "max_trials": 1, "epochs": 1, "control": False, "formats": (), "verbose": 0}
    small = classifier.compress(PIXELS[TRAIN], NAMES[TRAIN], goal="smallest", directory=tmp_path, **bounds, **judged)
    assert small.model_.count_params() == small.compression_.chosen.parameters < classifier.model_.count_params()
    assert small.score(PIXELS[520:700], NAMES[520:700]) == pytest.approx(small.compression_.test["chosen"])
    session = onnxruntime.InferenceSession(str(small.compression_.path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == classifier.classes_.tolist()
    quick = {"max_loss": 1.0, "max_trials": 0, "held_out": judged["held_out"], "verbose": 0}
    eight = classifier.compress(
        PIXELS[TRAIN], NAMES[TRAIN], goal="smallest", directory=tmp_path / "8", formats=["U8U8"], **quick
    )
    assert eight.compression_.chosen.format == "U8U8"
    file = eight.export(tmp_path / "goal.onnx", x=PIXELS[TEST])
    assert file.path.read_bytes() == eight.compression_.path.read_bytes()
    assert file.labels == tuple(classifier.classes_)
    assert str(file.path) in str(file)
    eight.save(tmp_path / "saved")
    loaded = ImageClassifier.load(tmp_path / "saved")
    assert loaded.export(tmp_path / "loaded.onnx").path.read_bytes() == file.path.read_bytes()
    classifier.save(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"model.keras", "classifier.json"}
    with pytest.raises(InvalidArgument, match="got opset"):
        eight.export(tmp_path / "other.onnx", opset=15)
    shutil.copyfile(small.compression_.path, eight.compression_.path)
    with pytest.raises(InvalidArgument, match="another search replaced it"):
        eight.export(tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
    with pytest.warns(UserWarning, match=r"only its network is saved, in float32"):
        eight.save(tmp_path / "saved")
    plain = ImageClassifier.load(tmp_path / "saved").export(tmp_path / "float.onnx")
    session = onnxruntime.InferenceSession(str(plain.path), providers=["CPUExecutionProvider"])
    assert "quantization" not in session.get_modelmeta().custom_metadata_map
    zeros = eight.compress(PIXELS[TRAIN], NAMES[TRAIN], sparsity=0.5, epochs=1)
    assert "(50%)" in str(zeros.compression_)
    assert str(half.compression_).startswith("layer")
    with pytest.raises(InvalidArgument, match="got sparsity and goal"):
        classifier.compress(PIXELS, NAMES, sparsity=0.5, goal="smallest")
    with pytest.raises(InvalidArgument, match=r"\['ten'\]"):
        classifier.compress(PIXELS[TRAIN], NAMES[TRAIN], goal="smallest", held_out=(PIXELS[:1], ["ten"]))
    with pytest.raises(InvalidArgument, match=r"\['ten'\]"):
        classifier.compress(PIXELS[TRAIN], NAMES[TRAIN], channels=0.5, epochs=1, held_out=[PIXELS[:1], ["ten"]])


def test_export_computes_the_same_from_raw_pixels(classifier, tmp_path):
    file = classifier.export(tmp_path / "digits.onnx")
    assert file.verification.passed
    session = onnxruntime.InferenceSession(str(tmp_path / "digits.onnx"), providers=["CPUExecutionProvider"])
    x = PIXELS[TEST].astype("float32")[..., None]
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(probabilities, classifier.predict_proba(PIXELS[TEST]), atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    labels = next(json.loads(v) for k, v in metadata.items() if "label" in k)
    assert labels == classifier.classes_.tolist()


def test_save_and_load(classifier, tmp_path):
    classifier.save(tmp_path / "saved")
    loaded = ImageClassifier.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict_proba(PIXELS[TEST]), classifier.predict_proba(PIXELS[TEST]))
    assert loaded.get_params() == classifier.get_params()
    for name in ("best_hyperparameters_", "epochs_", "history_", "pixel_range_"):
        assert getattr(loaded, name) == getattr(classifier, name)
    assert loaded.record_ == classifier.record_
    mode = stat.S_IMODE(os.stat(tmp_path / "saved").st_mode)
    (tmp_path / "usual").mkdir()
    assert mode == stat.S_IMODE(os.stat(tmp_path / "usual").st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved", "usual"]  # no draft left


@pytest.mark.slow
def test_plain_keras_loads_the_model(classifier, tmp_path):
    classifier.save(tmp_path / "saved")
    np.save(tmp_path / "x.npy", PIXELS[TEST, ..., None])
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model('saved/model.keras')\n"
        "assert not any(m.startswith('kerasnas') for m in sys.modules)\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), classifier.predict_proba(PIXELS[TEST]), atol=1e-6)


def test_save_over_an_earlier_one_and_nothing_else(classifier, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgument, match="no saved classifier"):
        classifier.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    classifier.save(tmp_path / "saved")
    (tmp_path / "saved" / "model.onnx").write_text("an export")
    other = copy.copy(classifier)
    other.pixel_range_ = (3.0, 4.0)
    other.save(tmp_path / "saved")
    assert ImageClassifier.load(tmp_path / "saved").pixel_range_ == (3.0, 4.0)
    assert (tmp_path / "saved" / "model.onnx").read_text() == "an export"


def test_load_what_is_none(classifier, tmp_path):
    with pytest.raises(InvalidArgument, match=r"classifier\.json and model\.keras"):
        ImageClassifier.load(tmp_path)
    classifier.save(tmp_path / "saved")
    model = tmp_path / "saved" / "model.keras"
    for content in (b"", b"no zip", model.read_bytes()[:-100], model.read_bytes()[:100]):
        model.write_bytes(content)
        with pytest.raises(InvalidArgument, match=r"model\.keras cannot be loaded"):
            ImageClassifier.load(tmp_path / "saved")


def test_a_search_that_did_not_make_the_classifier_is_not_its_record(classifier, tmp_path):
    run, project = tmp_path / "run", classifier.record_.path
    shutil.copytree(project, run / project.name)
    classifier.write_files(run)
    assert ImageClassifier.load(run).record_.path == run / project.name  # the copy beside it, not the original
    assert json.loads((run / "classifier.json").read_text())["trials_ended"] == len(classifier.record_.ended)
    for file in (run / project.name).glob("trial_*/trial.json"):
        state = json.loads(file.read_text())
        state["hyperparameters"]["values"]["dropout"] = 0.4321
        file.write_text(json.dumps(state))
    assert ImageClassifier.load(run).record_.path == project  # the other one fits
    known = json.loads((run / "classifier.json").read_text())
    (run / "classifier.json").write_text(json.dumps(known | {"project": str(tmp_path / "gone" / project.name)}))
    with pytest.warns(UserWarning, match="holds another search than the one that made this classifier"):
        loaded = ImageClassifier.load(run)
    assert not hasattr(loaded, "record_")
    loaded.summary()
