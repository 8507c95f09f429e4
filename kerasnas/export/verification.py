"""The outcome of comparing an ONNX file with its Keras model: a frozen record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasnas.errors import ExportMismatch

__all__ = ["Verification"]


@dataclass(frozen=True)
class Verification:
    """How far an ONNX file was measured to be from its Keras model.

    Attributes:
        passed: True if every output, at every batch size, was finite and within `atol` of Keras.
        reason: why it did not pass, or None.
        max_abs_difference: output name -> largest absolute difference, in the units of the output; NaN if either side
            gave NaN or infinity, or the file did not run.
        top1_agreement: output name -> share of samples with the same largest column, in [0, 1], at the batch size
            where it is least; only for outputs of shape (batch, columns) with more than one column.
        atol: largest difference that passes.
        batch_sizes: at which the file was run.
        n_samples: compared at each batch size.
        data: "given", or how the random samples were drawn.
        onnxruntime_version: what ran the file.
        provider: the onnxruntime execution provider.
    """

    passed: bool
    reason: str | None
    max_abs_difference: Mapping[str, float]
    top1_agreement: Mapping[str, float]
    atol: float
    batch_sizes: tuple[int, ...]
    n_samples: int
    data: str
    onnxruntime_version: str
    provider: str

    @property
    def worst(self) -> float:
        """Largest absolute difference over all outputs; NaN if any is NaN."""
        return float(np.max(list(self.max_abs_difference.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold; a difference that is no finite number becomes None."""
        difference = {name: d if math.isfinite(d) else None for name, d in self.max_abs_difference.items()}
        return {
            **self.__dict__,
            "max_abs_difference": difference,
            "top1_agreement": dict(self.top1_agreement),
            "batch_sizes": list(self.batch_sizes),
        }

    def raise_for_mismatch(self) -> None:
        """Raise ExportMismatch with the measured difference unless the file passed."""
        if not self.passed:
            raise ExportMismatch(
                f"Expected the ONNX file to agree with its Keras model within {self.atol:g} at batch sizes "
                f"{list(self.batch_sizes)}, but {self.reason}. Do not ship this file: look for the layer that differs, "
                "or raise atol if the difference is small beside the outputs."
            )

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED ({self.reason})"
        worst = ", ".join(f"{name} {value:.2g}" for name, value in self.max_abs_difference.items())
        return (
            f"{verdict}: largest difference {worst} (at most {self.atol:g}) over {self.n_samples} samples "
            f"({self.data}) at batch sizes {list(self.batch_sizes)}, onnxruntime {self.onnxruntime_version}"
        )
