"""The table of TensorBoard's HParams plugin: the space, its metrics, and the trials."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_RUNNING, STATUS_SUCCESS
from tensorboard.plugins.hparams.summary_v2 import (
    Discrete,
    HParam,
    IntInterval,
    Metric,
    RealInterval,
    hparams_config_pb,
    hparams_pb,
)

from kerasnas.errors import InvalidArgument

__all__ = ["STATUSES", "begin_summary", "end_summary", "experiment_summary"]

STATUSES = {"COMPLETED": STATUS_SUCCESS, "FAILED": STATUS_FAILURE, "INVALID": STATUS_FAILURE, "RUNNING": STATUS_RUNNING}


def experiment_summary(space: Sequence[Mapping[str, Any]], metrics: Iterable[str]) -> Summary:
    """Return the columns of the table: every hyperparameter with its domain, and every metric.

    A name that the space holds more than once, below different parents, is one column with the union of the domains.

    Args:
        space: configurations as in `SearchRecord.space`.
        metrics: names, in the order of the columns.
    """
    configs: dict[str, list[Mapping[str, Any]]] = {}
    for config in space:
        configs.setdefault(config["name"], []).append(config)
    kinds = [
        Metric(name, dataset_type=Metric.VALIDATION if name.startswith("val_") else None, display_name=name) for name in metrics
    ]
    return hparams_config_pb([HParam(name, _domain(found)) for name, found in configs.items()], kinds)


def begin_summary(trial_id: str, values: Mapping[str, Any]) -> Summary:
    """Return the row of a trial; a list or None among the values becomes text."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return hparams_pb(
        {name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in plain.items()},
        trial_id=trial_id,
    )


def end_summary(status: str) -> Summary:
    """Return the end of a trial with a status of KerasTuner."""
    # TensorBoard has a function for it, which imports TensorFlow.
    end = plugin_data_pb2.SessionEndInfo(status=STATUSES[status], end_time_secs=time.time())
    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR)])


def _domain(configs: Sequence[Mapping[str, Any]]) -> Any:
    parts = [_values(config) for config in configs]
    if all(isinstance(part, tuple) for part in parts):
        low, high = min(part[0] for part in parts), max(part[1] for part in parts)
        whole = all(isinstance(bound, int) for part in parts for bound in part)
        return IntInterval(low, high) if whole else RealInterval(float(low), float(high))
    if any(isinstance(part, tuple) for part in parts):
        return None  # numbers of an interval in one place, a choice in another: TensorBoard has no such domain
    values = list(dict.fromkeys(value for part in parts for value in part))
    if len({isinstance(value, str) for value in values}) == 1 and len({type(value) for value in values}) > 1:
        values = [float(value) for value in values]
    try:
        return Discrete(values)
    except (TypeError, ValueError):  # values of more than one type
        return None


def _values(config: Mapping[str, Any]) -> tuple[Any, Any] | list[Any]:
    """Return the bounds of an interval, or the values of a choice."""
    kind = config.get("kind")
    if kind in ("Int", "Float"):
        low, high = config["min_value"], config["max_value"]
        return (int(low), int(high)) if kind == "Int" else (float(low), float(high))
    if kind == "Choice":
        return list(config["values"])
    if kind == "Boolean":
        return [False, True]
    if kind == "Fixed":
        return [config["value"]]
    raise InvalidArgument(
        f"Expected hyperparameters of kind Int, Float, Choice, Boolean or Fixed, got {kind!r} for {config.get('name')!r}. "
        "Pass the `space` of a SearchRecord."
    )
