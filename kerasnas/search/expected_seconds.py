"""How long the training of a network is expected to take, by what those of others took."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["expected_seconds"]

_SIZES = ("macs", "activation_bytes")
# The prior: the powers of these sizes that seconds follow, and how many trainings they are worth. From
# benchmarks/expected_cost.py: with them, seconds are right within a factor of 1.6 for two networks of three, and
# of 1.8 with oneDNN (16 networks, whose own powers are 0.32 and 0.32).
_POWERS = np.array([0.45, 0.25])
_WORTH = 3.0


def expected_seconds(costs: Mapping[str, float], trained: Sequence[tuple[Mapping[str, float], float]]) -> float | None:
    """Return how many seconds an epoch of a network takes, by what an epoch of others took; None if nothing tells.

    A linear regression of the logarithm of seconds on those of MACs and of activation memory, with a prior on the slopes:
    one network that was trained is enough.

    Args:
        costs: of the network, with "macs" and "activation_bytes".
        trained: costs of other networks, and their seconds per epoch, > 0.
    """
    usable = [(each, seconds) for each, seconds in trained if all(name in each for name in _SIZES)]
    if not usable or any(name not in costs for name in _SIZES):
        return None
    sizes = np.log1p([[each[name] for name in _SIZES] for each, _ in usable])
    seconds = np.log([seconds for _, seconds in usable])
    middle = sizes.mean(axis=0)
    centred, deviations = sizes - middle, seconds - seconds.mean()
    slopes = _POWERS + np.linalg.solve(
        centred.T @ centred + _WORTH * np.eye(len(_SIZES)), centred.T @ (deviations - centred @ _POWERS)
    )
    size = np.log1p([costs[name] for name in _SIZES])
    return float(np.exp(seconds.mean() + (size - middle) @ slopes))
