"""What the policy of a search believed, trial by trial."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kerasnas.errors import InvalidArgument
from kerasnas.record import SearchRecord
from kerasnas.strategies import Decision
from kerasnas.strategies.arms import Arms
from kerasnas.strategies.decision import active_decisions

__all__ = ["BeliefHistory", "TrialBeliefs", "beliefs", "winner_labels"]


@dataclass(frozen=True)
class TrialBeliefs:
    """What the policy believed when it proposed a trial.

    Attributes:
        trial: number of the trial, from 1.
        entropy: of each decision, as a share of that of a uniform choice: 1 knows nothing, 0 is sure; a decision with a single
            value is left out. None if no policy is recorded.
        winner: for each decision of the winner the probability of its value, or of the bin that holds it, given that the
            decision is made; None where the policy did not know the decision. None if no policy is recorded.
    """

    trial: int
    entropy: Mapping[str, float] | None
    winner: Mapping[str, float | None] | None


@dataclass(frozen=True)
class BeliefHistory:
    """What the policy believed over time.

    Attributes:
        winner: values of the winner, `record.best`.
        trials: one for each trial, in order.
    """

    winner: Mapping[str, Any]
    trials: tuple[TrialBeliefs, ...]

    @property
    def is_recorded(self) -> bool:
        """Whether any trial tells what the policy believed."""
        return any(trial.entropy is not None for trial in self.trials)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each trial and decision: plain values."""
        rows = []
        for trial in self.trials:
            for name in dict.fromkeys([*(trial.entropy or {}), *(trial.winner or {})]):
                probability = (trial.winner or {}).get(name)
                entropy = (trial.entropy or {}).get(name)
                rows.append({"trial": trial.trial, "name": name, "entropy": entropy, "winner_probability": probability})
        return rows

    def __str__(self) -> str:
        told = [trial for trial in self.trials if trial.entropy]
        if not told:
            return "The search recorded no beliefs: its strategy has no policy that changes."
        lines = [
            "Decision: probability of the winner's value, and entropy (1: knows nothing), at the first and the last proposal:"
        ]
        first, last = told[0], told[-1]
        for name, value in self.winner.items():
            before, after = ((trial.winner or {}).get(name) for trial in (first, last))
            if before is None or after is None or name not in (first.entropy or {}) or name not in (last.entropy or {}):
                continue
            sureness = f"entropy {(first.entropy or {})[name]:.2f} -> {(last.entropy or {})[name]:.2f}"
            lines.append(f"  {name} = {_text(value)}: {before:.0%} -> {after:.0%}, {sureness}")
        return "\n".join(lines)


def beliefs(record: SearchRecord) -> BeliefHistory:
    """Return how sure the policy was of each decision at each trial, and how likely it found the winner's value.

    The winner is `record.best`. What is recorded are the beliefs of a policy; strategies without one have none.

    Args:
        record: a search with a completed trial.
    Raises:
        InvalidArgument: if `record` is none, or no trial is completed.
    """
    if not isinstance(record, SearchRecord):
        raise InvalidArgument(f"Expected a kerasnas.SearchRecord, got {record!r}. SearchRecord.load(folder) makes one.")
    winner = {name: value for name, value in record.best.values.items() if name not in record.best.unused}
    labels, trials = winner_labels(record), []
    for number, trial in enumerate(record.trials, 1):
        policy = trial.policy
        if not policy:
            trials.append(TrialBeliefs(number, None, None))
            continue
        entropy = {name: _entropy(p) for name, p in policy.items() if len(p) > 1}
        chance = {
            name: policy[name].get(label) if name in policy and label is not None else None for name, label in labels.items()
        }
        trials.append(TrialBeliefs(number, MappingProxyType(entropy), MappingProxyType(chance)))
    return BeliefHistory(MappingProxyType(dict(winner)), tuple(trials))


def winner_labels(record: SearchRecord) -> dict[str, str | None]:
    """Return the names by which a policy calls the values that the winner is made of, or the bins that hold them.

    Raises:
        InvalidArgument: if no trial is completed.
    """
    values = record.best.values
    active = [d for d in active_decisions(record.decisions, values) if d.name not in record.best.unused]
    return {d.name: _label(d, values[d.name]) for d in active}


def _label(decision: Decision, value: Any) -> str | None:
    """Return the name by which a policy calls the value, or the bin that holds it."""
    arms = Arms(decision)
    try:
        unit = decision.to_unit(value)
    except ValueError:
        return None
    return arms.labels()[sum(edge <= unit for edge in arms.edges[1:-1])]


def _entropy(probabilities: Mapping[str, float]) -> float:
    """Return the share of the entropy of a uniform choice."""
    return -sum(p * math.log(p) for p in probabilities.values() if p > 0) / math.log(len(probabilities))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
