"""What latency a network is expected to have, by those that others were measured to have."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from scipy.optimize import nnls

from kerasnas.cost.activation_memory import is_view
from kerasnas.cost.graph import Call, Graph, graph_of

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
_OF_TRAINING = re.compile("^(name|seed|rate|trainable|momentum)$|_(initializer|regularizer|constraint)$")
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
        signature: the same for networks that do the same, whatever their weights and however they are trained.
    """

    calls: int
    macs: int
    curved: int
    signature: str = ""

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


def _signature(graph: Graph) -> str:
    calls = [
        [
            type(call.operation).__name__,
            _settings(call.operation),
            [[tensor.number, tensor.shape, tensor.dtype] for tensor in (*call.inputs, *call.outputs)],
            [list(weight.shape) for weight in getattr(call.operation, "weights", ())],
        ]
        for call in graph.calls
    ]
    return hashlib.sha256(json.dumps(calls, default=str, sort_keys=True).encode()).hexdigest()


def _settings(operation: Any) -> Any:
    """Return the configuration of a layer without what matters for training alone, or for nothing."""
    try:
        config = operation.get_config()
    except Exception:  # an operation or a layer that has none
        return str(vars(operation).get("name"))
    return {key: value for key, value in config.items() if not _OF_TRAINING.search(key)}
