"""Which channels go."""

import math

import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.ledger import Bundles
from kerasnas.compress.channels.rebuild import Kept

__all__ = ["select"]

_LEAST = 0.1  # what scope="global" leaves of each group: a layer of one channel lets nothing through


def select(
    bundles: Bundles,
    scores: NDArray[np.float64],
    ratio: float | NDArray[np.float64],
    before: Kept,
    *,
    scope: str,
    divisor: int,
) -> Kept:
    """Return which bundles are kept; a larger ratio keeps a subset.

    Args:
        bundles: of the model.
        scores: how much each bundle matters.
        ratio: share of the free channels that goes, in [0, 1]; never more goes; with scope="layer" one for each group will do.
        before: which ones are still there.
        scope: "layer" takes the share from each group, "global" from all groups together, the lowest scores first, but no
            more than nine tenths of a group.
        divisor: each group keeps a multiple of it, or everything if it has fewer channels.
    """
    kept = before.copy()
    if scope == "layer":
        shares = np.broadcast_to(ratio, len(bundles.groups))
        counts = [
            len(group) - math.floor(share * len(group) + 1e-9) for group, share in zip(bundles.groups, shares, strict=True)
        ]
    else:
        counts = _global_counts(bundles, scores, float(ratio), before, divisor)
    for group, count in zip(bundles.groups, counts, strict=True):
        count = min(len(group), math.ceil(max(count, 1) / divisor) * divisor)
        there = group[before[group]]
        order = there[np.argsort(-scores[there], kind="stable")]
        kept[order[count:]] = False
    return kept


def _global_counts(bundles: Bundles, scores: NDArray[np.float64], ratio: float, before: Kept, divisor: int) -> list[int]:
    counts = [int(np.count_nonzero(before[group])) for group in bundles.groups]
    total = sum(len(group) for group in bundles.groups)
    left = math.floor(ratio * total + 1e-9) - (total - sum(counts))
    if left <= 0:
        return counts
    there = [(group[before[group]], number) for number, group in enumerate(bundles.groups)]
    members = np.concatenate([group for group, _ in there])
    groups = np.concatenate([np.full(len(group), number) for group, number in there])
    for place in np.argsort(scores[members], kind="stable"):
        number = groups[place]
        if left > 0 and counts[number] > max(divisor, math.ceil(_LEAST * len(bundles.groups[number]))):
            counts[number] -= 1
            left -= 1
    return counts
