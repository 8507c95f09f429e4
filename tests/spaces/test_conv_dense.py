"""The convolution-and-dense space: what it declares, what it builds, what it trains."""

import json
import math
import subprocess
import sys

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.errors import InvalidArgument
from kerasnas.fingerprint import fingerprint
from kerasnas.spaces import ConvDense
from kerasnas.strategies.space import random_choices

SHAPE, CLASSES = (8, 8, 1), 4


def pixels(n=16, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype("uint8")


def declared(space):
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    return hp


def small_net(**values):
    """Hyperparameters of a network that trains in a moment."""
    hp = kt.HyperParameters()
    hp.values = {"stages": 1, "stage_1_blocks": 1, "filters": 8, "dense_layers": 0, "augment": False} | values
    return hp


# -- what is declared --


@pytest.mark.parametrize("kwargs", [{}, {"flip": True}, {"stages": 1, "dense_layers": 0, "filters": (5,)}])
def test_build_needs_exactly_what_is_declared(kwargs, sampler):
    space = ConvDense.tiny(SHAPE, CLASSES, **kwargs)
    draws = sampler(space)
    entries = [hp.get_config() for hp in declared(space).space]
    assert len({entry["name"] for entry in entries}) == len(entries)
    for seed in range(8):
        choices = draws.draw(seed)
        hp = draws.hyperparameters(choices)
        model = space.build(hp)
        assert [entry.get_config() for entry in hp.space] == entries
        assert hp.values == choices  # nothing missing that build had to fill in, nothing inactive
        assert model.output_shape == (None, CLASSES)
        assert model.compiled


def test_the_default_network_has_stages_for_its_pictures():
    wanted = {8: ("tiny", 2), 28: ("small", 2), 29: ("small", 3), 64: ("small", 3), 96: ("base", 4), 224: ("base", 5)}
    for side, (kind, stages) in wanted.items():
        assert declared(getattr(ConvDense, kind)((side, 2 * side, 3), 10)).get("stages") == stages


def test_a_plain_keras_tuner_discovers_the_same_space(tmp_path):
    space = ConvDense.tiny(SHAPE, CLASSES, flip=True)
    tuner = kt.RandomSearch(space, objective="val_accuracy", max_trials=1, directory=tmp_path)
    found = {hp.name: hp.get_config() for hp in tuner.oracle.get_space().space}
    assert found == {hp.name: hp.get_config() for hp in declared(space).space}


def test_only_active_entries_have_values(sampler):
    draws = sampler(ConvDense(SHAPE, CLASSES, stages=3, flip=True))
    for seed in range(300):
        values = draws.draw(seed)
        for stage in (1, 2, 3):
            used = stage <= values["stages"]
            assert (f"stage_{stage}_kind" in values) == used
            assert (f"stage_{stage}_double_filters" in values) == (used and stage > 1)
            assert (f"stage_{stage}_skip" in values) == (values.get(f"stage_{stage}_kind") in ("conv", "separable"))
        for layer in (1, 2):
            assert (f"dense_{layer}_units" in values) == (layer <= values["dense_layers"])
        for name in ("shift", "rotation", "zoom", "mirror"):
            assert (name in values) == values["augment"]
        assert ("sgd_learning_rate" in values) == (values["optimizer"] == "sgd")
        assert ("learning_rate" in values) == (values["optimizer"] != "sgd")


def test_the_defaults_make_a_network_that_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 128)
    x = np.where(y[:, None, None, None] == 1, 200, 50) + rng.integers(-40, 40, (128, *SHAPE))
    space, hp = ConvDense.tiny(SHAPE, 2), kt.HyperParameters()
    keras.utils.set_random_seed(0)
    model = space.build(hp)
    space.fit(hp, model, x, y, epochs=12, verbose=0)
    assert model.evaluate(x, keras.utils.to_categorical(y, 2), verbose=0, return_dict=True)["accuracy"] > 0.95


# -- what is built --


