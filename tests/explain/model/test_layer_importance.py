import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.layer_importance import layer_importance

layers = keras.layers


def planted(head="softmax"):
    """Channel 0 of "split" is the mean brightness and carries the class, 1 is noise that is not used, 2 is constant."""
    units = 1 if head == "sigmoid" else 2
    model = keras.Sequential(
        [
            keras.Input((3, 3, 2)),
            layers.Conv2D(3, 1, name="split"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(units, activation=head, name="scores"),
        ]
    )
    model.get_layer("split").set_weights([np.array([[[[1, 0, 0], [0, 1, 0]]]], "float32"), np.array([0, 0, 2], "float32")])
    kernel = np.array([[-4, 4], [0, 0], [1, 1]], "float32")
    kernel = kernel[:, 1:] - kernel[:, :1] if units == 1 else kernel
    model.get_layer("scores").set_weights([kernel, np.zeros(units, "float32")])
    return model


def samples(rng, count=40):
    classes = np.arange(count) % 2
    images = rng.normal(size=(count, 3, 3, 2)).astype("float32")
    images[..., 0] += (2 * classes - 1)[:, None, None]
    return images, classes


def crossentropy(margin, classes):
    """The loss when the score of class 1 is `margin` above that of class 0."""
    return np.mean(np.logaddexp(0, np.where(classes == 1, -margin, margin)))


def row(found, layer, channel=None, way="mean"):
    (match,) = [each for each in found.rows if (each.layer, each.channel, each.way) == (layer, channel, way)]
    return match


def test_the_ablation_of_the_one_channel_that_is_used_is_known_in_closed_form(rng):
    images, classes = samples(rng)
    found = layer_importance(planted(), images, classes, channels=True)
    margin = 8 * images[..., 0].mean(axis=(1, 2))
    before, after = crossentropy(margin, classes), crossentropy(np.full(40, margin.mean()), classes)
    assert found.loss == pytest.approx(before, abs=1e-6)
    assert found.accuracy == np.mean((margin > 0) == classes)
    for layer in ("split", "pool"):
        used = row(found, layer, 0)
        assert used.loss_change == pytest.approx(after - before, abs=1e-5)
        assert used.accuracy_change == pytest.approx(0.5 - found.accuracy)
        assert used.loss_change_low < used.loss_change < used.loss_change_high
        for way in ("mean", "permutation"):
            unused = row(found, layer, 1, way)
            assert (unused.loss_change, unused.loss_change_low, unused.loss_change_high, unused.accuracy_change) == (0, 0, 0, 0)
            assert row(found, layer, 2, way).loss_change == 0  # it says the same of all samples
    assert found.ranked("permutation")[0].channel == 0


def test_the_permutations_are_those_of_the_seed(rng):
    images, classes = samples(rng)
    found = layer_importance(planted(), images, classes, repeats=3, seed=5)
    orders = np.random.default_rng(5)
    margin = 8 * images[..., 0].mean(axis=(1, 2))
    losses = [crossentropy(margin[orders.permutation(40)], classes) - crossentropy(margin, classes) for _ in range(3)]
    got = row(found, "pool", way="permutation")
    assert got.repeats == 3
    assert got.loss_change == pytest.approx(np.mean(losses), abs=1e-5)
    assert found == layer_importance(planted(), images, classes, repeats=3, seed=5)
    assert found != layer_importance(planted(), images, classes, repeats=3, seed=6)


@pytest.mark.parametrize("head", ["sigmoid", "softmax", "linear"])
def test_one_sigmoid_unit_is_the_softmax_of_two(head, rng):
    images, classes = samples(rng)
    found, other = (layer_importance(planted(each), images, classes, repeats=2) for each in (head, "softmax"))
    assert found.loss == pytest.approx(other.loss, abs=1e-5)
    for a, b in zip(found.rows, other.rows, strict=True):
        assert (a.layer, a.way) == (b.layer, b.way)
        assert a.loss_change == pytest.approx(b.loss_change, abs=1e-5)
        assert a.accuracy_change == b.accuracy_change


def test_what_hands_on_the_input_or_the_scores_is_left_out(rng):
    images, classes = samples(rng)
    inputs = keras.Input((3, 3, 2))
    x = layers.Dropout(0.5, name="noise")(inputs)
    x = layers.Conv2D(3, 1, name="conv")(x)
    x = layers.Dense(2, name="scores")(layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, layers.Softmax(name="squash")(layers.Reshape((2,), name="same")(x)))
    assert [each.layer for each in layer_importance(model, images, classes, ways="mean").rows] == ["conv", "flat"]


def residual():
    inputs = keras.Input((3, 3, 2))
    x = layers.Conv2D(4, 1, activation="relu", name="stem")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="branch")(x) + x
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="scores")(x))


def test_both_arms_of_a_residual_block_count(rng):
    images, classes = samples(rng)
    model = residual()
    model.get_layer("branch").set_weights([np.zeros((3, 3, 4, 4), "float32"), np.ones(4, "float32")])
    found = layer_importance(model, images, classes)
    changes = {each.layer: each.loss_change for each in found.rows if each.way == "mean"}
    (merge,) = set(changes) - {"stem", "branch", "pool"}
    assert changes["branch"] == 0  # a constant
    assert changes["stem"] == pytest.approx(changes[merge], abs=1e-6)
    assert changes[merge] == pytest.approx(changes["pool"], abs=1e-6)
    assert changes["stem"] != 0


