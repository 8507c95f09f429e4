"""How sparse a model is, and what that is worth in bytes."""

import gzip
from dataclasses import dataclass

import keras
import numpy as np

from kerasnas.compress.kernels import prunable_kernels
from kerasnas.errors import InvalidArgument

__all__ = ["KernelSparsity", "SparsityReport", "sparsity_report"]


@dataclass(frozen=True)
class KernelSparsity:
    """The zeros of one kernel: `zeros` of its `weights` are exactly 0; all of them take `distinct` different values."""

    layer: str
    path: str
    weights: int
    zeros: int
    distinct: int

    @property
    def sparsity(self) -> float:
        """Share of exact zeros, in [0, 1]."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class SparsityReport:
    """What `sparsity_report` measured on one model.

    Attributes:
        kernels: one entry for each prunable kernel, in the order of the model's layers.
        weights_bytes: all weights of the model, uncompressed, in bytes.
        gzip_bytes: the same bytes through gzip at level 9: the download size.
    """

    kernels: tuple[KernelSparsity, ...]
    weights_bytes: int
    gzip_bytes: int

    @property
    def sparsity(self) -> float:
        """Share of exact zeros over all prunable kernels, in [0, 1]; 0 when there are none."""
        total = sum(kernel.weights for kernel in self.kernels)
        return sum(kernel.zeros for kernel in self.kernels) / total if total else 0.0

    def __str__(self) -> str:
        """Say in a line how many weights are zero, and what that is worth."""
        weights, most = sum(k.weights for k in self.kernels), max((k.distinct for k in self.kernels), default=0)
        return (
            f"{sum(k.zeros for k in self.kernels):,} of {weights:,} weights in kernels that can be pruned are zero "
            f"({self.sparsity:.0%}), at most {most:,} values in a kernel; all weights take "
            f"{self.weights_bytes / 1000:.1f} kB, {self.gzip_bytes / 1000:.1f} kB gzipped"
        )


def sparsity_report(model: keras.Model) -> SparsityReport:
    """Count the exact zeros of a model's kernels and gzip its weights.

    The bytes are those of the weights alone; a `.keras` or `.onnx` file adds its description of the network. Zeros are
    worth download size only: onnxruntime and TensorFlow compute a dense kernel no faster because of them.

    Args:
        model: any built Keras 3 model, on any backend.
    Returns:
        SparsityReport with counts for each kernel, and the bytes of all weights raw and gzipped.
    Raises:
        InvalidArgument: if the model is not built.
    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="zeros")])
        >>> sparsity_report(model).sparsity
        1.0
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise InvalidArgument(f"Expected a built keras.Model, got {model!r}. Call the model on data once, then report.")
    kernels = []
    for layer, variable in prunable_kernels(model):
        values = variable.numpy()
        zeros = int(np.count_nonzero(values == 0))
        kernels.append(KernelSparsity(layer, variable.path, values.size, zeros, len(np.unique(values))))
    raw = b"".join(np.ascontiguousarray(weight.numpy()).tobytes() for weight in model.weights)
    return SparsityReport(tuple(kernels), len(raw), len(gzip.compress(raw, compresslevel=9, mtime=0)))
