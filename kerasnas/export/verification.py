"""The outcome of comparing an ONNX or LiteRT file with its Keras model: a frozen record."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerasnas.errors import ExportMismatch

__all__ = ["Verification"]


@dataclass(frozen=True)
class Verification:
    """How far a file was measured to be from its Keras model.

    Attributes:
        passed: True if every output, at every batch size, was finite, within its bound of Keras and as close as `min_agreement`
            says, where those are not None.
        reason: why it did not pass, or None.
        max_abs_difference: output name -> largest absolute difference, in the units of the output; NaN if either side
            gave NaN or infinity, or the file did not run.
        top1_agreement: output name -> share of samples of the same class, in [0, 1], at the batch size where it is least: the
            largest column of outputs of shape (batch, columns), of a single column only where it was compared as a class.
        relative_difference: output name -> root mean square difference over the standard deviation of Keras' output; the
            largest over the batch sizes; NaN as above.
        atol: largest difference that was asked for, or None.
        min_agreement: least `top1_agreement` that passes, or least 1 - `relative_difference` of an output without classes; or
            None.
        batch_sizes: at which the file was run.
        n_samples: compared at each batch size.
        data: "given", or how the random samples were drawn.
        runtime: what ran the file, with its version.
        provider: the execution provider of onnxruntime, or the delegate of LiteRT.
        file_sha256: SHA-256 of the bytes of the file that was compared.
        model_sha256: SHA-256 of the configuration, weights and vocabularies of the model that it was compared with; None where
            a layer cannot tell its configuration.
        bounds: output name -> largest difference that passes: `atol`, or what `verify` takes in its place where the values of
            the output are tiny or large; empty where agreement alone decides.
    """

    passed: bool
    reason: str | None
    max_abs_difference: Mapping[str, float]
    top1_agreement: Mapping[str, float]
    relative_difference: Mapping[str, float]
    atol: float | None
    min_agreement: float | None
    batch_sizes: tuple[int, ...]
    n_samples: int
    data: str
    runtime: str
    provider: str
    file_sha256: str
    model_sha256: str | None
    bounds: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """Largest absolute difference over all outputs; NaN if any is NaN."""
        return float(np.max(list(self.max_abs_difference.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values that JSON can hold; a difference that is no finite number becomes None."""
        return {
            **self.__dict__,
            "max_abs_difference": _finite(self.max_abs_difference),
            "relative_difference": _finite(self.relative_difference),
            "top1_agreement": dict(self.top1_agreement),
            "bounds": dict(self.bounds),
            "batch_sizes": list(self.batch_sizes),
        }

    def raise_for_mismatch(self) -> None:
        """Raise ExportMismatch with the measured difference unless the file passed."""
        if not self.passed:
            raise ExportMismatch(
                f"Expected the file to agree with its Keras model within {self._bound} at batch sizes "
                f"{list(self.batch_sizes)}, but {self.reason}. Do not ship this file: look for the layer that differs, "
                f"or {self._remedy}."
            )

    @property
    def allowed(self) -> str | None:
        """The largest difference that passes, in words: one number, or one for each output; None if there is no bound."""
        if len(set(self.bounds.values())) > 1:
            return ", ".join(f"{bound:.4g} in {name!r}" for name, bound in self.bounds.items())
        bound = next(iter(self.bounds.values()), self.atol)
        return None if bound is None else f"{bound:.4g}"

    @property
    def _bound(self) -> str:
        bounds = [] if self.allowed is None else [self.allowed]
        return " and ".join(bounds + ([] if self.min_agreement is None else [f"an agreement of {self.min_agreement:g}"]))

    @property
    def _remedy(self) -> str:
        if self.atol is None:
            return "pass more samples for calibration, or take a format of more bits"
        return "raise atol if the difference is small beside the outputs"

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED ({self.reason})"
        worst = ", ".join(f"{name} {value:.2g}" for name, value in self.max_abs_difference.items())
        return (
            f"{verdict}: largest difference {worst} (must be within {self._bound}) over {self.n_samples} samples "
            f"({self.data}) at batch sizes {list(self.batch_sizes)}, {self.runtime}"
        )


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
