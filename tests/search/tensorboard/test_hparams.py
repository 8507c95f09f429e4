"""The table of hyperparameters and the final metrics, as TensorBoard's server computes them."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
    metadata,
    plugin_data_pb2,
)

from kerasnas.search.tensorboard import TensorBoardLog
from kerasnas.search.tensorboard.hparams import begin_summary


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


def test_the_hparams_table(log, network, points, tmp_path, values):
    other = values | {"units": 3, "activation": "relu"}
    network.fit(*points, verbose=0, callbacks=[log.callback("0000", values)])
    log.end_trial("0000", values, {"val_accuracy": 0.5, "parameters": 99, "latency_ms": None, "loss": np.inf}, "COMPLETED")
    log.end_trial("0001", other, {}, "FAILED")
    log.end_trial("0002", other, {"val_accuracy": np.float32(0.75), "parameters": 7, "macs": 5}, "COMPLETED")
    network.fit(*points, verbose=0, callbacks=[log.callback("0003", {"units": 4})])

    experiment, rows = hparams_of(tmp_path / "log")
    domains = {info.name: info for info in experiment.hparam_infos}
    assert set(domains) == set(values)
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
        "0000": ("STATUS_SUCCESS", values, {"val_accuracy": 0.5, "parameters": 99}),
        "0001": ("STATUS_FAILURE", other, {}),
        "0002": ("STATUS_SUCCESS", other, {"val_accuracy": 0.75, "parameters": 7, "macs": 5}),
        "0003": ("STATUS_UNKNOWN", {"units": 4}, {}),
    }


def loop(hp):
    model = keras.Sequential([keras.Input((2,))])
    for layer in range(hp.Int("layers", 1, 3)):
        model.add(keras.layers.Dense(hp.Int(f"units_{layer}", 2, 9)))
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def test_what_the_build_of_the_first_trial_discovers_is_in_its_row(make, points, tmp_path):
    tuner = make(loop, objective="val_loss", max_trials=1, oracle_kwargs={"initial_points": [{"layers": 3}]}, tensorboard=True)
    tuner.search(points[0], points[0][:, :1], validation_data=(points[0], points[0][:, :1]), verbose=0)
    experiment, rows = hparams_of(tmp_path / "p" / "tensorboard")
    (trial,) = tuner.record().trials
    assert set(trial.values) == {"layers", "units_0", "units_1", "units_2"}
    assert {info.name for info in experiment.hparam_infos} == set(trial.values)
    assert rows[trial.trial_id][1] == trial.values


def test_the_final_metrics_make_a_chart_over_the_trials(log, tmp_path, values, read):
    for number, score in enumerate((0.5, 0.75)):
        log.end_trial(f"{number:04d}", values, {"val_accuracy": score}, "COMPLETED")
    assert [read(tmp_path / f"log/{trial}").scalars("val_accuracy") for trial in ("0000", "0001")] == [[(1, 0.5)], [(2, 0.75)]]


def test_a_trial_that_ends_again_has_its_last_metrics(log, tmp_path, values, read, open_log):
    log.end_trial("0004", values, {"val_accuracy": 0.5}, "FAILED")
    again = open_log()
    again.end_trial("0004", values, {"val_accuracy": 0.75}, "COMPLETED")
    assert read(tmp_path / "log/0004").scalars("val_accuracy") == [(5, 0.75)]
    assert hparams_of(tmp_path / "log")[1]["0004"][2] == {"val_accuracy": 0.75}


def test_a_resumed_search_keeps_the_columns(log, tmp_path, values, open_log):
    log.end_trial("0000", values, {"val_accuracy": 0.5, "macs": 3}, "COMPLETED")
    again = open_log()
    again.end_trial("0001", values, {}, "FAILED")
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


@settings(max_examples=50)
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