def test_a_nested_model_is_opened_and_has_the_same_rows(rng):
    images, classes = samples(rng)
    flat, inner = planted(), keras.Input((3, 3, 2))
    split, pool, scores = flat.layers
    backbone = keras.Model(inner, pool(split(inner)), name="backbone")
    nested = keras.Sequential([keras.Input((3, 3, 2)), backbone, scores])
    got, expected = layer_importance(nested, images, classes), layer_importance(flat, images, classes)
    assert [each.layer for each in got.rows[::2]] == ["backbone/split", "backbone/pool"]
    assert [each.loss_change for each in got.rows] == [each.loss_change for each in expected.rows]
    some = layer_importance(nested, images, classes, layers=["pool"])
    assert some.rows == got.rows[2:]
    assert some.rows == layer_importance(nested, images, classes, layers=["backbone/pool"]).rows


def test_each_use_of_a_shared_layer_has_its_row(rng):
    images, classes = samples(rng)
    inputs, shared = keras.Input((3, 3, 2)), layers.Conv2D(2, 1, name="shared")
    x = layers.Flatten(name="flat")(shared(shared(inputs)))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    found = layer_importance(model, images, classes, ways="mean")
    assert [each.layer for each in found.rows] == ["shared", "shared (call 2)", "flat"]
    assert len({round(each.loss_change, 5) for each in found.rows}) == 1  # a chain: each cuts it wholly


def test_the_model_is_left_as_it_was(cnn, rng):
    model, images = cnn(nested=[]), rng.normal(size=(6, 12, 12, 3)).astype("float32")
    before = (model.get_config(), [w.copy() for w in model.get_weights()], len(model.layers[0]._outbound_nodes))
    layer_importance(model, images, np.arange(6) % 4, repeats=1)
    assert model.get_config() == before[0]
    assert len(model.layers[0]._outbound_nodes) == before[2]
    for old, new in zip(before[1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_mixed_precision_is_computed_in_float32(cnn, rng):
    half, full = cnn(dtype="mixed_float16"), cnn()
    full.set_weights(half.get_weights())
    images, classes = rng.normal(size=(8, 12, 12, 3)), np.arange(8) % 4
    got, expected = (layer_importance(model, images, classes, repeats=1) for model in (half, full))
    for a, b in zip(got.rows, expected.rows, strict=True):
        assert a.loss_change == pytest.approx(b.loss_change, abs=1e-5)


def test_more_samples_than_are_computed_at_once(rng):
    images, classes = samples(rng, 600)
    found = layer_importance(planted(), images, classes, ways="mean")
    margin = 8 * images[..., 0].mean(axis=(1, 2))
    expected = crossentropy(np.full(600, margin.mean()), classes) - crossentropy(margin, classes)
    assert row(found, "split").loss_change == pytest.approx(expected, abs=1e-5)


def test_other_losses(rng):
    images, classes = samples(rng)
    margin = 8 * images[..., 0].mean(axis=(1, 2))
    p = 1 / (1 + np.exp(-margin))
    found = layer_importance(planted(), images, classes, loss="brier", repeats=1)
    assert found.loss == pytest.approx(np.mean(2 * (p - classes) ** 2), abs=1e-6)
    mine = layer_importance(planted(), images, classes, loss=lambda q, y: 2 * (q[:, 1] - y) ** 2, repeats=1)
    assert [each.loss_change for each in mine.rows] == pytest.approx([each.loss_change for each in found.rows], abs=1e-12)


def test_the_table(rng):
    images, classes = samples(rng, 8)
    found = layer_importance(planted(), images, classes, channels=True, repeats=1)
    table = found.to_dataframe()
    assert list(table["channel"].unique()) == [0, 1, 2]
    assert table["loss_change"].tolist() == [each.loss_change for each in found.rows]
    whole = layer_importance(planted(), images, classes, repeats=1).to_dataframe()
    assert whole["channel"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ways": ("mean", "zero")}, "came \\('mean', 'zero'\\)"),
        ({"ways": ()}, "some of"),
        ({"layers": ["pool", "nowhere"]}, "came \\['nowhere'\\]. Choose from: split, pool"),
        ({"layers": "scores"}, "Choose from: split, pool"),
        ({"layers": []}, "came \\[\\]"),
        ({"repeats": 0}, "came 0"),
        ({"loss": "hinge"}, "came 'hinge'"),
        ({"loss": lambda p, y: np.mean(p)}, "not their mean"),
        ({"y": np.eye(2)[[0, 1, 0, 1]]}, "one-hot"),
        ({"y": [0, 1, 2, 1]}, "from 0 to 1; came 0 to 2"),
        ({"y": [0.0, 1.0, 0.0, 1.0]}, "float64"),
        ({"x": np.zeros((1, 3, 3, 2)), "y": [0]}, "at least two"),
    ],
)
def test_what_is_refused(change, message, rng):
    images, classes = samples(rng, 4)
    with pytest.raises(InvalidArgument, match=message):
        layer_importance(planted(), **{"x": images, "y": classes, **change})
