"""What the model of the reward expects of the winner with one decision made otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from kerasnas.decisions import default_of
from kerasnas.explain.search.evidence import Evidence, winner_of, winning_trial
from kerasnas.explain.search.reward_posterior import ModelCheck, RewardPosterior
from kerasnas.record import SearchRecord
from kerasnas.strategies import Choices, Decision, Scalar
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.learned_conditions import Use, with_learned_conditions
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.space import walk

__all__ = ["Counterfactual", "Counterfactuals", "counterfactuals"]

# Longer lists of ordered values are looked at in so many places, alike on their own scale, and not near the winner's.
_PLACES = 5
_SURE = 2.0


@dataclass(frozen=True)
class Counterfactual:
    """The winner with another value of one hyperparameter.

    Attributes:
        name: the hyperparameter.
        value: the winner's value.
        instead: the other value.
        values: the whole configuration; what the change makes active has its default.
        difference: predicted difference of the score from the winner's, in the unit of the objective; negative is worse, also
            of an objective that is minimised.
        std: posterior standard deviation of the difference.
        tried: whether any network of the search was to be made with the other value, or with one near it of a range.
        failed: whether all of these have failed.
        near: whether the other value is one of a range.
    """

    name: str
    value: Scalar
    instead: Scalar
    values: Mapping[str, Any]
    difference: float
    std: float
    tried: bool
    failed: bool = False
    near: bool = False

    @property
    def is_loss(self) -> bool:
        """Whether the model is sure of a loss: the difference is more than two standard deviations below zero."""
        return self.difference < -_SURE * self.std

    def __str__(self) -> str:
        which = "near" if self.near else "with"
        untried = f"; every trial {which} it failed" if self.failed else "" if self.tried else "; never tried"
        return (
            f"with {self.name} {_text(self.instead)} instead of {_text(self.value)} the model predicts "
            f"{self.difference:+.3g} +- {self.std:.2g}{untried}"
        )


@dataclass(frozen=True)
class Counterfactuals:
    """All single changes of the winner.

    Attributes:
        objective: what the differences are in; negative is worse.
        winner: the winner's values.
        items: one for each alternative, in the order of the space.
        check: how far the predictions are to be trusted.
    """

    objective: str
    winner: Mapping[str, Any]
    items: tuple[Counterfactual, ...]
    check: ModelCheck

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each alternative: plain values."""
        names = ("name", "value", "instead", "difference", "std", "tried", "failed", "is_loss")
        return [{name: getattr(item, name) for name in names} for item in self.items]

    @property
    def free(self) -> tuple[str, ...]:
        """Hyperparameters that could be changed: with each other value the predicted loss is within one standard deviation."""
        bound = {item.name for item in self.items if item.difference < -item.std}
        return tuple(dict.fromkeys(item.name for item in self.items if item.name not in bound))

    def __str__(self) -> str:
        return "\n".join([str(self.check), f"Difference in {self.objective} (negative is worse):", *map(str, self.items)])


@one_thread
def counterfactuals(record: SearchRecord, *, objective: str | None = None) -> Counterfactuals:
    """Predict what each decision of the winner is worth against each other value that it could have had.

    The winner is `record.best`. The standard deviation is that of the difference under the joint posterior: what is unsure
    about both configurations alike cancels. It is of noise-free scores, so that a single training varies by more.

    Args:
        record: a search with at least four trials that have a score.
        objective: one of several objectives; None for the score of the search.
    Raises:
        InvalidArgument: for a record of too few trials.
    Source:
        Rasmussen & Williams 2006, eq. 2.24.
    """
    evidence = Evidence.of(record, objective)
    posterior = RewardPosterior.of(evidence)
    decisions, winner = evidence.decisions, winner_of(record, evidence)
    unused = winning_trial(record, evidence).unused
    defaults = {id(d): default_of(entry) for d, entry in zip(decisions, record.space, strict=True)}
    made = {id(d): winner[d.name] for d in active_decisions(decisions, winner)}
    changed: list[tuple[Decision, Scalar, Choices]] = []
    for decision in active_decisions(decisions, winner):
        if decision.name in unused:  # of a layer, say, that the winner lacks
            continue
        for value in _alternatives(decision, winner[decision.name]):
            kept = {**defaults, **made, id(decision): value}
            changed.append((decision, value, walk(decisions, lambda d, _, kept=kept: kept[id(d)])))  # type: ignore[misc]
    units = posterior.encoding.encode([winner, *(values for _, _, values in changed)])
    contrasts = np.eye(len(units))[1:] - np.eye(len(units))[0]
    means, deviations = posterior.contrast(units, contrasts)
    column = {id(decision): i for i, decision in enumerate(decisions)}
    # Of a trial that failed nobody knows what its network asked for: what the others show tells which of its values it used.
    used = with_learned_conditions(decisions, [Use(trial.values, trial.unused) for trial in record.completed])
    begun = Encoding(used).encode([trial.values for trial in record.trials])
    for place, trial in enumerate(record.trials):
        begun[place, [decision.name in trial.unused for decision in decisions]] = np.nan
    failures = np.array([trial.status in ("FAILED", "INVALID") for trial in record.trials])
    items = []
    for row, (decision, value, values) in enumerate(changed):
        tolerance = 0.5 / _PLACES if decision.size is None else 1e-9
        seen = np.isclose(begun[:, column[id(decision)]], decision.to_unit(value), atol=tolerance)
        items.append(
            Counterfactual(
                decision.name,
                winner[decision.name],
                value,
                MappingProxyType(values),
                float(means[row]),
                float(deviations[row]),
                bool(seen.any()),
                bool(seen.any() and failures[seen].all()),
                decision.size is None,
            )
        )
    return Counterfactuals(evidence.objective, MappingProxyType(winner), tuple(items), posterior.check)


def _alternatives(decision: Decision, value: Scalar) -> list[Scalar]:
    """Return the other values; of many ordered ones a few."""
    size = decision.size
    if size is not None and (size <= _PLACES or not decision.is_ordered):
        places = [(i + 0.5) / size for i in range(size)]
    else:
        spread = np.linspace(0, 1, _PLACES)
        places = spread[np.abs(spread - decision.to_unit(value)) >= 0.5 / (_PLACES - 1)].tolist()
    found = dict.fromkeys(decision.from_unit(place) for place in places)
    return [other for other in found if other != value]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
