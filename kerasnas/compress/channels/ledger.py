"""Which channels of a network belong together, and which ones must stay."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["Bundles", "Channels", "Ledger"]

Channels = NDArray[np.int64]  # numbers of channels, as the ledger gave them out


@dataclass(frozen=True, eq=False)
class Bundles:
    """Channels that live or die together, and the groups that they are ranked in.

    Attributes:
        of_channel: the bundle of each channel; shape (channels,).
        reasons: why each bundle must stay, "" if it may go.
        groups: the free bundles, by the layers that make their channels: a residual stream is one group, and the parts of a
            concatenation are several.
    """

    of_channel: NDArray[np.int64]
    reasons: tuple[str, ...]
    groups: tuple[NDArray[np.int64], ...]

    @property
    def count(self) -> int:
        """How many bundles there are."""
        return len(self.reasons)


class Ledger:
    """Numbers channels, ties them and freezes them; `settle` says what follows (union-find over single channels)."""

    def __init__(self) -> None:
        self._owners: list[Hashable] = []  # one for each channel
        self._ties: list[tuple[Channels, Channels]] = []
        self._frozen: list[tuple[Channels, str]] = []

    def create(self, count: int, owner: Hashable) -> Channels:
        """Return the numbers of new channels that `owner` makes."""
        first = len(self._owners)
        self._owners.extend([owner] * count)
        return np.arange(first, first + count)

    def tie(self, one: Channels, other: Channels) -> None:
        """Let channel i of `one` and channel i of `other` live or die together."""
        self._ties.append((one, other))

    def freeze(self, channels: Channels | None, reason: str, *, foremost: bool = False) -> None:
        """Let channels, and all that are tied to them, stay; the first reason is told, or the `foremost`."""
        if channels is not None and len(channels):
            self._frozen.insert(0 if foremost else len(self._frozen), (channels, reason))

    def settle(self) -> Bundles:
        """Return the bundles that follow from all ties."""
        count = len(self._owners)
        none = np.zeros(0, np.int64)
        one, other = (np.concatenate([none, *side]) for side in zip(*self._ties, strict=True)) if self._ties else (none, none)
        matrix = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(count, count))
        bundles, of_channel = connected_components(matrix, directed=False) if count else (0, none)
        reasons = [""] * bundles
        for channels, reason in self._frozen:
            for bundle in np.unique(of_channel[channels]):
                reasons[bundle] = reasons[bundle] or reason
        owners: list[set[Hashable]] = [set() for _ in range(bundles)]
        for bundle, owner in zip(of_channel, self._owners, strict=True):
            owners[bundle].add(owner)
        groups: dict[frozenset[Hashable], list[int]] = {}
        for bundle in range(bundles):
            if not reasons[bundle]:
                groups.setdefault(frozenset(owners[bundle]), []).append(bundle)
        return Bundles(of_channel.astype(np.int64), tuple(reasons), tuple(np.array(group) for group in groups.values()))
