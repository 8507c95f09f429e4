"""What the log of a search holds, read back with TensorBoard's own readers."""

import io
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
    metadata,
    plugin_data_pb2,
)
from tensorboard.util import tensor_util

from kerasnas.errors import InvalidArgument
from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.gradients import LossGradients
from kerasnas.search.tensorboard.hparams import begin_summary
from kerasnas.search.tensorboard.model_graph import model_graph
from kerasnas.search.tensorboard.summaries import histogram_summary

SPACE = (
    {"kind": "Int", "name": "units", "min_value": 2, "max_value": 40, "step": 1},
    {"kind": "Float", "name": "rate", "min_value": 1e-3, "max_value": 0.1, "sampling": "log"},
    {"kind": "Choice", "name": "activation", "values": ["relu", "tanh"]},
    {"kind": "Choice", "name": "kernel", "values": [3, 5]},
    {"kind": "Boolean", "name": "norm"},
    {"kind": "Fixed", "name": "version", "value": 7},
)
VALUES = {"units": 8, "rate": 0.01, "activation": "tanh", "kernel": 5, "norm": True, "version": 7}


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def arrays(accumulator, tag):
    """Step and array of each event of a tag."""
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]


def scalars(accumulator, tag):
    return [(step, float(value)) for step, value in arrays(accumulator, tag)]


@pytest.fixture
def log(tmp_path):
    return TensorBoardLog(tmp_path / "log", space=SPACE, objectives=["val_accuracy"])


@pytest.fixture
def network(small):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(5, activation="relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_scalars_are_the_history(log, network, points, tmp_path):
    x, y = points
    callback = log.callback("0003", VALUES, x_batch=x, y_batch=y)
    history = network.fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=[callback]).history
    for run, prefix in (("train", ""), ("validation", "val_")):
        shown = read(tmp_path / "log/0003" / run)
        for name in ("loss", "accuracy"):
            expected = [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in enumerate(history[prefix + name])]
            assert scalars(shown, f"epoch_{name}") == expected
    assert [value for _, value in scalars(read(tmp_path / "log/0003/train"), "epoch_learning_rate")] == pytest.approx([0.1] * 3)


def test_each_execution_has_its_own_runs(log, network, points, tmp_path):
    for execution in (0, 1):
        network.fit(*points, verbose=0, callbacks=[log.callback("0000", VALUES, execution)])
    assert sorted(str(p.parent.relative_to(tmp_path / "log")) for p in (tmp_path / "log").rglob("events*")) == [
        "0000",
        "0000/execution_1/train",
        "0000/train",
    ]


def test_logging_does_not_change_the_training(log, network, points):
    x, y = points
    weights = []
    for callbacks in ([], [log.callback("0000", VALUES, x_batch=x, y_batch=y)]):
        keras.utils.set_random_seed(5)
        model = keras.models.clone_model(network)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=3, verbose=0, callbacks=callbacks)
        weights.append([variable.numpy() for variable in model.variables])
    assert len(weights[0]) == len(weights[1]) == 9
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
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


