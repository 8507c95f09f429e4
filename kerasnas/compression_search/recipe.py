"""What is decided about each network: how far each stage is pruned, by which measure, and how it is fine-tuned."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasnas.compress.channels.costs import cost_function
from kerasnas.compress.channels.dependencies import dependencies_of
from kerasnas.compress.channels.group_ratios import group_layers
from kerasnas.compress.channels.importance import magnitudes
from kerasnas.compress.channels.model_check import check_model
from kerasnas.compress.channels.selection import select
from kerasnas.strategies import Choices, Condition, Decision, Discrete

__all__ = ["RATIOS", "Recipe"]

RATIOS = (0.125, 0.25, 0.375, 0.5, 0.5625, 0.625, 0.6875, 0.75, 0.8125, 0.875, 0.9375)
_SHIFTS = (-0.1875, -0.125, -0.0625, 0.0, 0.0625, 0.125, 0.1875)
_STAGES = 4  # groups of layers are many in deep networks; their shares are decided by so many stages of depth
_MOST = 0.96875
_WIDE = 16  # channels from which on multiples of 8 are worth a decision


class Recipe:
    """The decisions about a model, and what they mean for `prune_channels`.

    The share of channels is one number for the whole model; with shape "stages" each stage of it, from the input on, has a
    little more or less, and with "global" the least important channels of the whole model go.

    Args:
        model: to be pruned.
        epochs: of fine-tuning at most, >= 1.

    Attributes:
        decisions: for a strategy; empty where the model has no channels that may go.
        stages: names of the layers of each stage.
    """

    def __init__(self, model: keras.Model, epochs: int) -> None:
        check_model(model)
        self._model, self._dependencies = model, dependencies_of(model)
        bundles = self._dependencies.bundles
        groups = [
            layers for group, layers in zip(bundles.groups, group_layers(self._dependencies), strict=True) if len(group) > 1
        ]
        self.stages = _stages(groups)
        self.decisions: list[Decision] = []
        self._scores = magnitudes(model, self._dependencies, np.ones(bundles.count, bool)) if groups else np.zeros(0)
        if groups:
            self.decisions = self._decide(epochs, wide=any(len(group) >= _WIDE for group in bundles.groups))

    def _decide(self, epochs: int, *, wide: bool) -> list[Decision]:
        scaled = any(isinstance(layer, keras.layers.BatchNormalization) for layer in self._model._flatten_layers())
        taylor = keras.backend.backend() == "tensorflow"
        measures = ("magnitude", *(["taylor"] if taylor else []), *(["bn_scale"] if scaled else []))
        several = len(self.stages) > 1
        lengths = tuple(dict.fromkeys((max(1, epochs // 2), max(1, round(0.75 * epochs)), epochs)))
        stages = [
            Discrete(name=f"stage {i}", values=_SHIFTS, ordered=True, conditions=(Condition("shape", ("stages",)),))
            for i in range(1, len(self.stages) + 1)
        ]
        return [
            Discrete(name="ratio", values=RATIOS, ordered=True),
            Discrete(name="shape", values=("even", "stages", "global") if several else ("even",)),
            *(stages if several else []),
            Discrete(name="importance", values=measures),
            Discrete(name="divisor", values=(1, 8, 16) if wide else (1,), ordered=True),
            Discrete(name="epochs", values=lengths, ordered=True),
            Discrete(name="distill", values=(0.0, 0.5, 0.9), ordered=True),
            Discrete(name="learning_rate", values=(5e-4, 1e-3, 2e-3, 4e-3), ordered=True),
        ]

    def first(self, ratio: float) -> Choices:
        """Return choices that are expected to be good at a share: even, with a teacher, trained for long."""
        values: Choices = {
            "ratio": ratio,
            "shape": "even",
            "importance": "magnitude",
            "divisor": 1,
            "distill": 0.5,
            "learning_rate": 2e-3,
        }
        epochs = next(d.values[-1] for d in self.decisions if isinstance(d, Discrete) and d.name == "epochs")
        return {**values, "epochs": epochs}

    def settings(self, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `prune_channels` that these choices stand for."""
        taken = {name: choices[name] for name in ("importance", "divisor", "epochs", "distill", "learning_rate")}
        if choices["shape"] != "stages":
            return {"ratio": choices["ratio"], "scope": "global" if choices["shape"] == "global" else "layer", **taken}
        shares = [min(max(choices["ratio"] + choices[f"stage {i}"], 0.0), _MOST) for i in range(1, len(self.stages) + 1)]
        return {"ratio": {layer: share for share, stage in zip(shares, self.stages, strict=True) for layer in stage}, **taken}

    def parameters(self, choices: Mapping[str, Any]) -> int:
        """Return how many numbers the pruned network will hold, without building it; "global" is taken by magnitude."""
        bundles, settings = self._dependencies.bundles, self.settings(choices)
        ratio: Any = settings["ratio"]
        if isinstance(ratio, Mapping):
            ratio = np.array([next((ratio[n] for n in names if n in ratio), 0.0) for names in group_layers(self._dependencies)])
        kept = select(
            bundles,
            self._scores,
            ratio,
            np.ones(bundles.count, bool),
            scope=settings.get("scope", "layer"),
            divisor=settings["divisor"],
        )
        return int(cost_function(self._model, self._dependencies, "parameters")(kept))


def _stages(groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the layers of each stage: what is tied stays together, and the stages have about as many parts."""
    parts: list[list[str]] = []
    for layers in groups:
        tied = [part for part in parts if set(part) & set(layers)]
        parts = [part for part in parts if part not in tied] + [
            list(dict.fromkeys([*(name for part in tied for name in part), *layers]))
        ]
    places = np.array_split(np.arange(len(parts)), min(_STAGES, len(parts))) if parts else []
    return [tuple(layer for place in stage for layer in parts[place]) for stage in places]
