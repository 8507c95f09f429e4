"""A training that is broken off goes on from its last finished epoch, and ends as one that never was."""

import warnings

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras import layers

from kerasnas.search.epoch_state import EpochStateFile
from kerasnas.search.resumable_fit import ResumableFit

X = np.random.default_rng(0).normal(size=(90, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 90)
EPOCHS = 6


def network(units=5, *, build=True):
    keras.utils.set_random_seed(5)
    stack = [layers.GaussianNoise(0.1), layers.Dense(units), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *stack] if build else stack)
    rate = keras.optimizers.schedules.CosineDecay(0.05, 40)
    model.compile(
        keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


class BreaksOff(keras.callbacks.Callback):
    """As a kill would, at the beginning of an epoch."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


class Draws(keras.callbacks.Callback):
    """Draws from NumPy's global generator, as other people's augmentation does."""

    drawn: list = []  # noqa: RUF012

    def on_epoch_end(self, epoch, logs=None):
        Draws.drawn.append((epoch, np.random.random()))  # noqa: NPY002


def callbacks(at=None):
    made = [
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, factor=0.5) if at == "plateau" else Draws(),
    ]
    return made + ([BreaksOff(at)] if isinstance(at, int) else [])


def train(path, at=None, model=None, extra=(), **settings):
    file = EpochStateFile(path, {"units": 5})
    saved = file.load()
    model = model or network()
    if saved is not None and saved.prepare(model) is not None:
        saved = None
    fit = ResumableFit(model, file, saved, seed="s", content=lambda: {"build_config": model.get_build_config()})
    try:
        arguments = {"batch_size": 16, "epochs": EPOCHS, "verbose": 0, "validation_split": 0.3} | settings
        history = model.fit(X, Y, callbacks=[*callbacks(at), *extra], **arguments)
    except KeyboardInterrupt:
        return None
    finally:
        fit.remove()
    return history.history, model.get_weights()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    Draws.drawn = []
    history, weights = train(tmp_path_factory.mktemp("whole") / "state.npz")
    return history, weights, list(Draws.drawn)


@pytest.mark.parametrize("breaks", [[0], [1], [2], [1, 2], [1, 1, 3]])
def test_a_broken_training_ends_as_the_whole_one(breaks, whole, tmp_path):
    Draws.drawn = []
    for at in breaks:
        assert train(tmp_path / "state.npz", at) is None
    np.random.seed(99)  # noqa: NPY002 - what the process drew before must not matter
    history, weights = train(tmp_path / "state.npz")
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))
    assert Draws.drawn == whole[2]


def test_a_training_that_had_ended_by_itself_trains_no_more(whole, tmp_path):
    train(tmp_path / "state.npz")  # ended, but its trial was killed before it could say so
    history, weights = train(tmp_path / "state.npz")
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))


def test_an_unbuilt_model_goes_on_too(tmp_path):
    whole = train(tmp_path / "whole.npz", model=network(build=False))
    assert train(tmp_path / "state.npz", 2, network(build=False)) is None
    history, weights = train(tmp_path / "state.npz", model=network(build=False))
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))


class Unbuilt(keras.Model):
    """A subclass without a `build` of its own."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = layers.Dense(5, activation="relu"), layers.Dense(3)

    def call(self, inputs):
        return self.out(self.hidden(inputs))


def compiled(model):
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def stateful():
    stack = [layers.Reshape((3, 2)), layers.LSTM(4, stateful=True), layers.Dense(3)]
    return keras.Sequential([keras.Input(batch_shape=(9, 6)), *stack])


@pytest.mark.parametrize("make", [Unbuilt, stateful], ids=["subclass", "stateful"])
def test_what_keras_does_not_tell_of_itself_goes_on_too(make, tmp_path):
    def trained(name, at=None):
        keras.utils.set_random_seed(5)
        return train(tmp_path / name, at, compiled(make()), batch_size=9, validation_split=0.2)

    whole = trained("whole.npz")
    assert trained("state.npz", 2) is None
    history, weights = trained("state.npz")
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))


def test_averaged_weights_are_swapped_back(tmp_path):
    def run(name, at=None):
        model = network()
        model.compile(keras.optimizers.SGD(0.05, use_ema=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return train(tmp_path / name, at, model, [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], validation_split=0.0)

    with warnings.catch_warnings():  # the early stopping has no `val_loss`
        warnings.simplefilter("ignore")
        whole = run("whole.npz")
        assert run("state.npz", 2) is None
        history, weights = run("state.npz")
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))


def test_a_second_fit_is_not_resumed(tmp_path):
    file = EpochStateFile(tmp_path / "state.npz", {})
    model = network()
    ResumableFit(model, file, None, seed="s", content=dict)
    model.fit(X, Y, epochs=1, verbose=0)
    assert file.path.exists()
    model.fit(X, Y, epochs=1, verbose=0)
    assert not file.path.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"garbage" * 99])
def test_a_damaged_state_begins_again_and_says_so(content, whole, tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="begins again at its first epoch"):
        history, _ = train(path)
    assert history == whole[0]


def test_a_truncated_state_begins_again(tmp_path):
    path = tmp_path / "state.npz"
    train(path, 3)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.warns(UserWarning, match="begins again"):
        assert EpochStateFile(path, {"units": 5}).load() is None


def test_the_state_of_another_configuration_is_not_taken(tmp_path):
    train(tmp_path / "state.npz", 3)
    with pytest.warns(UserWarning, match="other hyperparameters"):
        assert EpochStateFile(tmp_path / "state.npz", {"units": 6}).load() is None