def test_the_histogram_of_a_known_weight(log, points, tmp_path):
    kernel = np.array([[-1.0] * 6 + [0.0] * 3 + [2.0]] * 2)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(10, name="known")])
    model.layers[0].set_weights([kernel, np.zeros(10)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, _ = points
    model.fit(x, np.zeros((len(x), 10)), epochs=2, verbose=0, callbacks=[log.callback("0000", VALUES)])
    shown = read(tmp_path / "log/0000/train")
    for epoch, (step, buckets) in enumerate(arrays(shown, "weights/known/kernel")):
        assert step == epoch
        assert (buckets[0, 0], buckets[-1, 1]) == (-1, 2)
        assert buckets[[0, 10, -1], 2].tolist() == [12, 6, 2]
        assert buckets[:, 2].sum() == 20
    assert not [tag for tag in shown.Tags()["tensors"] if tag.startswith("gradients")]  # no batch was given


LINEAR = """
import sys
import keras, numpy as np
from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.gradients import LossGradients

rng = np.random.default_rng(0)
x, y = (rng.normal(size=shape).astype("float32") for shape in ((40, 3), (40, 2)))
w, b = (rng.normal(size=shape).astype("float32") for shape in ((3, 2), (2,)))
layer = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.3), activity_regularizer=keras.regularizers.L2(0.2))
model = keras.Sequential([keras.Input((3,)), layer])
model.compile(keras.optimizers.SGD(0.1), "mse")
gradients = LossGradients(model, x, y)
for scale in (1, 2):
    layer.set_weights([scale * w, scale * b])
    got = gradients()
    out = x @ (scale * w) + scale * b
    # The mean over 80 numbers of the squared error; Keras divides the penalty of an activity by the batch.
    slope = 2 * (out - y) / 80 + 2 * 0.2 * out / 40
    assert np.allclose(got[0], x.T @ slope + 2 * 0.3 * scale * w, atol=1e-5), got
    assert np.allclose(got[1], slope.sum(axis=0), atol=1e-5), got

stack = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(),
                          keras.layers.Dropout(0.5), keras.layers.Dense(2)])
stack.compile("sgd", "mse")
before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in stack.variables]
gradients = LossGradients(stack, x, y)
first, second = gradients(), gradients()
assert all(np.array_equal(a, b) for a, b in zip(first, second))  # the same dropout, since its state is left alone
assert any(np.abs(part).max() > 0 for part in first)
after = [keras.ops.convert_to_numpy(variable.value) for variable in stack.variables]
assert all(np.array_equal(a, b) for a, b in zip(before, after))

log = TensorBoardLog(sys.argv[1], space=[], objectives=["val_loss"])
callback = log.callback("0000", {}, x_batch=x, y_batch=y)
stack.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[callback])
log.images("picture", np.zeros((1, 4, 4, 1), "uint8"), 0)
log.end_trial("0000", {}, {"val_loss": 1.0}, "COMPLETED")
assert keras.backend.backend() == "tensorflow" or "tensorflow" not in sys.modules
print("done")
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow), pytest.param("torch", marks=pytest.mark.slow)]
)
def test_gradients_in_closed_form_on_every_backend(backend, tmp_path):
    pytest.importorskip(backend)
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", LINEAR, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout.endswith("done\n"), run.stderr
    shown = read(tmp_path / "0000/train")
    assert len(shown.Tensors("epoch_loss")) == 2
    gradients = [tag for tag in shown.Tags()["tensors"] if tag.startswith("gradients/")]
    assert len(gradients) == 6
    assert len(shown.Tensors(gradients[0])) == 2


def test_gradients_are_of_at_most_32_rows(log, network, points, tmp_path):
    x, y = points
    assert len(x) > 32
    network.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    network.fit(x, y, verbose=0, callbacks=[log.callback("0000", VALUES, x_batch=x, y_batch=y)])
    hidden = LossGradients(network, x[:32], y[:32])()[0]
    ((_, buckets),) = arrays(read(tmp_path / "log/0000/train"), "gradients/hidden/kernel")
    assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((hidden.min(), hidden.max()))


def test_a_loss_that_cannot_be_computed_costs_only_the_gradients(log, points, tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            return {"loss": keras.ops.mean(self(data[0]))}

    x, y = points
    model = Own()
    model.compile("sgd")
    with pytest.warns(UserWarning, match="No histograms of gradients"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[log.callback("0000", VALUES, x_batch=x, y_batch=y)])
    shown = read(tmp_path / "log/0000/train")
    assert len(shown.Tensors("epoch_loss")) == 2
    assert not [tag for tag in shown.Tags()["tensors"] if tag.startswith("gradients")]


def test_a_training_that_goes_on_replaces_what_came_after(log, network, points, tmp_path):
    x, y = points
    network.fit(x, y, epochs=4, verbose=0, callbacks=[log.callback("0000", VALUES, x_batch=x, y_batch=y)])
    folder = tmp_path / "log/0000/train"
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    first = scalars(read(folder), "epoch_loss")
    file.write_bytes(whole[:-100])  # as if killed amid the last epoch
    file.with_name("events.out.tfevents.0000").write_bytes(whole)  # ... and before that while it replaced a file
    assert [step for step, _ in scalars(read(file), "epoch_loss")] == [0, 1, 2]

    again = TensorBoardLog(tmp_path / "log", space=SPACE, objectives=["val_accuracy"])
    callback = again.callback("0000", VALUES, x_batch=x, y_batch=y, first_epoch=2)
    history = network.fit(x, y, initial_epoch=2, epochs=5, verbose=0, callbacks=[callback]).history
    shown = read(folder)
    expected = first[:2] + [(step, pytest.approx(loss)) for step, loss in zip((2, 3, 4), history["loss"], strict=True)]
    assert scalars(shown, "epoch_loss") == expected
    for tag in ("weights/hidden/kernel", "gradients/hidden/kernel"):
        assert [step for step, _ in arrays(shown, tag)] == [0, 1, 2, 3, 4]
    assert len(list(folder.iterdir())) == 1


def hparams_of(folder):
    """Experiment and rows as TensorBoard's server computes them."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.GetExperimentRequest(include_metrics=True)
    experiment = get_experiment.Handler(context.RequestContext(), backend, "", request).run()
    columns = [api_pb2.ColParams(hparam=info.name, include_in_result=True) for info in experiment.hparam_infos]
    columns += [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        col_params=columns,
        include_metrics=True,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN],
    )
    groups = list_session_groups.Handler(context.RequestContext(), backend, "", request).run().session_groups
    rows = {}
    for group in groups:
        (session,) = group.sessions
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        metrics = {value.name.tag: value.value for value in session.metric_values}
        rows[session.name] = (api_pb2.Status.Name(session.status), values, metrics)
    return experiment, rows


def test_the_hparams_table(log, network, points, tmp_path):
    other = VALUES | {"units": 3, "activation": "relu"}
    network.fit(*points, verbose=0, callbacks=[log.callback("0000", VALUES)])
    log.end_trial("0000", VALUES, {"val_accuracy": 0.5, "parameters": 99, "latency_ms": None, "loss": np.inf}, "COMPLETED")
    log.end_trial("0001", other, {}, "FAILED")
    log.end_trial("0002", other, {"val_accuracy": np.float32(0.75), "parameters": 7, "macs": 5}, "COMPLETED")
    network.fit(*points, verbose=0, callbacks=[log.callback("0003", {"units": 4})])

    experiment, rows = hparams_of(tmp_path / "log")
    domains = {info.name: info for info in experiment.hparam_infos}
    assert set(domains) == {config["name"] for config in SPACE}
    units, rate = domains["units"].domain_interval, domains["rate"].domain_interval
    assert (units.min_value, units.max_value, rate.min_value, rate.max_value) == (2, 40, 1e-3, 0.1)
    assert {name: [v for v in domains[name].domain_discrete] for name in ("activation", "kernel", "norm", "version")} == {
        "activation": ["relu", "tanh"],
        "kernel": [3, 5],
        "norm": [False, True],
        "version": [7],
    }
    assert [info.name.tag for info in experiment.metric_infos] == ["val_accuracy", "parameters", "macs"]
    assert rows == {
        "0000": ("STATUS_SUCCESS", VALUES, {"val_accuracy": 0.5, "parameters": 99}),
        "0001": ("STATUS_FAILURE", other, {}),
        "0002": ("STATUS_SUCCESS", other, {"val_accuracy": 0.75, "parameters": 7, "macs": 5}),
        "0003": ("STATUS_UNKNOWN", {"units": 4}, {}),
    }


def test_the_final_metrics_make_a_chart_over_the_trials(log, tmp_path):
    for number, score in enumerate((0.5, 0.75)):
        log.end_trial(f"{number:04d}", VALUES, {"val_accuracy": score}, "COMPLETED")
    assert [scalars(read(tmp_path / f"log/{trial}"), "val_accuracy") for trial in ("0000", "0001")] == [[(1, 0.5)], [(2, 0.75)]]


def test_a_trial_that_ends_again_has_its_last_metrics(log, tmp_path):
    log.end_trial("0004", VALUES, {"val_accuracy": 0.5}, "FAILED")
    again = TensorBoardLog(tmp_path / "log", space=SPACE, objectives=["val_accuracy"])
    again.end_trial("0004", VALUES, {"val_accuracy": 0.75}, "COMPLETED")
    assert scalars(read(tmp_path / "log/0004"), "val_accuracy") == [(5, 0.75)]
    assert hparams_of(tmp_path / "log")[1]["0004"][2] == {"val_accuracy": 0.75}


def test_a_resumed_search_keeps_the_columns(log, tmp_path):
    log.end_trial("0000", VALUES, {"val_accuracy": 0.5, "macs": 3}, "COMPLETED")
    again = TensorBoardLog(tmp_path / "log", space=SPACE, objectives=["val_accuracy"])
    again.end_trial("0001", VALUES, {}, "FAILED")
    experiment, rows = hparams_of(tmp_path / "log")
    assert [info.name.tag for info in experiment.metric_infos] == ["val_accuracy", "macs"]
    assert len(rows) == 2


def test_a_name_below_several_parents_has_the_union_of_its_domains(tmp_path):
    space = [
        {"kind": "Int", "name": "a", "min_value": 1, "max_value": 4},
        {"kind": "Int", "name": "a", "min_value": 3, "max_value": 9},
        {"kind": "Choice", "name": "b", "values": ["x", "y"]},
        {"kind": "Choice", "name": "b", "values": ["y", "z"]},
        {"kind": "Choice", "name": "c", "values": [1, 2]},
        {"kind": "Float", "name": "c", "min_value": 0.0, "max_value": 1.0},
        {"kind": "Choice", "name": "d", "values": [1, 2.5]},
        {"kind": "Choice", "name": "e", "values": [1, "one"]},
    ]
    TensorBoardLog(tmp_path, space=space, objectives=["score"]).end_trial("0000", {"a": 1}, {"score": 1}, "COMPLETED")
    infos = {info.name: info for info in hparams_of(tmp_path)[0].hparam_infos}
    assert (infos["a"].domain_interval.min_value, infos["a"].domain_interval.max_value) == (1, 9)
    assert list(infos["b"].domain_discrete) == ["x", "y", "z"]
    assert infos["c"].WhichOneof("domain") is infos["e"].WhichOneof("domain") is None
    assert list(infos["d"].domain_discrete) == [1, 2.5]


plain = st.one_of(st.booleans(), st.integers(-(2**50), 2**50), st.floats(allow_nan=False), st.text())


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1), plain))
def test_any_plain_values_are_kept(values):
    (value,) = begin_summary("0000", values).value
    start = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
    assert value.tag == metadata.SESSION_START_INFO_TAG
    assert start.group_name == "0000"
    assert {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()} == values


