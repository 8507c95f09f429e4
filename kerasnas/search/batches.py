"""Batches whose order follows from a seed and the number of the epoch alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

__all__ = ["Batches", "as_fast_input"]


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


def as_fast_input(batches: Batches) -> Any:
    """Return batches in the form in which the backend reads them fastest: as they are, but for TensorFlow.

    There, a `tf.data.Dataset` without the thread that tunes buffers, which Keras' own data sets have. At the end of each epoch
    TensorFlow 2.21 waits for that thread, which sleeps 10, 20, 40, ... ms: epochs last up to twice as long as they work
    (benchmarks/input_pipeline.py).
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    floats = keras.backend.floatx()

    def each() -> Iterator[Any]:
        for index in range(len(batches)):
            yield read(index)

    def read(index: int) -> Any:
        batch = keras.tree.lists_to_tuples(keras.tree.map_structure(of_backend, batches[index]))
        # As Keras hands x without y to a `train_step`: by itself, if it is not several inputs.
        return batch[0] if len(batch) == 1 and not isinstance(batch[0], tuple) else batch

    def of_backend(array: Any) -> Any:
        return array.astype(floats, copy=False) if array.dtype.kind == "f" else array

    signature = keras.tree.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), read(0))
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_generator(each, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(2).with_options(options)
