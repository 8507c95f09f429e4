"""Fitting: scikit-learn's conventions, resuming, spaces and oracles of one's own, and errors at the door."""

import copy

import keras
import keras_tuner as kt
import numpy as np
import pytest
import sklearn.metrics
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from kerasnas import ImageClassifier, NASTuner
from kerasnas.errors import InvalidArgument
from kerasnas.objectives import MnasNetReward
from kerasnas.oracles import RandomOracle
from kerasnas.search.data_check import check_metrics
from kerasnas.search.patience import patience
from kerasnas.spaces import ConvDense


class Line(kt.HyperModel):
    """A linear model with `units` outputs: as fast to fit as a model can be."""

    def __init__(self, units: int = 2, activation: str | None = "softmax", loss: str = "sparse_categorical_crossentropy"):
        super().__init__(name="line")
        self.units, self.activation, self.loss = units, activation, loss

    def build(self, hp):
        model = keras.Sequential(
            [
                keras.layers.Input((4, 4, 1)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(self.units, activation=self.activation),
            ]
        )
        rate = hp.Choice("rate", [0.01, 0.03, 0.1])
        # Eagerly: to trace the graph would take longer than to train.
        model.compile(keras.optimizers.Adam(rate), self.loss, metrics=["accuracy"], run_eagerly=True)
        return model


def _halves(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Pictures bright on the left (class 0) or on the right (class 1)."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    x = rng.integers(0, 60, (n, 4, 4)).astype("uint8")
    for i, label in enumerate(labels):
        x[i, :, 2 * label : 2 * label + 2] += 180
    return x, labels


def reward(target: float = 1e5) -> MnasNetReward:
    return MnasNetReward("val_accuracy", cost="parameters", target=target)


def _line(tmp_path, **settings) -> ImageClassifier:
    settings = {"max_trials": 1, "space": Line(), "oracle": "random", "seed": 0, "directory": str(tmp_path)} | settings
    return ImageClassifier(**settings)


def test_the_defaults_of_the_space_are_tried_first(tmp_path):
    classifier = _line(tmp_path, max_trials=2).fit(*_halves(), epochs=1, verbose=0)
    assert classifier.record_.trials[0].values == {"rate": 0.01}
    assert classifier.record_.trials[0].decision["phase"] == "initial point"


# -- scikit-learn's conventions --


def test_init_only_stores():
    given = {name: object() for name in ImageClassifier().get_params()}
    estimator = ImageClassifier(**given)
    assert {name: getattr(estimator, name) for name in given} == given
    assert vars(estimator) == given


def test_clone_and_parameters():
    estimator = ImageClassifier(max_trials=3, seed=4)
    assert clone(estimator).get_params() == estimator.get_params()
    assert estimator.set_params(max_trials=7) is estimator
    assert estimator.max_trials == 7
    assert repr(estimator) == "ImageClassifier(max_trials=7, seed=4)"
    assert is_classifier(estimator)
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(trials=3)


@pytest.mark.slow
def test_cross_validation(tmp_path):
    x, y = _halves()
    scores = cross_val_score(_line(tmp_path, overwrite=True), x, y, cv=2, params={"epochs": 12, "verbose": 0})
    assert scores.tolist() == [1.0, 1.0]


# -- labels --


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    x, y = _halves()
    return _line(tmp_path_factory.mktemp("line")).fit(x, y, epochs=12, verbose=0)


@pytest.mark.parametrize("kind", ["str", "int64", "bool"])
def test_labels_keep_their_kind_through_a_file(binary, tmp_path, kind):
    classes = {"str": np.asarray(["no", "yes"]), "int64": np.asarray([-5, 12]), "bool": np.asarray([False, True])}[kind]
    x, y = _halves()
    named = copy.copy(binary)
    named.classes_ = classes
    named.save(tmp_path / "saved")
    loaded = ImageClassifier.load(tmp_path / "saved")
    assert loaded.classes_.dtype.kind == classes.dtype.kind
    np.testing.assert_array_equal(loaded.predict(x), classes[y])
    assert loaded.score(x, classes[y]) == 1.0


def test_a_single_sigmoid_unit(tmp_path):
    x, y = _halves()
    names = np.asarray(["left", "right"])[y]
    binary = _line(tmp_path, space=Line(1, "sigmoid", "binary_crossentropy")).fit(x, names, epochs=15, verbose=0)
    probabilities = binary.predict_proba(x)
    assert probabilities.shape == (80, 2)
    np.testing.assert_allclose(probabilities[:, 1], binary.model_.predict(x[..., None], verbose=0)[:, 0])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(binary.predict(x), names)
    assert binary.evaluate(x, names)["loss"] == pytest.approx(sklearn.metrics.log_loss(y, probabilities[:, 1]), rel=1e-4)


# -- resuming --


def _count_trials(monkeypatch) -> list[str]:
    run: list[str] = []
    original = NASTuner.run_trial

    def spy(self, trial, *args, **kwargs):
        run.append(trial.trial_id)
        return original(self, trial, *args, **kwargs)

    monkeypatch.setattr(NASTuner, "run_trial", spy)
    return run


@pytest.mark.slow
def test_the_same_fit_resumes_and_other_data_does_not(tmp_path, monkeypatch):
    run = _count_trials(monkeypatch)
    x, y = _halves()
    first = _line(tmp_path, max_trials=2).fit(x, y, epochs=2, verbose=0)
    assert len(run) == 2
    again = _line(tmp_path, max_trials=2).fit(x, y, epochs=2, verbose=0)
    assert len(run) == 2
    np.testing.assert_array_equal(again.predict_proba(x), first.predict_proba(x))
    _line(tmp_path, max_trials=3).fit(x, y, epochs=2, verbose=0)
    assert len(run) == 3

    changes = [
        ({}, {"x": x + 1}, "other data"),
        ({}, {"y": 1 - y}, "other data"),
        ({}, {"epochs": 3}, "other epochs"),
        ({}, {"batch_size": 16}, "other batch_size"),
        ({}, {"validation_split": 0.5}, r"otherwise by validation_split \(0\.2, now 0\.5\)"),
        ({"seed": 1}, {}, r"other data, or the same divided otherwise by seed \(0, now 1\)"),
        ({"objective": "val_loss"}, {}, "other objective"),
        ({"space": ConvDense.tiny((4, 4, 1), 2)}, {}, "other space"),
    ]
    for parameters, arguments, message in changes:
        with pytest.raises(InvalidArgument, match=message):
            _line(tmp_path, **parameters).fit(**({"x": x, "y": y, "epochs": 2, "verbose": 0} | arguments))
    assert len(run) == 3
    _line(tmp_path, overwrite=True).fit(x + 1, y, epochs=2, verbose=0)
    assert len(run) == 4


def test_another_named_space_is_another_search(tmp_path, monkeypatch):
    # Both are ConvDense: the name of the class does not tell them apart.
    monkeypatch.setattr(NASTuner, "search", lambda *args, **kwargs: pytest.fail("the search went on"))
    x, y = _halves()
    with pytest.raises(pytest.fail.Exception):
        _line(tmp_path, space="tiny").fit(x, y, verbose=0)
    with pytest.raises(InvalidArgument, match="other space"):
        _line(tmp_path, space="small").fit(x, y, verbose=0)
    with pytest.raises(pytest.fail.Exception):
        _line(tmp_path, space="auto").fit(x, y, verbose=0)  # tiny, for pictures of 4 x 4


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (reward(target=1e5), reward(target=1e4)),
        (["val_loss", kt.Objective("macs", "min")], ["val_loss", kt.Objective("parameters", "min")]),
    ],
)
def test_another_objective_of_the_same_name_is_another_search(tmp_path, monkeypatch, before, now):
    monkeypatch.setattr(NASTuner, "search", lambda *args, **kwargs: pytest.fail("the search went on"))
    for objective in (before, before):
        with pytest.raises(pytest.fail.Exception):
            _line(tmp_path, space="tiny", objective=objective).fit(*_halves(), verbose=0)
    with pytest.raises(InvalidArgument, match="other objective"):
        _line(tmp_path, space="tiny", objective=now).fit(*_halves(), verbose=0)