def test_other_values_become_text_or_plain():
    (value,) = begin_summary("0000", {"none": None, "list": [1, 2], "numpy": np.int64(3)}).value
    start = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
    assert start.hparams["none"].string_value == "None"
    assert start.hparams["list"].string_value == "[1, 2]"
    assert start.hparams["numpy"].number_value == 3


def test_the_graph_has_the_layers_and_their_edges(log, tmp_path):
    layers = keras.layers
    nested = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="inside")], name="block")
    shared = layers.Dense(4, use_bias=False, name="shared")
    start = keras.Input((4,), name="start")
    left, right = shared(start), shared(nested(start))
    total = layers.Add(name="total")([left, right])
    model = keras.Model(start, layers.Dense(1, name="end")(keras.ops.relu(total)))
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones(4), verbose=0, callbacks=[log.callback("0000", VALUES)])

    nodes = {node.name: node for node in read(tmp_path / "log/0000").Graph().node}
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


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_decode_to_the_pixels(log, channels, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    log.images("grad_cam", pixels, 3)
    log.images("grad_cam", pixels[:, ::-1], 9)
    shown = arrays(read(tmp_path / "log/incumbent"), "grad_cam")
    assert [step for step, _ in shown] == [3, 9]
    for (_, (width, height, *files)), expected in zip(shown, (pixels, pixels[:, ::-1]), strict=True):
        assert (width, height) == (b"7", b"5")
        decoded = [np.asarray(Image.open(io.BytesIO(file))).reshape(5, 7, channels) for file in files]
        assert np.array_equal(decoded, expected)


def test_images_of_a_resumed_search_are_added(log, tmp_path):
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    log.images("grad_cam", pixels, 3)
    TensorBoardLog(tmp_path / "log", space=SPACE, objectives=[]).images("grad_cam", pixels, 8)
    assert [step for step, _ in arrays(read(tmp_path / "log/incumbent"), "grad_cam")] == [3, 8]


def test_mistakes_are_told(log, tmp_path):
    with pytest.raises(InvalidArgument, match="list of names"):
        TensorBoardLog(tmp_path, space=SPACE, objectives="val_accuracy")
    with pytest.raises(InvalidArgument, match="kind Int"):
        TensorBoardLog(tmp_path, space=[{"kind": "Odd", "name": "a"}], objectives=[])
    for wrong in ("", "a/b", ".."):
        with pytest.raises(InvalidArgument, match="trial_id"):
            log.callback(wrong, VALUES)
    with pytest.raises(InvalidArgument, match="first_epoch"):
        log.callback("0000", VALUES, first_epoch=-1)
    with pytest.raises(InvalidArgument, match="status"):
        log.end_trial("0000", VALUES, {}, "DONE")
    for wrong in (np.zeros((1, 2, 2, 3)), np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 2), np.uint8)):
        with pytest.raises(InvalidArgument, match="images of shape"):
            log.images("a", wrong, 0)
    assert not list(tmp_path.iterdir())
