"""A share for each group of layers, and a teacher that is asked once."""

import keras
import numpy as np
import pytest

from kerasnas.compress import channel_report, prune_channels
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.fine_tuning import with_lessons
from kerasnas.compress.channels.group_ratios import group_layers
from kerasnas.errors import InvalidArgument

layers = keras.layers


@pytest.fixture
def residual():
    """Two layers that are added share their channels; a third does not."""
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    z = layers.Conv2D(12, 3, padding="same", activation="relu", name="inner")(y)
    y = layers.Add()([y, layers.Conv2D(8, 3, padding="same", name="back")(z)])
    return keras.Model(x, layers.Dense(4, activation="softmax", name="out")(layers.GlobalAveragePooling2D()(y)))


def _kept(model, pruned):
    return {row.layer: row.kept for row in channel_report(model, pruned).layers}


def test_each_group_has_its_own_share(residual):
    assert group_layers(dependencies_of(residual)) == [("stem", "back"), ("inner",)]
    assert _kept(residual, prune_channels(residual, ratio={"inner": 0.75})) == {"stem": 8, "inner": 3, "back": 8, "out": 4}
    both = prune_channels(residual, ratio={"back": 0.25, "inner": 0.5, "stem": 0.25})
    assert _kept(residual, both) == {"stem": 6, "inner": 6, "back": 6, "out": 4}
    uniform = prune_channels(residual, ratio=0.5)
    alike = prune_channels(residual, ratio={"stem": 0.5, "inner": 0.5})
    assert all(np.array_equal(a, b) for a, b in zip(uniform.get_weights(), alike.get_weights(), strict=True))


def test_in_steps_one_arrives_at_the_same_widths(residual):
    x, y = np.random.default_rng(0).random((16, 6, 6, 3)), np.arange(16) % 4
    pruned = prune_channels(residual, x, y, ratio={"inner": 0.75}, steps=3, epochs=0)
    assert _kept(residual, pruned)["inner"] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": {"nobody": 0.5}}, "got 'nobody'. They are: back, inner, stem"),
        ({"ratio": {"out": 0.5}}, "got 'out'"),
        ({"ratio": {"inner": 1.0}}, r"'inner' in \[0, 1\), got 1.0"),
        ({"ratio": {"stem": 0.5, "back": 0.25}}, "one ratio for layers that share"),
        ({"ratio": {"inner": 0.5}, "scope": "global"}, "scope='layer'"),
        ({"ratio": {"inner": 0.5}, "macs": 0.5}, "one way to say"),
    ],
)
def test_mistakes(settings, message, residual):
    with pytest.raises(InvalidArgument, match=message):
        prune_channels(residual, **settings)


def test_the_teacher_says_once_what_it_says_each_time(residual):
    x = np.random.default_rng(0).random((300, 6, 6, 3)).astype("float32")
    y = np.arange(300) % 4
    lessons = with_lessons(None, residual, x, y, 32, 0)
    rows = 0
    for inputs, (labels, taught) in lessons:
        np.testing.assert_allclose(taught, residual(inputs, training=False), atol=1e-6)
        np.testing.assert_array_equal(labels, y[[np.flatnonzero((x == row).all(axis=(1, 2, 3)))[0] for row in inputs.numpy()]])
        rows += len(inputs)
    assert rows == 300
    batches = object()
    wide = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    assert with_lessons(batches, wide, np.zeros((4, 2), "float32"), y[:4], 2, 0) is batches
