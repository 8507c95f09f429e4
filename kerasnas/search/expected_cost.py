"""What a network is expected to take, seconds of training or milliseconds of inference, by what others took."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["Measured", "expected_latency", "expected_seconds"]

Measured = Sequence[tuple[Mapping[str, float], float]]

_SIZES = ("macs", "activation_bytes")
# The prior: the powers of these sizes that times follow, and how many measurements that is worth. With the powers of seconds,
# from benchmarks/expected_cost.py, the deviation of the logarithm is about .45: two of three are right within a factor of 1.6.
# Those of latency are from 70 random networks of ConvDense.small at 28x28: .5, two of three within 1.65.
_POWERS_OF_SECONDS, _POWERS_OF_LATENCY = (0.45, 0.25), (0.5, 0.2)
_WORTH = 3.0
# Before so many latencies are measured, none is expected: for seconds, the alternative to a guess is no limit; here it is a
# measurement.
_FEWEST = 3


def expected_seconds(costs: Mapping[str, float], trained: Measured) -> float | None:
    """Return how many seconds an epoch of a network takes, by what an epoch of others took; None if nothing tells.

    Args:
        costs: of the network, with "macs" and "activation_bytes".
        trained: costs of other networks, and their seconds per epoch, > 0. One is enough.
    """
    return _expected(costs, trained, _POWERS_OF_SECONDS)


def expected_latency(costs: Mapping[str, float], measured: Measured) -> float | None:
    """Return how many milliseconds a network takes for a sample, by what others took; None if too little is known.

    Args:
        costs: of the network, with "macs" and "activation_bytes".
        measured: costs of other networks, and their latencies, milliseconds.
    """
    return _expected(costs, measured, _POWERS_OF_LATENCY) if len(measured) >= _FEWEST else None


def _expected(costs: Mapping[str, float], measured: Measured, powers: tuple[float, ...]) -> float | None:
    """Predict by a linear regression of the logarithm of times on those of sizes, with a prior on the slopes."""
    usable = [(each, time) for each, time in measured if all(name in each for name in _SIZES)]
    if not usable or any(name not in costs for name in _SIZES):
        return None
    sizes = np.log1p([[each[name] for name in _SIZES] for each, _ in usable])
    times = np.log([time for _, time in usable])
    middle, prior = sizes.mean(axis=0), np.array(powers)
    centred, deviations = sizes - middle, times - times.mean()
    slopes = prior + np.linalg.solve(
        centred.T @ centred + _WORTH * np.eye(len(_SIZES)), centred.T @ (deviations - centred @ prior)
    )
    size = np.log1p([costs[name] for name in _SIZES])
    return float(np.exp(times.mean() + (size - middle) @ slopes))
