"""How the gain of the winner over the default is shared among the decisions in which they differ."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.explain.search.evidence import Evidence, default_choices, winner_of
from kerasnas.explain.search.mixture import Mixture
from kerasnas.explain.search.reward_posterior import ModelCheck, RewardPosterior
from kerasnas.explain.whole_number import require_whole_number
from kerasnas.record import SearchRecord
from kerasnas.strategies.one_thread import one_thread

__all__ = ["ShapleyAblation", "shapley_ablation"]

Array = NDArray[np.float64]

# Up to so many decisions all subsets are weighed; of more, orders are drawn.
_EXACT, _ORDERS = 8, 64


@dataclass(frozen=True)
class ShapleyAblation:
    """The gain of the winner over the default, shared fairly.

    Attributes:
        objective: what the gains are in; positive is better, also of an objective that is minimised.
        names: the decisions in which the two differ; what hangs on one belongs to it.
        values: Shapley value of each: its mean gain over all orders of changing them.
        stds: their posterior standard deviations.
        gain: predicted gain of the winner over the default, the sum of the values.
        orders: how many orders were drawn; None if all were weighed.
        check: how far the predictions are to be trusted.
    """

    objective: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    stds: tuple[float, ...]
    gain: float
    orders: int | None
    check: ModelCheck

    @property
    def is_well_founded(self) -> bool:
        """Whether the model ranks held-out trials: otherwise the values share out a gain that nobody knows."""
        return self.check.is_reliable

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each decision, the largest gain first: plain values."""
        order = sorted(range(len(self.names)), key=lambda i: -self.values[i])
        return [{"name": self.names[i], "gain": self.values[i], "std": self.stds[i]} for i in order]

    def __str__(self) -> str:
        how = "over all orders" if self.orders is None else f"over {self.orders} random orders"
        lines = [str(self.check), f"Gain in {self.objective} from the default to the winner, mean {how}:"]
        lines += [f"  {row['gain']:+.4g} +- {row['std']:.2g}  {row['name']}" for row in self.rows]
        return "\n".join([*lines, f"  {self.gain:+.4g}  in all"])


@one_thread
def shapley_ablation(record: SearchRecord, *, objective: str | None = None, seed: int = 0) -> ShapleyAblation:
    """Share the predicted gain from the default configuration to the winner among the decisions that differ.

    Unlike the steps of an ablation path the shares do not depend on an order: where two decisions help only together, each
    gets half. Up to 8 decisions all subsets are weighed; of more, 32 orders and their reverses are drawn, and the values still
    sum to the gain. The predictions come from the model of the reward: `is_well_founded` says whether it ranks held-out trials.

    Args:
        record: a search with at least four trials that have a score.
        objective: one of several objectives; None for the score of the search.
        seed: of the orders, >= 0.
    Raises:
        InvalidArgument: for a record of too few trials, or another seed.
    Source:
        Shapley 1953; Castro et al. 2009 (orders); Mitchell et al. 2022 (an order with its reverse).
    """
    require_whole_number("seed", seed, 0)
    evidence = Evidence.of(record, objective)
    posterior = RewardPosterior.of(evidence)
    mixture = Mixture(record.decisions, record.space, default_choices(record), winner_of(record, evidence))
    count = len(mixture.names)
    weights = _exact(count) if count <= _EXACT else _drawn(count, np.random.default_rng(seed))
    subsets = list(weights)
    units = posterior.encoding.encode([mixture([mixture.names[i] for i in sorted(subset)]) for subset in subsets])
    shares = np.array([weights[subset] for subset in subsets]).T  # (decisions, subsets)
    values, deviations = posterior.contrast(units, shares)
    return ShapleyAblation(
        evidence.objective,
        mixture.names,
        tuple(values.tolist()),
        tuple(deviations.tolist()),
        float(values.sum()),
        None if count <= _EXACT else _ORDERS,
        posterior.check,
    )


def _exact(count: int) -> Mapping[frozenset[int], Array]:
    """Return for each subset its weight in the value of each player: |S|! (n - |S| - 1)! / n!, positive with the player."""
    weights = {}
    for size in range(count + 1):
        for members in combinations(range(count), size):
            row = np.empty(count)
            for player in range(count):
                inside = player in members
                others = size - inside
                row[player] = (1 if inside else -1) / (count * math.comb(count - 1, others))
            weights[frozenset(members)] = row
    return weights


def _drawn(count: int, rng: np.random.Generator) -> Mapping[frozenset[int], Array]:
    """Return the same of random orders, each followed by its reverse."""
    weights: dict[frozenset[int], Array] = {}
    for _ in range(_ORDERS // 2):
        order = rng.permutation(count).tolist()
        for way in (order, order[::-1]):
            for place, player in enumerate(way):
                for members, sign in ((frozenset(way[:place]), -1), (frozenset(way[: place + 1]), 1)):
                    weights.setdefault(members, np.zeros(count))[player] += sign / _ORDERS
    return weights
