"""Models that take images with channels first: what needs no channel axis says the same of them, maps are refused."""

import keras
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from kerasnas.errors import InvalidArgument
from kerasnas.explain import (
    confusion,
    decision_boundary,
    layer_importance,
    layer_latency,
    occlusion,
    permutation_importance,
    rise,
    shap_values,
    weight_statistics,
)

layers = keras.layers
CLASSES = np.arange(24) % 3


def _net(data_format):
    first = data_format == "channels_first"
    return keras.Sequential(
        [
            keras.Input((3, 9, 8) if first else (9, 8, 3)),
            layers.Conv2D(4, 3, activation="relu", data_format=data_format, name="conv"),
            layers.BatchNormalization(axis=1 if first else -1, name="norm"),
            layers.MaxPooling2D(data_format=data_format, name="pool"),
            layers.GlobalAveragePooling2D(data_format=data_format, name="mean"),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )


@pytest.fixture
def nets():
    """One network with channels first and with channels last."""
    first, last = _net("channels_first"), _net("channels_last")
    last.set_weights(first.get_weights())
    return first, last


@pytest.fixture
def images(rng):
    """Images with channels first, and the same with channels last."""
    first = rng.normal(size=(24, 3, 9, 8)).astype("float32")
    return first, np.moveaxis(first, 1, -1)


def test_what_needs_no_channel_axis_says_the_same(nets, images, tmp_path):
    counted, expected = (confusion(net, x, CLASSES) for net, x in zip(nets, images, strict=True))
    np.testing.assert_array_equal(counted.matrix, expected.matrix)
    np.testing.assert_array_equal(counted.images, expected.images)  # their channels last, as they are drawn
    assert counted.save(tmp_path / "first.png").read_bytes() == expected.save(tmp_path / "last.png").read_bytes()

    ablated, expected = (layer_importance(net, x, CLASSES, repeats=1) for net, x in zip(nets, images, strict=True))
    assert [row.layer for row in ablated.rows] == [row.layer for row in expected.rows]
    changes = [[row.loss_change for row in found.rows] for found in (ablated, expected)]
    np.testing.assert_allclose(*changes, rtol=0, atol=1e-6)

    plane, expected = (decision_boundary(net, x, resolution=9) for net, x in zip(nets, images, strict=True))
    np.testing.assert_array_equal(plane.regions, expected.regions)
    assert list(layer_latency(nets[0], images[0])) == ["conv", "norm", "pool", "mean", "scores"]


def test_what_tells_channels_by_the_last_axis_is_refused(nets, images):
    net, x = nets[0], images[0]
    came = "Expected channels last; layer 'conv' came with data_format='channels_first'. Rebuild it"
    for explain, otherwise in (
        (lambda: occlusion(net, x), ""),
        (lambda: permutation_importance(net, x, CLASSES), ""),
        (lambda: weight_statistics(net, x), ", or leave out x, for the weights alone"),
        (lambda: layer_importance(net, x, CLASSES, channels=True), ", or ablate whole layers"),
    ):
        with pytest.raises(InvalidArgument, match=rf"{came}{otherwise}\.$"):
            explain()
    assert weight_statistics(net).of("conv").stable_rank == weight_statistics(nets[1]).of("conv").stable_rank


def _file(path):
    """An ONNX classifier of images of shape (batch, 3, 9, 8), by their mean colour."""
    start = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 9, 8])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "kernel"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [start], [end], [numpy_helper.from_array(np.eye(3, dtype="float32"), "kernel")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_a_file_and_a_function_of_channels_first_are_refused(images, tmp_path):
    def mean_colours(x):
        return x.mean(axis=(2, 3))

    for model in (_file(tmp_path / "colours.onnx"), mean_colours):
        for explain in (occlusion, rise, shap_values, lambda *of: permutation_importance(*of, CLASSES, from_logits=True)):
            with pytest.raises(InvalidArgument, match=r"channels of images last; came shape \(24, 3, 9, 8\).*channels first"):
                explain(model, images[0])
    # What the message says to do.
    found = occlusion(lambda x: mean_colours(np.moveaxis(x, -1, 1)), np.moveaxis(images[0], 1, -1)[:2], patch=3)
    assert found.values.shape == (2, 9, 8)


def test_a_signal_of_one_row_is_no_picture_of_one_channel():
    """Shape (1, time, features) with the channels last, as of an EEG: a function of it is explained."""
    signals = np.random.default_rng(0).normal(size=(2, 1, 16, 8)).astype("float32")

    def first_half(x):
        score = 1 / (1 + np.exp(-x[:, 0, :8].mean(axis=(1, 2))))
        return np.stack([score, 1 - score], axis=1)

    maps = occlusion(first_half, signals, patch=1, stride=1, target=0)
    assert np.abs(maps.values[:, 0, :8]).min() > 0
    assert np.abs(maps.values[:, 0, 8:]).max() == 0


def test_pictures_of_a_model_that_turns_them_round_inside_stay_as_they_are():
    inputs = keras.Input((12, 10, 1))
    inner = keras.layers.Conv2D(2, 3, data_format="channels_first")(keras.layers.Permute((3, 1, 2))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(inner)))
    x = np.random.default_rng(0).random((12, 12, 10, 1)).astype("float32")
    found = confusion(model, x, np.arange(12) % 2)
    np.testing.assert_array_equal(found.images, x[[mistake.index for mistake in found.mistakes]])
