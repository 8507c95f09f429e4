"""Histograms, graphs and images against what they were made of, and the mistakes that the log tells."""

import io

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from tensorboard.util import tensor_util

from kerasnas.errors import InvalidArgument
from kerasnas.event_files import histogram_summary
from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.model_graph import model_graph

# -- histograms --

finite = st.floats(-1e6, 1e6, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3), elements=finite))
def test_a_histogram_counts_every_number_once(values):
    (value,) = histogram_summary("h", values).value
    left, right, counts = tensor_util.make_ndarray(value.tensor).T
    data = values.ravel().astype(float)
    assert counts.sum() == data.size
    if data.min() < data.max():
        assert (left[0], right[-1]) == (data.min(), data.max())
    assert (left[1:] == right[:-1]).all()
    # All buckets but the last are half open.
    inner = [((data >= a) & (data < b)).sum() for a, b in zip(left[:-1], right[:-1], strict=True)]
    assert counts[:-1].tolist() == inner


@pytest.mark.parametrize(("values", "total"), [([], 0), ([np.nan, np.inf], 0), ([1.0, np.nan, 2.0], 2)])
def test_a_histogram_leaves_out_what_is_no_number(values, total):
    (value,) = histogram_summary("h", values).value
    buckets = tensor_util.make_ndarray(value.tensor)
    assert buckets.shape[1] == 3
    assert buckets[:, 2].sum() == total


def test_a_histogram_of_many_numbers_is_a_fair_sample():
    values = np.tile([0.0, 0.0, 0.0, 1.0], 50_000)  # every fourth, as a channel is
    (value,) = histogram_summary("h", values).value
    counts = tensor_util.make_ndarray(value.tensor)[:, 2]
    assert counts.sum() == 10_000
    assert counts[-1] / 10_000 == pytest.approx(0.25, abs=0.02)  # 4.6 standard deviations


# -- graphs --


def test_the_graph_has_the_layers_and_their_edges(log, tmp_path, values, read):
    layers = keras.layers
    nested = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="inside")], name="block")
    shared = layers.Dense(4, use_bias=False, name="shared")
    start = keras.Input((4,), name="start")
    left, right = shared(start), shared(nested(start))
    total = layers.Add(name="total")([left, right])
    model = keras.Model(start, layers.Dense(1, name="end")(keras.ops.relu(total)))
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones(4), verbose=0, callbacks=[log.callback("0000", values)])

    nodes = {node.name: node for node in read(tmp_path / "log/0000").graph().node}
    relu = next(name for name in nodes if name.startswith("relu"))
    assert {name: list(node.input) for name, node in nodes.items()} == {
        "start": [],
        "shared": ["start"],
        "block/inside": ["start"],
        "shared_1": ["block/inside"],
        "total": ["shared", "shared_1"],
        relu: ["total"],
        "end": [relu],
    }
    assert nodes["block/inside"].op == "Dense"
    assert nodes["end"].attr["parameters"].i == 5
    assert [d.size for d in nodes["shared"].attr["_output_shapes"].list.shape[0].dim] == [-1, 4]


def test_the_graph_of_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    pair = keras.ops.split(keras.layers.Concatenate(name="both")([a, b]), 2, axis=1)
    model = keras.Model(
        {"a": a, "b": b}, [keras.layers.Dense(1, name="one")(pair[1]), keras.layers.Dense(1, name="two")(pair[0])]
    )
    nodes = {node.name: node for node in model_graph(model).node}
    split = next(name for name in nodes if name.startswith("split"))
    assert list(nodes["both"].input) == ["a", "b"]
    assert list(nodes["one"].input) == [f"{split}:1"]
    assert list(nodes["two"].input) == [split]


def test_a_model_without_a_graph_has_none():
    assert model_graph(keras.Sequential([keras.layers.Dense(1)])) is None


# -- images --


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_decode_to_the_pixels(log, channels, tmp_path, read):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    log.images("grad_cam", pixels, 3)
    log.images("grad_cam", pixels[:, ::-1], 9)
    shown = read(tmp_path / "log/incumbent").arrays("grad_cam")
    assert [step for step, _ in shown] == [3, 9]
    for (_, (width, height, *files)), expected in zip(shown, (pixels, pixels[:, ::-1]), strict=True):
        assert (width, height) == (b"7", b"5")
        decoded = [np.asarray(Image.open(io.BytesIO(file))).reshape(5, 7, channels) for file in files]
        assert np.array_equal(decoded, expected)


def test_images_of_a_resumed_search_are_added(log, tmp_path, read, open_log):
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    log.images("grad_cam", pixels, 3)
    open_log().images("grad_cam", pixels, 8)
    assert [step for step, _ in read(tmp_path / "log/incumbent").arrays("grad_cam")] == [3, 8]


# -- errors at the door --


def test_mistakes_are_told(log, tmp_path, values):
    with pytest.raises(InvalidArgument, match="list of names"):
        TensorBoardLog(tmp_path, space=[], objectives="val_accuracy")
    with pytest.raises(InvalidArgument, match="kind Int"):
        TensorBoardLog(tmp_path, space=[{"kind": "Odd", "name": "a"}], objectives=[])
    for wrong in ("", "a/b", ".."):
        with pytest.raises(InvalidArgument, match="trial_id"):
            log.callback(wrong, values)
    with pytest.raises(InvalidArgument, match="first_epoch"):
        log.callback("0000", values, first_epoch=-1)
    with pytest.raises(InvalidArgument, match="status"):
        log.end_trial("0000", values, {}, "DONE")
    for wrong in (np.zeros((1, 2, 2, 3)), np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 2), np.uint8)):
        with pytest.raises(InvalidArgument, match="images of shape"):
            log.images("a", wrong, 0)
    assert not list(tmp_path.iterdir())