@settings(max_examples=12)
@given(height=st.integers(1, 11), width=st.integers(1, 11), channels=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_any_picture_size_can_be_built(height, width, channels, seed):
    space = ConvDense.tiny((height, width, channels), 3, flip=True)
    hp = kt.HyperParameters()
    hp.values = random_choices(decisions_of(entries_of(declared(space))), np.random.default_rng(seed))
    model = space.build(hp)
    probabilities = np.asarray(model(pixels(2, (height, width, channels)), training=True))
    assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_each_pooling_halves_rounding_up_and_stages_double_the_width():
    for pooling in ("max", "average", "stride"):
        space = ConvDense((9, 6, 1), 2, stages=3, filters=(4,))
        hp = small_net(stages=3, filters=4, pooling=pooling, stage_2_double_filters=True, stage_3_double_filters=False)
        model = space.build(hp)
        shapes = [model.get_layer(f"stage_{s}_block_1_act").output.shape[1:] for s in (1, 2, 3)]
        assert shapes == [(9, 6, 4), (5, 3, 8), (3, 2, 8)]


def test_raw_pixels_are_scaled_inside_the_network(sampler, shake):
    mean, deviation = [100.0, 120.0, 90.0], [50.0, 60.0, 70.0]
    raw = ConvDense.tiny((8, 6, 3), CLASSES, mean=mean, standard_deviation=deviation)
    scaled = ConvDense.tiny((8, 6, 3), CLASSES, mean=0.0, standard_deviation=1.0)
    x = pixels(5, (8, 6, 3))
    for seed in range(2):
        choices = sampler(raw).draw(seed)
        network, plain = shake(sampler(raw).build(choices)), sampler(scaled).build(choices)
        plain.set_weights(network.get_weights())
        expected = plain.predict((x - np.array(mean)) / np.array(deviation), verbose=0)
        np.testing.assert_allclose(network.predict(x, verbose=0), expected, atol=1e-5)
        np.testing.assert_array_equal(network.predict(x, verbose=0), network.predict(x.astype("float32"), verbose=0))
        assert np.ptp(expected, axis=0).max() > 0  # it looks at its input


def test_augmentation_works_in_training_only():
    space = ConvDense.tiny(SHAPE, CLASSES, flip=True)
    values = {"augment": True, "shift": 0.1, "rotation": 0.1, "zoom": 0.2, "mirror": True, "dropout": 0.0}
    model = space.build(small_net(normalization="none", **values))
    without = space.build(small_net(normalization="none", dropout=0.0))
    without.set_weights([w for w in model.get_weights() if w.dtype == np.float32])
    x = pixels(4)
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(x, verbose=0))
    np.testing.assert_allclose(model.predict(x, verbose=0), without.predict(x, verbose=0), atol=1e-6)
    first, second = (np.asarray(model(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    names = [layer.name for layer in model.layers]
    assert names[1:6] == ["scale", "mirror", "shift", "rotation", "zoom"]


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("kind", ["conv", "separable", "residual", "inverted_residual"])
@pytest.mark.parametrize(("pooling", "head"), [("max", "global_max"), ("average", "flatten"), ("stride", "global_average")])
def test_the_setting_channels_first_changes_no_network(kind, pooling, head, channels_first):
    space = ConvDense.tiny((8, 6, 3), CLASSES, flip=True)
    stages = {f"stage_{s}_kind": kind for s in (1, 2)} | {f"stage_{s}_squeeze_excite": True for s in (1, 2)}
    augmentation = {"augment": True, "mirror": True, "shift": 0.1, "rotation": 0.1, "zoom": 0.1}
    net = {"stages": 2, "pooling": pooling, "head": head} | stages | augmentation

    def layers_of():
        hp = kt.HyperParameters()
        hp.values = dict(net)
        model = space.build(hp)
        made = [(one.get_config(), one.output.shape, [w.shape for w in one.weights]) for one in model.layers]
        return made, fingerprint(model)

    first, told = layers_of()
    keras.config.set_image_data_format("channels_last")
    last, known = layers_of()
    assert told == known is not None
    for a, b in zip(first, last, strict=True):
        for config in (a[0], b[0]):
            config.pop("seed", None)
        assert a == b


def test_under_channels_first_a_training_is_the_same(channels_first):
    space, x = ConvDense.tiny(SHAPE, CLASSES), pixels(16)

    def trained():
        keras.utils.set_random_seed(0)
        hp = small_net(augment=True, zoom=0.1, head="flatten")
        model = space.build(hp)
        space.fit(hp, model, x, np.arange(16) % CLASSES, epochs=1, batch_size=8, shuffle=False, verbose=0)
        return np.asarray(model(x))

    first = trained()
    keras.config.set_image_data_format("channels_last")
    assert np.array_equal(first, trained())


def test_mirroring_needs_leave():
    hp = declared(ConvDense.tiny(SHAPE, CLASSES))
    assert "mirror" not in {entry.name for entry in hp.space}


def test_the_config_and_every_choice_are_plain_python(sampler):
    space = ConvDense.tiny(
        np.array([8, 8, 1]),
        np.int64(4),
        mean=np.float32(3.5),
        standard_deviation=np.array([2.0]),
        filters=np.array([8, 16]),
        dense_units=np.array([16]),
        flip=True,
    )
    for choices in sampler(space).cover_options():
        json.dumps(choices)
        config = json.loads(json.dumps(sampler(space).build(choices).get_config()))
        assert keras.Model.from_config(config).output_shape == (None, 4)


@pytest.mark.slow
def test_a_saved_model_needs_only_keras(tmp_path, sampler, shake):
    space = ConvDense.tiny((8, 8, 3), CLASSES, mean=100.0, standard_deviation=50.0, flip=True)
    draws = sampler(space)
    x = pixels(6, (8, 8, 3))
    np.save(tmp_path / "x.npy", x)
    for i in range(3):
        model = shake(
            draws.build(draws.draw(i) | {"augment": True, "shift": 0.1, "rotation": 0.1, "zoom": 0.1, "mirror": True})
        )
        model.save(tmp_path / f"{i}.keras")
        np.save(tmp_path / f"{i}.npy", model.predict(x, verbose=0))
    script = """
import sys, numpy as np, keras
for i in range(3):
    model = keras.models.load_model(f"{i}.keras")
    np.testing.assert_allclose(model.predict(np.load("x.npy"), verbose=0), np.load(f"{i}.npy"), atol=1e-5)
assert not any(name.split(".")[0] in ("kerasnas", "keras_tuner") for name in sys.modules)
print("same")
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == "same", run.stderr


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_sizes_keep_their_word(size, sampler):
    # Of n draws at least 9 in 10 within the range, less two standard errors: a true share of 0.9 fails 1 time in 40.
    low, high, shape, n = {
        "tiny": (500, 1e5, (8, 8, 1), 40),
        "small": (2e3, 1e6, (28, 28, 1), 40),
        "base": (2e4, 4e7, (96, 96, 3), 12),
    }[size]
    draws = sampler(getattr(ConvDense, size)(shape, 10))
    counts = np.asarray([draws.build(draws.draw(seed)).count_params() for seed in range(n)])
    assert np.mean((counts >= low) & (counts <= high)) >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / n)


def test_sizes_take_changes():
    space = ConvDense.tiny(SHAPE, CLASSES, stages=4, filters=[3])
    assert (space.stages, space.filters, space.blocks) == (4, [3], 2)


# -- how it is trained --


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.1])
def test_label_smoothing_in_closed_form(smoothing):
    model = ConvDense.tiny(SHAPE, CLASSES).build(small_net(label_smoothing=smoothing, l2=0.0))
    x, y = pixels(12), np.arange(12) % CLASSES
    targets = np.eye(CLASSES)[y] * (1 - smoothing) + smoothing / CLASSES
    expected = -(targets * np.log(model.predict(x, verbose=0))).sum(axis=1).mean()
    assert model.evaluate(x, np.eye(CLASSES)[y], verbose=0)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("l2", [0.0, 1e-5, 1e-3])
def test_l2_adds_its_penalty(l2):
    space = ConvDense.tiny(SHAPE, CLASSES)
    hp = small_net(stages=2, stage_1_kind="residual", stage_2_kind="conv", pooling="stride", dense_layers=1, l2=l2)
    model = space.build(hp)
    penalised = [
        layer.get_weights()[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) and layer.name != "probabilities"
    ]
    assert len(penalised) >= 5
    expected = l2 * sum(float((kernel.astype("float64") ** 2).sum()) for kernel in penalised)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(expected, rel=1e-5)
    x, y = pixels(8), np.eye(CLASSES)[np.arange(8) % CLASSES]
    cross_entropy = -(y * np.log(model.predict(x, verbose=0))).sum(axis=1).mean()
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(cross_entropy + expected, rel=1e-4)


class Rates(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.used, self.logged = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.used.append(float(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        self.logged.append((logs or {}).get("learning_rate"))


@pytest.mark.parametrize(("positional", "epochs"), [(False, 5), (True, 5), (False, 1)])
def test_the_cosine_falls_from_the_rate_to_a_hundredth_of_it(positional, epochs):
    space, rates = ConvDense.tiny(SHAPE, CLASSES), Rates()
    hp = small_net(schedule="cosine", optimizer="adam", learning_rate=0.004)
    model = space.build(hp)
    data = pixels(16), np.arange(16) % CLASSES
    how = ((16, epochs), {}) if positional else ((), {"batch_size": 16, "epochs": epochs})
    space.fit(hp, model, *data, *how[0], verbose=0, callbacks=[rates], **how[1])
    low = 0.004 / 100
    expected = [low + (0.004 - low) / 2 * (1 + math.cos(math.pi * e / max(epochs - 1, 1))) for e in range(epochs)]
    assert rates.used == pytest.approx(expected, rel=1e-5)
    assert rates.logged == pytest.approx(expected, rel=1e-5)
    assert expected[0] == pytest.approx(0.004)
    if epochs > 1:
        assert rates.used[-1] == pytest.approx(4e-5, rel=1e-5)


def test_the_constant_schedule_is_constant_and_each_optimizer_has_its_rate():
    space = ConvDense.tiny(SHAPE, CLASSES)
    for optimizer, kind, rate in (("adam", "Adam", 3e-3), ("adamw", "AdamW", 3e-3), ("sgd", "SGD", 0.1)):
        hp = small_net(schedule="constant", optimizer=optimizer, learning_rate=3e-3, sgd_learning_rate=0.1)
        model, rates = space.build(hp), Rates()
        assert type(model.optimizer).__name__ == kind
        space.fit(hp, model, pixels(8), np.arange(8) % CLASSES, epochs=2, verbose=0, callbacks=[rates])
        assert rates.used == pytest.approx([rate, rate])


def test_integer_and_one_hot_labels_train_alike():
    space, hp = ConvDense.tiny(SHAPE, CLASSES), small_net()
    x, y = pixels(16), np.arange(16) % CLASSES
    losses = []
    for labels, pair in ((y, tuple), (np.eye(CLASSES)[y], tuple), (y[:, None], list)):
        keras.utils.set_random_seed(3)
        history = space.fit(
            hp, space.build(hp), x, labels, validation_data=pair([x, labels]), epochs=2, batch_size=8, verbose=0
        )
        losses.append([*history.history["loss"], *history.history["val_loss"]])
    assert all(other == pytest.approx(losses[0], rel=1e-6) for other in losses[1:])


@pytest.mark.parametrize("convert", [list, lambda y: y.astype("uint8"), lambda y: y.astype("float32"), lambda y: y[:, None]])
def test_labels_of_any_integer_kind(convert):
    space, y = ConvDense.tiny(SHAPE, CLASSES), np.array([3, 0, 2, 2])
    np.testing.assert_array_equal(space._one_hot(convert(y)), np.eye(CLASSES)[y])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 4]), "0 to 3"),
        (np.array([-1, 1, 2, 3]), "-1 to 3"),
        (np.array([0.0, 0.5, 1, 2]), "integer or one-hot"),
        (np.array([0.0, np.nan, 1, 2]), "integer or one-hot"),
        (np.array(["a", "b", "c", "d"]), "integer or one-hot"),
        (np.eye(5)[:4], "4 columns"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    space, hp = ConvDense.tiny(SHAPE, CLASSES), small_net()
    model, good = space.build(hp), np.arange(4)
    with pytest.raises(InvalidArgument, match=message):
        space.fit(hp, model, pixels(4), labels, verbose=0)
    with pytest.raises(InvalidArgument, match=message):
        space.fit(hp, model, pixels(4), good, validation_data=(pixels(4), labels), verbose=0)


# -- errors at the door --


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (8, 8)}, "input_shape"),
        ({"input_shape": (8, 0, 1)}, "input_shape"),
        ({"input_shape": (None, None, 1)}, "input_shape"),
        ({"input_shape": (8.5, 8, 1)}, "input_shape"),
        ({"classes": 1}, "classes"),
        ({"classes": 2.0}, "classes"),
        ({"mean": [1.0, 2.0]}, "mean"),
        ({"mean": float("nan")}, "mean"),
        ({"standard_deviation": 0.0}, "standard_deviation"),
        ({"standard_deviation": [-1.0]}, "standard_deviation"),
        ({"standard_deviation": [1.0, 2.0]}, "standard_deviation"),
        ({"stages": 0}, "stages"),
        ({"blocks": 0}, "blocks"),
        ({"dense_layers": -1}, "dense_layers"),
        ({"filters": ()}, "filters"),
        ({"filters": (8, 0)}, "filters"),
        ({"filters": 8}, "filters"),
        ({"dense_units": (16.5,)}, "dense_units"),
    ],
)
def test_sizes_that_no_network_has(arguments, message):
    with pytest.raises(InvalidArgument, match=f"`{message}`"):
        ConvDense(**({"input_shape": SHAPE, "classes": CLASSES} | arguments))
