"""A file run over many samples, some at a time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kerasnas.export.samples import TensorSpec

__all__ = ["Opened", "at_once", "run_in_batches"]


class Opened(Protocol):
    """A file that was opened, of any format."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and NumPy dtype of each input."""

    def run(self, arrays: dict[str, np.ndarray], /) -> list[Any]:
        """Return all outputs for one batch."""


def at_once(metadata: Mapping[str, str], most: int) -> int:
    """Return how many samples a file may be given at once: 1 where it takes its scales from the whole batch, else `most`.

    Args:
        metadata: what the file says of itself, texts of JSON.
        most: for any other file.
    """
    try:
        told = json.loads(metadata.get("quantization", "null"))
    except ValueError:  # somebody else's
        return most
    return 1 if isinstance(told, dict) and told.get("format") == "dynamic" else most


def run_in_batches(opened: Opened, samples: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    """Return all outputs for all samples, run `size` at a time, so that every run has the full size.

    Args:
        opened: the file.
        samples: an array for each of its inputs, shape (samples, ...).
        size: of each batch; the last one is filled up from the first samples.

    Raises:
        ValueError: if an output has not as many rows as went in.
    """
    length, names = len(samples[0]), [name for name, _, _ in opened.inputs]
    batches = []
    for start in range(0, length, size):
        rows = np.arange(start, start + size) % length
        outputs = opened.run({name: array[rows] for name, array in zip(names, samples, strict=True)})
        for array in outputs:
            if len(array) != size:
                raise ValueError(f"an output has shape {array.shape}")
        batches.append(outputs)
    return [np.concatenate(parts)[:length] for parts in zip(*batches, strict=True)]
