"""Targets, training, and what users get wrong."""

import sys

import keras
import numpy as np
import pytest

from kerasnas.compress import AlreadyWithinTarget, channel_report, prune_channels
from kerasnas.compress.channels.costs import cost_function
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.fine_tuning import distillation_loss
from kerasnas.compress.channels.proof import prove
from kerasnas.compress.channels.rebuild import rebuild
from kerasnas.compress.channels.scratch import _reinitialised
from kerasnas.compress.channels.selection import select
from kerasnas.cost import cost_of
from kerasnas.errors import InvalidArgument, KerasNASError

layers = keras.layers

# Saving in Keras converts its variables with np.array, which NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def mixed():
    """A network with most kinds of weights."""
    x = layers.Input((8, 8, 3))
    y = layers.Conv2D(12, 3, name="stem")(x)
    y = layers.Conv2D(24, 3, groups=4)(layers.DepthwiseConv2D(3, depth_multiplier=2)(y))
    y = layers.SeparableConv2D(20, 1)(layers.PReLU(shared_axes=[1, 2])(y))
    y = layers.Reshape((4, 10))(layers.Conv2DTranspose(10, 2)(layers.BatchNormalization()(layers.MaxPooling2D()(y))))
    y = layers.GRU(5)(layers.Concatenate()([layers.Dense(6)(y), layers.MultiHeadAttention(3, 2)(y, y)]))
    return keras.Model(x, layers.Dense(3, activation="softmax")(y), name="mixed")


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_costs_are_known_before_a_model_is_built(mixed, scope):
    dependencies = dependencies_of(mixed)
    everything = np.ones(dependencies.bundles.count, bool)
    scores = np.random.default_rng(0).random(dependencies.bundles.count)
    for ratio in (0.0, 0.3, 1.0):
        kept = select(dependencies.bundles, scores, ratio, everything, scope=scope, divisor=1)
        smaller = rebuild(mixed, dependencies, kept)
        cost = cost_of(smaller)
        assert cost_function(mixed, dependencies, "parameters")(kept) == cost.parameters
        assert cost_function(mixed, dependencies, "macs")(kept) == cost.macs
        assert cost_function(mixed, dependencies, "size_bytes")(kept) == 4 * cost.parameters


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("kind", ["parameters", "macs", "size_bytes"])
def test_a_target_is_met_as_a_share_or_a_number(kind, share):
    wide = keras.Sequential(
        [layers.Input((6, 6, 3)), layers.Conv2D(40, 3), layers.Conv2D(50, 3), layers.Flatten(), layers.Dense(3)]
    )

    def price(model):
        return model.count_params() * 4 if kind == "size_bytes" else getattr(cost_of(model), kind)

    pruned = prune_channels(wide, **{kind: share}, scope="global")
    assert 0.9 * share < price(pruned) / price(wide) <= share
    same = prune_channels(wide, **{kind: int(share * price(wide))}, scope="global")
    assert price(same) == price(pruned)


def test_a_measured_cost_is_met(mixed):
    seen = []

    def widest(model):
        seen.append(model)
        return max(row.channels for row in channel_report(model).layers)

    pruned = prune_channels(mixed, cost=widest, target=13)
    assert widest(pruned) in (12, 13)
    assert len(seen) < 15


def test_a_model_within_its_target_is_returned_as_it_is(mixed):
    with pytest.warns(AlreadyWithinTarget, match="is within macs <= 1e.12 already"):
        same = prune_channels(mixed, macs=1e12)
    assert same is not mixed
    for old, new in zip(mixed.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.02}, "the share is less than one channel of each layer of 'mixed': nothing is removed, nothing trained"),
        ({"ratio": {"stem": 0.05}, "steps": 2}, "less than one channel of each layer"),
        ({"ratio": 0.4, "divisor": 64}, "of each layer of 'mixed', of which a multiple of 64 stays: nothing"),
    ],
)
def test_a_share_of_less_than_a_channel_trains_nothing(mixed, settings, message):
    x = np.zeros((4, *mixed.input_shape[1:]))
    with pytest.warns(AlreadyWithinTarget, match=message):
        same = prune_channels(mixed, x, np.arange(4) % 2, **settings)
    for old, new in zip(mixed.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_cannot_be_reached_names_what_can(mixed):
    with pytest.raises(InvalidArgument, match=r"parameters <= 2; the smallest that pruning can reach is (\d+)") as error:
        prune_channels(mixed, parameters=2)
    least = int(str(error.value).split("reach is ")[1].split(".")[0])
    assert prune_channels(mixed, parameters=least).count_params() == least


def test_the_original_stays_and_the_copy_is_its_own(mixed, tmp_path):
    mixed.compile(keras.optimizers.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
    mixed.get_layer("stem").trainable = False
    before = mixed.get_weights()
    pruned = prune_channels(mixed, ratio=0.5)
    assert pruned.get_compile_config() == mixed.get_compile_config()
    assert not pruned.get_layer("stem").trainable
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in mixed.layers]
    for weight in pruned.weights:
        weight.assign(weight + 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, mixed.get_weights(), strict=True))
    pruned.save(tmp_path / "pruned.keras")
    x = np.ones((2, 8, 8, 3), "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "pruned.keras")(x), pruned(x))


def test_digits_keep_their_accuracy_with_a_third_of_the_work(trained, digits):
    before = [weight.copy() for weight in trained.get_weights()]
    _, accuracy = trained.evaluate(*digits[1], verbose=0)
    pruned = prune_channels(trained, *digits[0], macs=1 / 3, steps=2, epochs=5, learning_rate=3e-3, distill=0.5, seed=0)
    assert cost_of(pruned).macs <= cost_of(trained).macs / 3
    # 497 test images: one standard error of an accuracy near 0.93 is 0.011; 0.03 is about three.
    assert pruned.evaluate(*digits[1], verbose=0)[1] > accuracy - 0.03
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))


