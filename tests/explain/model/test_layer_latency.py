import keras
import numpy as np

from kerasnas.explain import layer_latency, structure
from kerasnas.explain.model.layer_latency import LayerLatency

layers = keras.layers


def test_the_time_goes_where_the_work_is(rng):
    model = keras.Sequential(
        [
            keras.Input((24, 24, 4)),
            layers.Conv2D(64, 3, padding="same", name="wide"),
            layers.Conv2D(64, 5, padding="same", name="heavy"),
            layers.ReLU(name="light"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    before = model.get_weights()
    found = layer_latency(model, rng.random((40, 24, 24, 4)))
    assert list(found) == ["wide", "heavy", "light", "pool", "scores"]
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    assert found["heavy"] > 4 * max(found[name] for name in ("light", "pool", "scores"))  # 59M operations against 0.1M
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_nested_and_shared_layers_have_the_paths_of_the_structure(rng):
    inner = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 3, padding="same", name="inside")], name="block")
    start = keras.Input((6, 6, 2))
    x = layers.Add(name="sum")([inner(start), start])
    x = layers.GlobalAveragePooling2D(name="pool")(inner(x))
    model = keras.Model(start, layers.Dense(1, activation="sigmoid", name="scores")(keras.ops.relu(x)))
    found = layer_latency(model, rng.random((2, 6, 6, 2)))
    drawn = structure(model, latency=found)
    assert {row.path for row in drawn.rows if row.latency_ms is not None} == set(found)
    assert len(found) == len(drawn.rows) - 1  # all but the input
    assert sum(name.endswith("inside") for name in found) == 2


def test_it_is_printed_as_a_table_with_the_slowest_first():
    printed = str(LayerLatency({"dense": 0.25, "convolution": 0.75})).splitlines()
    assert printed[0].split() == ["convolution", "0.7500", "ms", "75%"]
    assert printed[1].split() == ["dense", "0.2500", "ms", "25%"]
    assert printed[2].split()[:2] == ["together", "1.0000"]
    assert len(str(LayerLatency({}))) < 40