def test_another_network_is_told_apart(tmp_path):
    train(tmp_path / "state.npz", 3)
    saved = EpochStateFile(tmp_path / "state.npz", {"units": 5}).load()
    assert saved.prepare(network()) is None
    assert "shape" in saved.prepare(network(units=6))


def test_data_sets_are_left_as_they_are(tmp_path):
    class Pairs(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return X[index::3], Y[index::3]

    model = network()
    ResumableFit(model, EpochStateFile(tmp_path / "state.npz", {}), None, seed="s", content=dict)
    model.fit(Pairs(), epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 6


# -- in a search --


def searcher(make, points, at, **kwargs):
    """A search of two trials with two trainings each, which is broken off at the n-th epoch of all."""
    seen = []

    class Stops(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return Stops()

        def on_epoch_begin(self, epoch, logs=None):
            seen.append(epoch)
            if len(seen) == at:
                raise KeyboardInterrupt

    def build(hp):
        model = keras.Sequential(
            [keras.Input((2,)), layers.Dense(hp.Int("units", 2, 40)), layers.Dropout(0.3), layers.Dense(2)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.05), loss, metrics=["accuracy"])
        return model

    tuner = make(build, objective="val_loss", max_trials=2, executions_per_trial=2, **kwargs)

    def run():
        tuner.search(*points, validation_data=points, epochs=3, verbose=0, callbacks=[Stops()])
        return tuner

    return run, seen


def outcome(tuner):
    keys = ("score", "best_epoch", "metrics", "curves", "values", "parameters")
    return [{k: getattr(t, k) for k in keys} for t in tuner.record().trials], [
        m.get_weights() for m in tuner.get_best_models(2)
    ]


@pytest.mark.slow
def test_a_trial_goes_on_where_its_search_was_broken_off(make, points, tmp_path):
    run, _ = searcher(make, points, None, project_name="whole")
    expected, weights = outcome(run())
    for at in (2, 4, 5, 9):
        run, before = searcher(make, points, at, project_name=f"at {at}")
        with pytest.raises(KeyboardInterrupt):
            run()
        run, after = searcher(make, points, None, project_name=f"at {at}")
        found, found_weights = outcome(run())
        assert found == expected
        assert all(np.array_equal(a, b) for x, y in zip(weights, found_weights, strict=True) for a, b in zip(x, y, strict=True))
        assert len(before) - 1 + len(after) == 12  # no finished epoch was trained twice
    assert not list(tmp_path.glob("*/trial_*/epoch_state.npz"))


def test_a_failed_trial_that_is_retried_begins_anew(make, points):
    class FailsOnce(keras.callbacks.Callback):
        epochs: list = []  # noqa: RUF012

        def __deepcopy__(self, memo):
            return FailsOnce()

        def on_epoch_begin(self, epoch, logs=None):
            FailsOnce.epochs.append(epoch)
            if len(FailsOnce.epochs) == 2:
                raise ValueError("out of luck")

    def build(hp):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(hp.Int("units", 2, 9))])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    tuner = make(build, objective=kt.Objective("val_loss", "min"), max_trials=1, oracle_kwargs={"max_retries_per_trial": 1})
    tuner.search(*points, validation_data=points, epochs=2, verbose=0, callbacks=[FailsOnce()])
    assert FailsOnce.epochs == [0, 1, 0, 1]
    (trial,) = tuner.record().trials
    assert len(trial.curves[0]["loss"]) == 2


def test_a_trial_that_discovered_hyperparameters_goes_on(tmp_path):
    path = tmp_path / "state.npz"
    EpochStateFile(path, {"values": {"layers": 2}}).save({"epoch": 3})
    state = EpochStateFile(path, {"values": {"layers": 2, "units_1": 8}}).load()
    assert state is not None
    assert state.content["epoch"] == 3
    with pytest.warns(UserWarning, match="of other hyperparameters"):
        assert EpochStateFile(path, {"values": {"layers": 1, "units_1": 8}}).load() is None
    with pytest.warns(UserWarning, match="of other hyperparameters"):
        assert EpochStateFile(path, {"values": {"units_1": 8}}).load() is None


# -- a HyperModel that compiles again in its `fit` --


def compiled_again(path, at=None, optimizer=keras.optimizers.Adam, reasons=None):
    file = EpochStateFile(path, {})
    saved, model = file.load(), network()
    assert saved is None or saved.prepare(model, optimizer=False) is None
    content = {"build_config": model.get_build_config()}
    fit = ResumableFit(model, file, saved, seed="s", content=lambda: content, begin_anew=(reasons or []).append)
    broken = [] if at is None else [BreaksOff(at)]
    model.compile(optimizer(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    try:
        return model.fit(X, Y, batch_size=30, epochs=4, verbose=0, callbacks=broken).history
    except KeyboardInterrupt:
        return None
    finally:
        fit.remove()


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_new_optimizer_goes_on_too(policy, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        whole = compiled_again(tmp_path / "whole.npz")
        assert compiled_again(tmp_path / "state.npz", 2) is None
        assert compiled_again(tmp_path / "state.npz") == whole
    finally:
        keras.config.set_dtype_policy(before)


def test_an_optimizer_that_the_state_does_not_fit_begins_anew(tmp_path):
    whole = compiled_again(tmp_path / "whole.npz", None, keras.optimizers.SGD)
    assert compiled_again(tmp_path / "state.npz", 2) is None
    reasons = ["first"]
    assert compiled_again(tmp_path / "state.npz", None, keras.optimizers.SGD, reasons) == whole
    assert "variables" in reasons[1]