def noisy():
    parts = [layers.Dense(12, activation="relu"), layers.GaussianNoise(0.1), layers.Dense(12), layers.Dropout(0.3)]
    return keras.Sequential([layers.Input((6,)), *parts, layers.Dense(3)])


X, Y = np.random.default_rng(0).normal(size=(60, 6)).astype("float32"), np.arange(60) % 3


def test_same_seed_same_weights():
    model = noisy()
    settings = {"ratio": 0.6, "steps": 2, "epochs": 1, "distill": 0.3}
    trained = []
    for seed in (4, 4, 5):
        keras.utils.set_random_seed(len(trained))  # TensorFlow's own seed counts for nothing
        trained.append(prune_channels(model, X, Y, seed=seed, **settings).get_weights())
    first, second, other = trained
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert first[0].shape == (6, 5)  # of 12 units 7.2 may go


def test_steps_follow_the_cosine(monkeypatch):
    sizes = []

    def note(model, smaller, *args, **kwargs):
        sizes.append(smaller.layers[0].units)
        return prove(model, smaller, *args, **kwargs)

    monkeypatch.setattr(sys.modules["kerasnas.compress.channels.prune_channels"], "prove", note)
    model = keras.Sequential([layers.Input((6,)), layers.Dense(100), layers.Dense(3)])
    prune_channels(model, X, Y, ratio=0.8, steps=4, epochs=1)
    wanted = [100 - int(80 * (1 - np.cos(np.pi * k / 4)) / 2 + 1e-9) for k in (1, 2, 3, 4)]
    assert sizes == wanted == [89, 60, 32, 20]


def test_a_student_learns_from_the_teacher_alone():
    """The labels are noise; with distill=1 the outputs approach the teacher's nonetheless."""
    model = noisy()
    raw = prune_channels(model, ratio=0.5)
    taught = prune_channels(
        model, X, np.random.default_rng(1).permutation(Y), epochs=30, distill=1.0, learning_rate=0.02, seed=0
    )

    def distance(student):
        return float(np.mean(np.abs(keras.ops.softmax(student(X)) - keras.ops.softmax(model(X)))))

    assert distance(taught) < 0.5 * distance(raw)


