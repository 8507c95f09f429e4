"""Batches whose order follows from a seed and the number of the epoch alone."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

__all__ = ["Batches"]


class Batches(keras.utils.PyDataset):
    """Arrays in batches, shuffled anew in each epoch.

    Keras shuffles arrays with generators whose state cannot be saved: a training that goes on at epoch 5 would not see the
    pictures in the order in which the uninterrupted one saw them.

    Args:
        arrays: (x, y) or (x, y, sample_weight), each an array of the same length or a nest of such arrays.
        batch_size: samples in a batch; the last one may be smaller.
        seed: what the orders follow from, together with `epoch`, which whoever trains sets before each epoch.
        shuffle: False keeps the order of the arrays.
    """

    def __init__(self, arrays: Sequence[Any], *, batch_size: int, seed: int, shuffle: bool = True) -> None:
        super().__init__()
        self._arrays = tuple(arrays)
        self.batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self.samples = len(keras.tree.flatten(self._arrays)[0])
        self._order = np.arange(self.samples)

    def begin_epoch(self, epoch: int) -> None:
        """Take the order of epoch `epoch`, counted from 0."""
        if self._shuffle:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self.samples)

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        batch: tuple[Any, ...] = keras.tree.map_structure(lambda array: array[chosen], self._arrays)
        return batch
