"""Which finished trial a new one is to inherit from."""

from collections.abc import Mapping, Sequence
from typing import Any

from kerasnas.errors import InvalidArgument
from kerasnas.record import TrialRecord
from kerasnas.strategies import Decision
from kerasnas.strategies.decision import active_decisions

__all__ = ["most_similar"]

# Hyperparameters of these names say how a network is trained, not what it is.
_TRAINING = (
    *(
        "optimizer",
        "learning_rate",
        "lr",
        "momentum",
        "schedule",
        "batch_size",
        "epochs",
        "weight_decay",
        "l1",
        "l2",
        "dropout",
    ),
    *("label_smoothing", "augment", "shift", "rotation", "zoom", "mirror"),
)


def most_similar(
    values: Mapping[str, Any],
    candidates: Sequence[TrialRecord],
    decisions: Sequence[Decision] | None = None,
    *,
    direction: str = "max",
) -> TrialRecord | None:
    """Return the completed trial whose network is most like the one that `values` describe.

    The likeness is the mean over all hyperparameters that are active in one of the two: 1 for equal values, 0 for different
    ones and for one that is missing; with `decisions`, values of an ordered decision at positions u and u' in [0, 1] count
    1 - |u - u'|. How a network is trained (optimizer, learning rate, dropout, augmentation, ...) does not count, by name.
    Of equals the one with the better score is taken, then the one with the smaller id.

    Args:
        values: active hyperparameters of the new trial.
        candidates: trials; those without a score are passed over.
        decisions: the space, as `SearchRecord.decisions` gives it.
        direction: "max" if higher scores are better, else "min".
    Returns:
        None if no candidate has a score.
    Raises:
        InvalidArgument: for another direction.
    """
    if direction not in ("max", "min"):
        raise InvalidArgument(f"Expected `direction` to be 'max' or 'min', got {direction!r}.")
    sign = 1 if direction == "max" else -1
    ended = [trial for trial in candidates if trial.status == "COMPLETED" and trial.score is not None]
    ours = _architecture(values, decisions)

    def rank(trial: TrialRecord) -> tuple[float, float, int, str]:
        likeness = _likeness(ours, _architecture(trial.values, decisions))
        number = int(trial.trial_id) if trial.trial_id.isdecimal() else 0
        return (-round(likeness, 9), -sign * (trial.score or 0.0), number, trial.trial_id)

    return min(ended, key=rank, default=None)


def _architecture(values: Mapping[str, Any], decisions: Sequence[Decision] | None) -> dict[str, tuple[Any, float | None]]:
    """Return the value of each hyperparameter of the network, and its position if it has one."""
    found: dict[str, tuple[Any, float | None]] = {name: (value, None) for name, value in values.items()}
    if decisions is not None:
        active = {decision.name: decision for decision in active_decisions(decisions, values)}
        found = {
            name: (values[name], decision.to_unit(values[name]) if decision.is_ordered else None)
            for name, decision in active.items()
        }
    return {name: pair for name, pair in found.items() if not any(f"_{name}_".endswith(f"_{word}_") for word in _TRAINING)}


def _likeness(ours: Mapping[str, tuple[Any, float | None]], theirs: Mapping[str, tuple[Any, float | None]]) -> float:
    names = ours.keys() | theirs.keys()
    total = 0.0
    for name in ours.keys() & theirs.keys():
        (value, at), (other, place) = ours[name], theirs[name]
        total += float(value == other) if at is None or place is None else 1 - abs(at - place)
    return total / len(names) if names else 1.0
