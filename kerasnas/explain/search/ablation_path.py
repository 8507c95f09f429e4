"""Which changes made the winner better than the default configuration, one after another."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import t

from kerasnas.errors import InvalidArgument
from kerasnas.explain.search.evidence import Evidence, default_choices, winner_of
from kerasnas.explain.search.mixture import Mixture
from kerasnas.explain.search.reward_posterior import ModelCheck, RewardPosterior
from kerasnas.explain.whole_number import require_whole_number
from kerasnas.record import SearchRecord
from kerasnas.strategies import Choices
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.space import changes

__all__ = ["AblationPath", "AblationStep", "ablation_path"]

_SURE = 0.975
# Of decisions in which the default and the trial most similar to it differ.
_UNLIKE = 2

Train = Callable[[Choices], float]


@dataclass(frozen=True)
class AblationStep:
    """One change on the way from the default to the winner.

    Attributes:
        name: the hyperparameter that was changed.
        changes: name to (old, new) of all that changed with it; None stands for not active.
        values: the configuration after the change.
        gain: predicted gain of this change, in the unit of the objective; positive is better.
        std: its posterior standard deviation.
        measured: gain of this change by training; None if nothing was trained.
        measured_error: standard error of `measured`; None with a single training of each configuration.
    """

    name: str
    changes: Mapping[str, tuple[Any, Any]]
    values: Mapping[str, Any]
    gain: float
    std: float
    measured: float | None = None
    measured_error: float | None = None


@dataclass(frozen=True)
class AblationPath:
    """The path from the default configuration to the winner, the best change first.

    Attributes:
        objective: what the gains are in; positive is better, also of an objective that is minimised.
        start: the default configuration.
        steps: the changes; their gains sum to `gain`.
        gain: predicted gain of the winner over the default.
        std: its posterior standard deviation.
        check: how far the predictions are to be trusted.
        unlike: in how many hyperparameters the trial that is most similar to the default differs from it, a number by more than
            a tenth of its range. From 2 on the gain reaches beyond the trials: in 47 planted searches, most of which had
            converged elsewhere, it was predicted too small in 46, by 22 % in the median and by more than two of its deviations
            in 30.
        measured: the gain by training; None if nothing was trained.
        measured_error: its standard error; None with a single training of each configuration.
        direction: "max" or "min", that of the objective itself.
        repeats: trainings of each configuration; 0 if nothing was trained.
        failures: the configurations all of whose trainings failed, and why; then single steps have no measured gain.
        inherited: whether trials of the search began with inherited weights, which the trainings did not.
    """

    objective: str
    direction: str
    start: Mapping[str, Any]
    steps: tuple[AblationStep, ...]
    gain: float
    std: float
    check: ModelCheck
    unlike: int = 0
    measured: float | None = None
    measured_error: float | None = None
    repeats: int = 0
    failures: tuple[str, ...] = ()
    inherited: bool = False

    def with_measured(self, train: Train, repeats: int = 1) -> "AblationPath":
        """Return the path with what its steps gain when they are trained; the arguments are those of `ablation_path`.

        Raises:
            InvalidArgument: for a `train` that returns no finite number.
        """
        sign = 1 if self.direction == "max" else -1
        scores = [[sign * _trained(train, dict(values)) for _ in range(repeats)] for values in self.configurations]
        gains = [_gain(before, after) for before, after in pairwise(scores)]
        steps = [replace(s, measured=gain, measured_error=error) for s, (gain, error) in zip(self.steps, gains, strict=True)]
        measured, error = _gain(scores[0], scores[-1])
        return replace(
            self, steps=tuple(steps), measured=measured, measured_error=error if self.steps else None, repeats=repeats
        )

    def with_failures(self, failures: Sequence[str], before: Sequence[float], after: Sequence[float]) -> "AblationPath":
        """Return the path with what is known where training failed: the gain over the default alone.

        Args:
            failures: the configurations that have no score, and why.
            before: scores of the default.
            after: scores of the winner.
        """
        count, sign = min(len(before), len(after)), 1 if self.direction == "max" else -1
        scores = [[sign * score for score in known[:count]] for known in (before, after)]
        measured, error = _gain(*scores) if count else (None, None)
        return replace(self, measured=measured, measured_error=error, repeats=count, failures=tuple(failures))

    @property
    def finding(self) -> str | None:
        """What training the path says of the predicted gain, in a sentence or two; None if nothing was trained."""
        if not self.steps or (self.measured is None and not self.failures):
            return None
        told = ["The gain over the default could not be measured." if self.measured is None else self._gained(self.measured)]
        if self.inherited:
            told.append("Trials of the search began with inherited weights, and these trainings did not.")
        if self.failures:
            told.append(f"No training succeeded of {', nor of '.join(self.failures)}.")
        return " ".join(told)

    def _gained(self, measured: float) -> str:
        how = "predicted" if self.check.is_reliable else "predicted, by a model that cannot rank unseen trials,"
        gain, predicted = f"{measured:+.3g}", f"{how} was {self.gain:+.3g} +- {self.std:.2g}"
        if self.measured_error is None:
            luck = "Single trainings differ by luck as well, so that this is a hint and no proof."
            if measured > 0:
                return f"Trained anew once, the winner gains {gain} over the default ({predicted}). {luck}"
            return f"Trained anew once, the winner is no better than the default: {gain}, where {predicted}. {luck}"
        known = f"{gain} +- {self.measured_error:.2g}"
        if abs(measured) <= t.ppf(_SURE, 2 * self.repeats - 2) * self.measured_error:
            return f"Trained anew, the winner gains {known} over the default, which may be nothing ({predicted})."
        if measured > 0:
            return f"Trained anew, the winner gains {known} over the default ({predicted})."
        return f"Trained anew, the winner is worse than the default: {known}, where {predicted}."

    @property
    def reaches_beyond(self) -> str:
        """What a prediction for the default rests on, if no trial was like it; else nothing."""
        if self.unlike < _UNLIKE or not self.steps:
            return ""
        return (
            f"no trial was like the default (the most similar differs in {self.unlike} hyperparameters), so that the gain over "
            "it reaches beyond them and is more often predicted too small than too large"
        )

    @property
    def configurations(self) -> tuple[Mapping[str, Any], ...]:
        """The default, and what each step leads to."""
        return (self.start, *(step.values for step in self.steps))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each step: plain values."""
        names = ("name", "gain", "std", "measured", "measured_error")
        return [
            {name: getattr(step, name) for name in names} | {"changes": {k: list(v) for k, v in step.changes.items()}}
            for step in self.steps
        ]

    def __str__(self) -> str:
        lines = [str(self.check), f"From the default to the winner, gain in {self.objective} (positive is better):"]
        for step in self.steps:
            what = ", ".join(f"{name} {_text(old)} -> {_text(new)}" for name, (old, new) in step.changes.items())
            lines.append(f"  {step.gain:+.4g} +- {step.std:.2g}{_beside(step.measured, step.measured_error)}  {what}")
        lines.append(f"  {self.gain:+.4g} +- {self.std:.2g}{_beside(self.measured, self.measured_error)}  in all")
        if self.reaches_beyond:
            lines.append(f"  {self.reaches_beyond.capitalize()}.")
        lines += [self.finding] if self.finding else []
        return "\n".join(lines)


