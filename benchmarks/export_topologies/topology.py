"""A small model of the conformance list: how it is built, what it is fed, and whether ONNX can hold it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.derived_state import derive

__all__ = ["Topology", "on", "single"]


@dataclass(frozen=True)
class Topology:
    """A small model of the conformance list.

    Attributes:
        build: makes the Keras model; its weights are drawn by `model`.
        value_range: lowest and highest value of the inputs.
        refused: why ONNX has no way to say it, or None; then the export must be refused with the name `culprit`.
        culprit: name of the layer that the refusal must bear.
        needs_onednn: whether TensorFlow runs it on the CPU only through oneDNN; without it there is nothing to compare with.
    """

    build: Callable[[], keras.Model]
    value_range: tuple[float, float] = (-1.0, 1.0)
    refused: str | None = None
    culprit: str = "culprit"
    needs_onednn: bool = False

    def model(self) -> keras.Model:
        """Return the model with weights under which every layer matters: no bias is 0, no statistic is 0 or 1."""
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = self.build()
        rng = np.random.default_rng(0)
        for weight in model.weights:
            if not np.issubdtype(np.dtype(str(weight.dtype)), np.floating) or weight.ndim == 0:
                continue
            if any(word in weight.name for word in ("variance", "gamma", "scale")):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            else:
                fan_in = 4 if weight.ndim == 1 else int(np.prod(weight.shape[:-1]))
                weight.assign(rng.normal(0, fan_in**-0.5, weight.shape))
        for layer in model._flatten_layers():
            derive(layer)
        return model


def on(shape: tuple[int | None, ...], body: Callable[[Any], Any], *, dtype: str = "float32", **facts: Any) -> Topology:
    """Return the topology of one input of `shape`, without the batch, that goes through `body`."""

    def build() -> keras.Model:
        inputs = keras.Input(shape, dtype=dtype, name="x")
        return keras.Model(inputs, body(inputs))

    return Topology(build, **facts)


def single(shape: tuple[int | None, ...], layer: Callable[..., Any], *arguments: Any, **settings: Any) -> Topology:
    """Return the topology of one layer alone, which is made anew for each model."""
    return on(shape, lambda x: layer(*arguments, **settings)(x))