def test_finalists_of_several_objectives_are_refused_before_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(NASTuner, "search", lambda *args, **kwargs: pytest.fail("the search began"))
    several = [kt.Objective("val_accuracy", "max"), kt.Objective("parameters", "min")]
    with pytest.raises(InvalidArgument, match="one objective to compare 2 finalists"):
        _line(tmp_path, space="tiny", objective=several, finalists=2).fit(*_halves(), verbose=0)


@pytest.mark.parametrize(
    ("objective", "monitor"),
    [
        (kt.Objective("val_loss", "min"), ("val_loss", "min")),
        (reward(), ("val_accuracy", "max")),
        (kt.Objective("parameters", "min"), None),
        (RandomOracle(objective=["val_loss", kt.Objective("macs", "min")]).objective, None),
    ],
)
def test_a_trial_ends_early_by_what_its_epochs_tell(objective, monitor):
    callbacks = patience(objective, 40)
    assert [(one.monitor, one.mode, one.patience) for one in callbacks] == ([(*monitor, 10)] if monitor else [])


# -- parts of one's own --


@pytest.mark.slow
def test_a_kt_oracle_counts_with_its_own_settings_and_is_left_as_it_was(tmp_path, monkeypatch):
    run = _count_trials(monkeypatch)
    x, y = _halves()
    oracle = kt.oracles.RandomSearchOracle(objective="val_loss", max_trials=2, seed=3)
    estimator = _line(tmp_path, oracle=oracle, overwrite=True)
    for fit in (1, 2):
        estimator.fit(x, y, epochs=2, verbose=0)
        assert estimator.record_.objective == "val_loss"
        assert len(run) == 2 * fit
    assert estimator.oracle is oracle
    assert not oracle.trials


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Line(2, None), "values from"),
        (Line(3), r"shape \(8, 2\), got shape \(8, 3\)"),
        (Line(1, None, "mean_squared_error"), "softmax"),
    ],
)
def test_a_model_that_gives_no_probabilities(tmp_path, space, message):
    x, y = _halves()
    estimator = _line(tmp_path, space=space)
    with pytest.raises(InvalidArgument, match=message):
        estimator.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(NotFittedError):
        estimator.predict(x)


