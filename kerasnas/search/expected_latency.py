"""What latency a network is expected to have, by those that others were measured to have."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from scipy.optimize import nnls

from kerasnas.cost.activation_memory import is_view
from kerasnas.cost.graph import Call, Graph, Tensor, graph_of

__all__ = ["Work", "expected_latency", "work_of"]

# From benchmarks/expected_cost.py, 70 random networks of ConvDense.small at 28x28 on one core of an x86 server: milliseconds of
# each call, each multiply-accumulate, and each element of a curved function. With them and the measurements so far the
# deviation of the logarithm is .25: 19 networks of 20 are right within a factor of 1.7.
_USUAL_MS = np.array([2.2e-3, 2.6e-8, 1.3e-6])
# How many measurements this prior is worth.
_WORTH = 0.5
# Before so many latencies are measured, none is expected: how fast this machine is has to be known.
_FEWEST = 3

_CURVED = {"celu", "elu", "exp", "exponential", "gelu", "log", "log_softmax", "mish", "selu", "sigmoid", "silu", "softmax"}
_CURVED |= {"softplus", "swish", "tanh"}
_OF_TRAINING = re.compile("^(name|seed|rate|trainable|momentum|build_config)$|_(initializer|regularizer|constraint)$")
# Reads its input three times: for the mean, the variance and the result.
_NORMALIZATIONS = (layers.LayerNormalization, layers.GroupNormalization)


@dataclass(frozen=True)
class Work:
    """What a network does for one sample, as far as its latency depends on it.

    Attributes:
        calls: of layers and operations, those left out that do nothing at inference.
        macs: multiply-accumulates.
        curved: elements that exponentials, error functions and the like are taken of, or that are normalised by their own
            statistics.
        signature: the same for networks that do the same, whatever their weights and however they are trained; None where
            that cannot be told.
    """

    calls: int
    macs: int
    curved: int
    signature: str | None = None

    @property
    def amounts(self) -> tuple[int, int, int]:
        """Calls, MACs and curved elements."""
        return self.calls, self.macs, self.curved


def work_of(model: keras.Model, macs: int) -> Work:
    """Return the work of a model of fixed shapes.

    Args:
        model: a built Functional or Sequential model.
        macs: of it, see `kerasnas.cost.cost_of`.
    """
    graph = graph_of(model)
    calls = [call for call in graph.calls if not is_view(call.operation)]
    return Work(len(calls), macs, sum(map(_curved, calls)), _signature(graph))


def expected_latency(work: Work, measured: Sequence[tuple[Work, float]]) -> float | None:
    """Return how many milliseconds a network takes for a sample; None if too little is measured.

    The time is a sum of times per call, multiply-accumulate and curved element, none below 0, which fit the measured
    latencies with the least relative error, and stay near the usual ones while there are few.

    Args:
        work: of the network.
        measured: work and latency, milliseconds, of other networks on this machine.
    """
    if len(measured) < _FEWEST:
        return None
    shares = np.array([each.amounts for each, _ in measured]) * _USUAL_MS
    times = np.array([ms for _, ms in measured])
    speed = np.exp(np.mean(np.log(times) - np.log(shares.sum(axis=1))))
    rows = np.concatenate([shares / times[:, None], _WORTH / speed * np.eye(len(_USUAL_MS))])
    factors, _ = nnls(rows, np.concatenate([np.ones(len(times)), np.full(len(_USUAL_MS), _WORTH)]))
    return float(np.array(work.amounts) * _USUAL_MS @ factors)


def _curved(call: Call) -> int:
    operation: Any = call.operation
    passes = 3 if isinstance(operation, _NORMALIZATIONS) else 0
    activation = getattr(operation, "activation", None)
    names = {type(operation).__name__.lower(), str(getattr(activation, "__name__", "")).lower()}
    passes += bool(names & _CURVED)
    return passes * sum(math.prod(length or 0 for length in tensor.shape[1:]) for tensor in call.outputs)


def _signature(graph: Graph) -> str | None:
    try:
        calls = [[_describe(call.operation), _plain([call.args, call.kwargs, call.within])] for call in graph.calls]
    except _NotPlainError:
        return None
    return hashlib.sha256(json.dumps(calls).encode()).hexdigest()


class _NotPlainError(Exception):
    """Something that its configuration does not describe."""


def _describe(operation: Any) -> Any:
    kind = type(operation)
    if not str(kind.__module__).startswith("keras.") or isinstance(operation, layers.Lambda):
        raise _NotPlainError
    weights = [[list(weight.shape), str(weight.dtype)] for weight in getattr(operation, "weights", ())]
    if isinstance(operation, keras.Layer):
        return [kind.__name__, _plain(operation.get_config()), weights]
    # Operations of keras.ops have no configuration but their attributes, of which some are of Keras' own.
    own = {name: value for name, value in vars(operation).items() if not name.startswith("_")}
    return [kind.__name__, _plain(own), weights]


def _plain(value: Any) -> Any:
    """Return `value` as JSON, without what matters for training alone, or for nothing."""
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, Tensor):
        return ["tensor", value.number, value.shape, value.dtype]
    if isinstance(value, Mapping):
        return [[str(key), _plain(each)] for key, each in value.items() if not _OF_TRAINING.search(str(key))]
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, slice):
        return ["slice", _plain([value.start, value.stop, value.step])]
    if isinstance(value, np.generic):
        return value.item()
    raise _NotPlainError