def ablation_path(
    record: SearchRecord, *, train: Train | None = None, repeats: int = 1, objective: str | None = None
) -> AblationPath:
    """Go from the default configuration of the space to the winner, at each step by the change that is predicted to gain most.

    The winner is `record.best`. A hyperparameter that hangs on another comes along with it. The order is the model's; with
    `train` each configuration of the path is trained, and the measured gain stands beside the predicted one.

    Args:
        record: a search with at least four trials that have a score.
        train: takes the values of a configuration and returns its objective, in the objective's own unit and direction.
        repeats: how often each configuration is trained, >= 1.
        objective: one of several objectives; None for the score of the search.
    Returns:
        The path; it has no steps if the winner is the default.
    Raises:
        InvalidArgument: for a record of too few trials, or a `train` that returns no finite number.
    Source:
        Fawcett & Hoos 2016, Algorithm 1; deviation: predicted by the model of the reward (Biedenkapp et al. 2017), and a
        change brings the hyperparameters that it makes active.
    """
    require_whole_number("repeats", repeats, 1)
    if train is not None and not callable(train):
        raise InvalidArgument(f"Expected `train` to be None or a function of a configuration's values, got {train!r}.")
    evidence = Evidence.of(record, objective)
    posterior = RewardPosterior.of(evidence)
    mixture = Mixture(record.decisions, record.space, default_choices(record), winner_of(record, evidence))
    order = _greedy(posterior, mixture)
    path = [mixture(order[:done]) for done in range(len(order) + 1)]
    steps = []
    units = posterior.encoding.encode(path)
    gains, deviations = posterior.contrast(units, np.diff(np.eye(len(path)), axis=0))
    for before, after, name, gain, std in zip(path[:-1], path[1:], order, gains, deviations, strict=True):
        made = {changed: (old, new) for changed, (old, new) in changes(before, after).items()}
        steps.append(AblationStep(name, MappingProxyType(made), MappingProxyType(after), float(gain), float(std)))
    whole = np.eye(len(path))[[-1]] - np.eye(len(path))[[0]]
    gain, std = (float(part[0]) for part in posterior.contrast(units, whole))
    start, direction = MappingProxyType(path[0]), "max" if evidence.sign > 0 else "min"
    unlike = posterior.unlike(units[0])
    found = AblationPath(evidence.objective, direction, start, tuple(steps), gain, std, posterior.check, unlike)
    return found if train is None else found.with_measured(train, repeats)


@one_thread
def _greedy(posterior: RewardPosterior, mixture: Mixture) -> list[str]:
    order: list[str] = []
    while len(order) < len(mixture.names):
        left = [name for name in mixture.names if name not in order]
        units = posterior.encoding.encode([mixture([*order, name]) for name in left])
        means, _ = posterior.contrast(units, np.eye(len(left)))
        order.append(left[int(means.argmax())])
    return order


def _trained(train: Train, values: Choices) -> float:
    score = train(dict(values))
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgument(f"Expected `train` to return a finite number, got {score!r} for {values}.")
    return number


def _gain(before: list[float], after: list[float]) -> tuple[float, float | None]:
    count = len(before)
    error = math.sqrt((np.var(before, ddof=1) + np.var(after, ddof=1)) / count) if count > 1 else None
    return float(np.mean(after) - np.mean(before)), error


def _beside(measured: float | None, error: float | None) -> str:
    if measured is None:
        return ""
    return f" (measured {measured:+.4g}" + (f" +- {error:.2g})" if error is not None else ")")


def _text(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