class Figures(Line):
    """A HyperModel that trains in its own way and returns plain figures."""

    def fit(self, hp, model, x, y, **kwargs):
        model.fit(x, y, epochs=2, verbose=0)
        x, y = kwargs.get("validation_data") or (x, y)  # the final training has none
        return {"val_accuracy": float(np.mean(model.predict(x, verbose=0).argmax(axis=1) == y))}


def test_a_hypermodel_that_returns_figures_instead_of_a_history(tmp_path):
    x, y = np.zeros((20, 4, 4), "uint8"), np.arange(20) % 2
    classifier = ImageClassifier(max_trials=1, space=Figures(), directory=tmp_path, seed=0)
    classifier.fit(x, y, epochs=3, callbacks=[], verbose=0)
    assert classifier.history_ == {}
    assert classifier.predict(x).shape == (20,)


# -- arguments --


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_trials": 0}, "`max_trials` to be an integer >= 1, got 0"),
        ({"max_trials": 2.5}, "`max_trials` to be an integer >= 1, got 2.5"),
        ({"max_trials": True}, "`max_trials` .* got True"),
        ({"oracle": "genetic"}, r"`oracle` to be one of \['auto', 'dyna', 'evolution', .*'reinforce'\] .* got 'genetic'"),
        ({"oracle": ["auto"]}, r"`oracle` .* got \['auto'\]"),
        ({"space": "huge"}, "`space` to be 'auto' or one of .* got 'huge'"),
        ({"space": 3}, "`space` .* got 3"),
        ({"objective": "val_acuracy"}, "`objective` .* got 'val_acuracy'"),
        ({"objective": 3}, "`objective` .* got 3"),
        ({"seed": -1}, "`seed` to be an integer >= 0 or None, got -1"),
        ({"seed": 1.5}, "`seed` .* got 1.5"),
        ({"seed": "0"}, "`seed` .* got '0'"),
    ],
)
def test_parameters_that_cannot_be_used(tmp_path, parameters, message):
    x, y = _halves()
    with pytest.raises(InvalidArgument, match=message):
        _line(tmp_path, **parameters).fit(x, y, epochs=1, verbose=0)


