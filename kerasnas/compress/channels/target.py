"""How far to prune."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasnas.compress.channels.rebuild import Kept
from kerasnas.errors import InvalidArgument

__all__ = ["Target"]

_COMPUTED, _MEASURED = 30, 8  # halvings of the ratio: to 1e-9 where the cost is computed, to 1/256 where it is measured


@dataclass(frozen=True)
class Target:
    """One way to say how far to prune: `ratio` itself, or an upper bound of a cost.

    Attributes:
        kind: "ratio", "parameters", "macs", "size_bytes" or "cost".
        value: the ratio, or the bound; a bound below 1 is a share of what the model has, but for "cost".
        measure: for "cost".
    """

    kind: str
    value: float
    measure: Callable[[keras.Model], float] | None = None

    @classmethod
    def of(cls, *, cost: Callable[[keras.Model], float] | None, target: float | None, **given: float | None) -> "Target":
        """Return the one target that was given, ratio=0.5 if none was.

        Raises:
            InvalidArgument: if there are several, or a value does not fit.
        """
        if (cost is None) != (target is None):
            raise InvalidArgument("Expected cost and target together: the function that measures, and the largest result.")
        if cost is not None and not callable(cost):
            raise InvalidArgument(f"Expected cost to be a function from a model to a number, got {cost!r}.")
        chosen = [(kind, value) for kind, value in (*given.items(), ("cost", target)) if value is not None]
        if len(chosen) > 1:
            names = " and ".join("cost with target" if kind == "cost" else kind for kind, _ in chosen)
            raise InvalidArgument(f"Expected one way to say how far to prune, got {names}. Leave out the others.")
        kind, value = chosen[0] if chosen else ("ratio", 0.5)
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if kind == "ratio" and not (number and 0 <= value < 1):
            raise InvalidArgument(
                f"Expected ratio in [0, 1), got {value!r}. It is a share: 0.75 removes three channels in four."
            )
        if kind != "ratio" and not (number and 0 < value < math.inf):
            what = "a number" if kind == "cost" else "a share below 1 or a whole number"
            raise InvalidArgument(f"Expected {'target' if kind == 'cost' else kind} > 0, {what}, got {value!r}.")
        return cls(kind, float(value), cost)

    def ratio(
        self,
        choose: Callable[[float], Kept],
        computed: Callable[[str], Callable[[Kept], float]],
        build: Callable[[Kept], keras.Model],
    ) -> float:
        """Return the smallest ratio that meets the target, by halving.

        Args:
            choose: from a ratio to the kept bundles; a larger ratio keeps a subset.
            computed: from the name of a cost to the function that computes it for kept bundles.
            build: from kept bundles to a model, for a cost that is measured.

        Raises:
            InvalidArgument: if the target is out of reach.
        """
        if self.kind == "ratio":
            return self.value
        if self.kind == "cost":
            price, bound, halvings = self._measured(build), self.value, _MEASURED
        else:
            price, halvings = computed(self.kind), _COMPUTED
            everything = np.ones(len(choose(0.0)), bool)
            bound = self.value * price(everything) if self.value < 1 else self.value
        smallest = price(choose(1.0))
        if not smallest <= bound:
            raise InvalidArgument(
                f"Expected a target within reach, got {self.kind} <= {bound:g}; the smallest that pruning can reach is "
                f"{smallest:g}. Raise the target, lower divisor, or see channel_report(model) for what stays."
            )
        low, high = 0.0, 1.0
        if price(choose(low)) <= bound:
            return low
        for _ in range(halvings):
            middle = (low + high) / 2
            if price(choose(middle)) <= bound:
                high = middle
            else:
                low = middle
        return high

    def _measured(self, build: Callable[[Kept], keras.Model]) -> Callable[[Kept], float]:
        results: dict[bytes, Any] = {}

        def price(kept: Kept) -> float:
            key = kept.tobytes()
            if key not in results:
                results[key] = float(self.measure(build(kept)))  # type: ignore[misc]
            return results[key]

        return price
