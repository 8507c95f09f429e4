"""Search spaces: KerasTuner HyperModels."""

from kerasnas.spaces.conv_dense import ConvDense

__all__ = ["ConvDense"]