@pytest.mark.filterwarnings("ignore:Early stopping conditioned on metric")
def test_an_objective_that_the_model_does_not_measure(tmp_path):
    x, y = _halves()
    with pytest.raises(InvalidArgument, match=r"objective 'val_auc' among the metrics .* 'val_accuracy'"):
        _line(tmp_path, objective=kt.Objective("val_auc", "max")).fit(x, y, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "`epochs` to be an integer >= 1, got 0"),
        ({"epochs": "3"}, "`epochs` .* got '3'"),
        ({"batch_size": 0}, "`batch_size` .* got 0"),
        ({"batch_size": None}, "`batch_size` .* got None"),
        ({"validation_split": 1.0}, "`validation_split` .* got 1.0"),
        ({"y": None}, "Expected labels, got None"),
        ({"x": np.zeros((3, 4, 4))}, "got 3 pictures and 80 labels"),
    ],
)
def test_arguments_of_fit_that_cannot_be_used(tmp_path, arguments, message):
    x, y = _halves()
    with pytest.raises(InvalidArgument, match=message):
        _line(tmp_path).fit(**({"x": x, "y": y, "epochs": 1, "verbose": 0} | arguments))
    assert not (tmp_path / "image_classifier").exists()


def test_numpy_integers_are_integers(tmp_path):
    x, y = _halves()
    estimator = _line(tmp_path, max_trials=np.int64(1), seed=np.int64(5))
    estimator.fit(x, y, epochs=np.int64(2), batch_size=np.int32(16), verbose=0)
    estimator.save(tmp_path / "saved")
    assert estimator.record_.seed == 5


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("val_acc", "got 'val_acc'. Did you mean 'val_accuracy'"),
        ("accuracy", "by which whatever overfits would win. Choose 'val_accuracy'"),
        ([kt.Objective("val_los", "min"), kt.Objective("macs", "min")], "Did you mean 'val_loss'"),
    ],
)
def test_an_objective_that_the_space_does_not_measure_leaves_nothing_behind(tmp_path, objective, message):
    classifier = ImageClassifier(objective=objective, space="tiny", directory=tmp_path / "new")
    with pytest.raises(InvalidArgument, match=message):
        classifier.fit(*_halves(), verbose=0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("metrics", [[keras.metrics.AUC(name="auc")], {"loss": "auc"}, "auc", 3])
def test_an_attribute_metrics_that_holds_no_names_says_nothing_of_the_objective(metrics):
    hypermodel = kt.HyperModel()
    hypermodel.metrics = metrics
    check_metrics(hypermodel, kt.Objective("val_auc", "max"))
    hypermodel.metrics = ["accuracy"]
    with pytest.raises(InvalidArgument, match="Did you mean 'val_accuracy'"):
        check_metrics(hypermodel, kt.Objective("val_auc", "max"))


@pytest.mark.slow
def test_classes_that_weigh_nothing_are_not_learned(tmp_path):
    x, y = _halves()
    names = np.array(["left", "right"])[y]
    classifier = _line(tmp_path).fit(x, names, epochs=15, callbacks=[], class_weight={"left": 0.0}, verbose=0)
    assert set(classifier.predict(x)) == {"right"}  # the final training
    assert classifier.record_.best.curves[0]["val_accuracy"][-1] == pytest.approx(0.5)  # the trial
    with pytest.raises(InvalidArgument, match="other class_weight"):
        _line(tmp_path).fit(x, names, epochs=15, class_weight="balanced", verbose=0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"up": 1}, r"labels of class_weight among"), ({"left": -1}, "finite numbers >= 0, got -1"), ("equal", "got 'equal'")],
)
def test_weights_that_fit_no_class(tmp_path, weights, message):
    x, y = _halves()
    with pytest.raises(InvalidArgument, match=message):
        _line(tmp_path).fit(x, np.array(["left", "right"])[y], class_weight=weights, verbose=0)
