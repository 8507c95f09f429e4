import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model import graph_steps
from kerasnas.explain.model import layer_importance as layer_importance_module
from kerasnas.explain.model.graph_steps import GraphSteps
from kerasnas.explain.model.inner_network import InnerNetwork
from kerasnas.explain.model.layer_importance import layer_importance
from kerasnas.explain.model.score_graph import nested_graph
from kerasnas.explain.model.score_view import ScoreView

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


def with_a_mask():
    """Rows that are all 0 count for nothing in the recurrent layer."""
    inputs = keras.Input((6, 2, 1))
    x = layers.Masking(0.0, name="mask")(layers.Reshape((6, 2), name="rows")(inputs))
    x = layers.Dense(3, name="each")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="scores")(layers.SimpleRNN(3, name="recurrent")(x)))


def branched():
    """A call of two values, a value that goes around a dropout, and a nested model that is used twice."""
    inputs, inner = keras.Input((6, 6, 2)), keras.Input((6, 6, 4))
    inside = layers.Conv2D(4, 3, padding="same", name="inside")(layers.ReLU(name="gate")(inner))
    block = keras.Model(inner, inside, name="block")
    stem = layers.Conv2D(4, 1, name="stem")(inputs)
    left, right = keras.ops.split(layers.Dropout(0.5, name="dropout")(stem), 2, axis=-1)
    x = layers.Multiply(name="around")([layers.Concatenate(name="swapped")([right, left]), stem])
    for _ in range(2):
        x = layers.Add()([block(x), x])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="scores")(x))


def replayed(view, index, images, value):
    """The outputs of the whole network, in which one call has another value."""
    place = -1

    def edit(_path, operation, _taken, computed):
        nonlocal place
        if nested_graph(operation) is not None:
            return computed
        place += 1
        return keras.ops.convert_to_tensor(value) if place == index else computed

    return np.asarray(view.unit_scores(view.replay(keras.ops.convert_to_tensor(images), edit)))


@pytest.mark.parametrize(
    ("make", "paths", "alone"),
    [
        (residual, ["stem", "branch", "pool", "scores"], {"stem", "pool", "scores"}),
        (
            branched,
            ["stem", "dropout", "around", "block/gate", "block/inside (call 2)", "scores"],
            {"stem", "around", "scores"},
        ),
    ],
)
def test_going_on_from_a_changed_state_gives_the_scores_of_the_changed_network(make, paths, alone, rng, monkeypatch):
    monkeypatch.setattr(graph_steps, "_STRETCH", 3)
    model = make()
    view = ScoreView(model, rng.normal(size=(3, *model.input_shape[1:])))
    network, steps, count, at = InnerNetwork(view), GraphSteps(view), 2, 0
    images = view.pixels(0, count)
    unchanged, state = view.evaluate(images)[:, -model.output_shape[-1] :], steps.state(images)
    for call in [call for call in network.calls if call.path in paths]:
        start, at = at, steps.steps[call.index] + 1
        state = steps.advance(state, start, at)
        place = steps.places[call.index]
        np.testing.assert_allclose(state[place], network.value(call.index, 0, count), atol=1e-5)
        np.testing.assert_allclose(steps.outputs(state, at, count), unchanged, atol=1e-5)
        value = rng.normal(size=(count, *call.shape)).astype("float32")
        changed = steps.outputs({**state, place: keras.ops.convert_to_tensor(value)}, at, count)
        # What another way of computing it gives: the whole network is replayed, and the value replaced.
        np.testing.assert_allclose(changed, replayed(view, call.index, images, value), rtol=1e-4, atol=1e-5)
        assert (steps.needed(at) == {place}) == (call.path in alone)
        paths.remove(call.path)
    assert not paths


def test_permuting_what_all_goes_through_permutes_the_scores(rng):
    # That is how it is computed: the intervals and all else must be those of the scores of the permuted images.
    images, classes = samples(rng)
    model = residual()
    found = layer_importance(model, images, classes, repeats=2, ways="permutation")
    orders = np.random.default_rng(0)
    p = model.predict(images, verbose=0)
    losses = [np.mean(np.log(p[np.arange(40), classes]) - np.log(p[orders.permutation(40), classes])) for _ in range(2)]
    for layer in ("stem", "pool"):
        got = row(found, layer, way="permutation")
        assert got.loss_change == pytest.approx(np.mean(losses), abs=1e-5)
    assert row(found, "branch", way="permutation").loss_change != pytest.approx(np.mean(losses), abs=1e-4)


def test_a_mask_reaches_the_layers_behind_it(rng, monkeypatch):
    monkeypatch.setattr(graph_steps, "_STRETCH", 1)
    model, images = with_a_mask(), rng.normal(size=(12, 6, 2, 1)).astype("float32")
    images[:, 3:] = 0
    p = model.predict(images, verbose=0)
    assert np.abs(p - model.predict(images[:, [0, 1, 2, 3, 3, 3]] + 1e-6 * (images == 0), verbose=0)).max() > 1e-3
    found = layer_importance(model, images, np.arange(12) % 2, repeats=1)
    assert found.loss == pytest.approx(-np.log(p[np.arange(12), np.arange(12) % 2]).mean(), abs=1e-5)
    orders = np.random.default_rng(0).permutation(12)
    permuted = np.mean(np.log(p[np.arange(12), np.arange(12) % 2]) - np.log(p[orders, np.arange(12) % 2]))
    for layer in ("rows", "recurrent"):
        assert row(found, layer, way="permutation").loss_change == pytest.approx(permuted, abs=1e-5)


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


@pytest.mark.parametrize("channels", [False, True])
def test_the_picture_shows_the_rows(cnn, rng, tmp_path, monkeypatch, channels):
    drawn = []
    chart = layer_importance_module.change_chart

    def watched(*args, **named):
        drawn.append(args)
        return chart(*args, **named)

    monkeypatch.setattr(layer_importance_module, "change_chart", watched)
    model = cnn((8, 8, 1), 3)
    found = layer_importance(model, rng.random((9, 8, 8, 1)), np.arange(9) % 3, channels=channels, repeats=2)
    with Image.open(found.save(tmp_path / "layers.png")) as picture:
        assert picture.format == "PNG"
    ((names, series),) = drawn
    table = found.to_dataframe()
    assert set(series) == {"mean", "permutation"}
    for way, changes in series.items():
        rows = table[table.way == way]
        assert [change.mean for change in changes] == list(rows.loss_change)
        assert [change.high for change in changes] == list(rows.loss_change_high)
        assert [name.split(",")[0] for name in names] == list(rows.layer)
    assert all(("channel" in name) == channels for name in names)
    with pytest.raises(InvalidArgument, match=r"ends in \.png"):
        found.save(tmp_path / "layers.svg")


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