def test_distillation_losses_in_closed_form():
    teacher, student = np.array([[1.0, 2.0, 4.0]], "float32"), np.array([[0.0, 3.0, 1.0]], "float32")

    def softmax(z):
        return np.exp(z) / np.exp(z).sum()

    p, q = softmax(teacher / 4), softmax(student / 4)
    divergence = 16 * np.sum(p * np.log(p / q))
    logits = noisy()
    classes = distillation_loss(logits, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert float(classes(teacher, student)) == pytest.approx(divergence, rel=1e-5)
    values = distillation_loss(logits, keras.losses.MeanSquaredError())
    assert float(values(teacher, student)) == pytest.approx(np.mean((teacher - student) ** 2), rel=1e-5)
    softened = keras.Sequential([layers.Input((6,)), layers.Dense(3, activation="softmax")])
    probabilities = distillation_loss(softened, keras.losses.SparseCategoricalCrossentropy())
    assert float(probabilities(softmax(teacher), softmax(student))) == pytest.approx(divergence, rel=1e-4)


MISTAKES = {
    "two targets": (lambda: {"ratio": 0.5, "macs": 0.5}, "got ratio and macs"),
    "ratio 1": (lambda: {"ratio": 1.0}, r"ratio in \[0, 1\)"),
    "ratio NaN": (lambda: {"ratio": float("nan")}, r"ratio in \[0, 1\)"),
    "macs 0": (lambda: {"macs": 0}, "macs > 0"),
    "cost alone": (lambda: {"cost": len}, "cost and target together"),
    "target alone": (lambda: {"target": 3}, "cost and target together"),
    "cost no function": (lambda: {"cost": 3, "target": 3}, "function from a model"),
    "importance": (lambda: {"importance": "l1"}, "importance to be one of magnitude, bn_scale, taylor"),
    "scope": (lambda: {"scope": "all"}, "scope to be one of"),
    "divisor": (lambda: {"divisor": 0}, "divisor to be an integer"),
    "steps": (lambda: {"steps": 1.5}, "steps to be an integer"),
    "epochs": (lambda: {"x": X, "y": Y, "epochs": -1}, "epochs to be an integer of at least 0"),
    "seed": (lambda: {"seed": -1}, "seed to be an integer"),
    "distill": (lambda: {"distill": 1.5}, "distill in"),
    "learning rate": (lambda: {"learning_rate": 0}, "learning_rate > 0"),
    "taylor without data": (lambda: {"importance": "taylor"}, "Expected data for importance='taylor'"),
    "steps without data": (lambda: {"steps": 2}, "steps=2"),
    "teacher without data": (lambda: {"distill": 0.5}, "distill=0.5, got none"),
    "labels alone": (lambda: {"y": Y}, "inputs x"),
    "lengths": (lambda: {"x": X, "y": Y[:-1]}, "one label per input"),
    "shape": (lambda: {"x": X[:, :5], "y": Y}, "inputs of shape"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(case):
    make, message = MISTAKES[case]
    with pytest.raises(InvalidArgument, match=message):
        prune_channels(noisy(), **make())


def test_models_that_do_not_fit_are_named():
    with pytest.raises(InvalidArgument, match="Keras 3"):
        prune_channels("model")
    with pytest.raises(InvalidArgument, match="built"):
        prune_channels(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(InvalidArgument, match="What holds them: it is an output of the model"):
        prune_channels(keras.Sequential([layers.Input((6,)), layers.Dense(3)]))
    a, b = layers.Input((6,)), layers.Input((6,))
    two = keras.Model([a, b], layers.Dense(3)(layers.Dense(4)(a) + layers.Dense(4)(b)))
    with pytest.raises(InvalidArgument, match="one output to train with"):
        prune_channels(two, X, Y)
    assert prune_channels(two).count_params() < two.count_params()
    with pytest.raises(InvalidArgument, match="made from"):
        channel_report(noisy(), two)


def test_divergence_is_named():
    model = noisy()
    model.compile("sgd", "mse")
    with pytest.raises(KerasNASError, match="diverged"):
        prune_channels(model, X * 1e30, np.eye(3)[Y] * 1e30, learning_rate=1e30)


def test_flags_within_a_frozen_part_stay():
    inner = keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(8, 3, name="a"), layers.Conv2D(8, 3, name="b")], name="inner"
    )
    inner.trainable = False
    inner.layers[-1].trainable = True
    model = keras.Sequential([keras.Input((6, 6, 3)), inner, layers.Flatten(), layers.Dense(2, "softmax")])
    small = prune_channels(model, ratio=0.5)
    assert [layer.trainable for layer in small.get_layer("inner").layers] == [False, True]
    assert len(small.trainable_variables) == len(model.trainable_variables)
    fresh = _reinitialised(small, 0)
    kernels = [m.get_layer("inner").get_layer(name).kernel.numpy() for name in "ab" for m in (small, fresh)]
    assert np.array_equal(kernels[0], kernels[1])  # frozen: what it holds is not trained
    assert not np.array_equal(kernels[2], kernels[3])


def test_channels_that_a_dropout_counts_stay():
    counted = layers.Dropout(0.3, noise_shape=(None, 1, 16), name="counted")
    model = keras.Sequential(
        [
            keras.Input((8, 3)),
            layers.Conv1D(16, 3, name="first"),
            counted,
            layers.Conv1D(8, 3),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    small = prune_channels(model, ratio=0.5)
    assert small.get_layer("first").filters == 16
    small(np.zeros((2, 8, 3), "float32"), training=True)
    free = keras.Sequential(
        [
            keras.Input((8, 3)),
            layers.Conv1D(16, 3, name="first"),
            layers.Dropout(0.3, noise_shape=(None, 1, None)),
            layers.Conv1D(8, 3),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    assert prune_channels(free, ratio=0.5).get_layer("first").filters == 8
