"""Training the winner of a search on all the data: one network, the best of several, or their ensemble."""

import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.decided_classes import probabilities_of
from kerasnas.errors import InvalidArgument
from kerasnas.record import TrialRecord
from kerasnas.search.ensemble import average, greedy_selection
from kerasnas.search.final_epochs import final_epochs
from kerasnas.search.fit_input import steady_input, takes
from kerasnas.search.trial_history import as_number
from kerasnas.search.tuner import NASTuner

__all__ = ["FinalFit", "check_finalists", "final_fit"]

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class FinalFit:
    """What came of the final training.

    Attributes:
        model: the network, or the ensemble as one network.
        best: the trial of the network, or of the heaviest member.
        epochs: epochs of its final training.
        history: its metrics, name to one value per epoch.
        weights: trial id to share of each member in the output; sums to 1.
        refitted: trial id to (score in the search, score when it was trained once more); empty unless that was asked for.
    """

    model: keras.Model
    best: TrialRecord
    epochs: int
    history: Mapping[str, list[float]]
    weights: Mapping[str, float]
    refitted: Mapping[str, tuple[float, float]]


def final_fit(
    tuner: NASTuner,
    train: Pair,
    valid: Pair,
    *,
    epochs: int,
    batch_size: int,
    finalists: int = 1,
    ensemble: int = 1,
    class_weight: Mapping[int, float] | None = None,
    verbose: int | str = 0,
) -> FinalFit:
    """Train the winner on training and validation data together.

    Of trials that used the same values, which some oracles propose, only the best is a finalist or a member: it is one network.
    The epochs are what the curves of its trial say, see `final_epochs`. A trial that inherited its first weights is gone on
    with from those of its best epoch: from nothing, so few epochs would not do.

    Args:
        tuner: a `NASTuner` whose search has ended.
        train: inputs and labels that the trials were trained on.
        valid: inputs and labels that scored them.
        epochs: epochs of a trial at most.
        batch_size: samples in one training step.
        finalists: this many best trials are trained once more on the training data with another seed; the winner is the best by
            the mean of both scores. A single score is partly luck.
        ensemble: the outputs of up to this many of the best trials are averaged, with the weights that are best on the
            validation data (Caruana et al. 2004); 1 for a single network.
        class_weight: as in `keras.Model.fit`.
        verbose: 0 for silence.
    Raises:
        InvalidArgument: if no trial is completed, or for more finalists or members than the tuner keeps weights of.
    """
    record = tuner.record()
    sign = 1 if record.direction == "max" else -1
    for name, number in (("finalists", finalists), ("ensemble", ensemble)):
        if not 1 <= number <= tuner.keep_checkpoints:
            raise InvalidArgument(
                f"Expected `{name}` from 1 to {tuner.keep_checkpoints}, the number of trials whose weights are kept, "
                f"got {number}."
            )
    check_finalists(tuner.oracle.objective, finalists)
    _ = record.best  # raises if there is none
    ranked = _distinct(record.ranked)
    fit = _Fit(tuner, epochs, batch_size, verbose, {} if class_weight is None else {"class_weight": class_weight})

    refitted = {}
    if finalists > 1:
        for trial in _distinct(record.ranked[: tuner.keep_checkpoints])[:finalists]:  # beyond them no weights are kept
            fit.say(f"training the network of {_name(trial)} once more, to compare")
            _, history = fit(trial, train, epochs=final_epochs(record, epochs, trial), seed=1, validation_data=valid)
            values = [sign * v for v in _scores(tuner.oracle.objective, history, trial.metrics) if math.isfinite(v)]
            refitted[trial.trial_id] = (float(trial.score or 0.0), sign * max(values, default=-math.inf))
        ranked.sort(
            key=lambda trial: -sign * float(np.mean(refitted[trial.trial_id])) if trial.trial_id in refitted else math.inf
        )

    members = {ranked[0].trial_id: 1.0}
    if ensemble > 1:
        known = [tuner.oracle.get_trial(trial.trial_id) for trial in ranked]
        with_weights = [
            trial for trial in known if tuner.checkpoints.path(trial).exists()
        ]  # an earlier run may have kept fewer
        kept = {trial.trial_id: tuner.load_model(trial) for trial in with_weights[:ensemble]}
        outputs = [(model, model.predict(valid[0], batch_size=256, verbose=0)) for model in kept.values()]
        predictions = np.stack([probabilities_of(model, came) for model, came in outputs])
        labels = valid[1] if valid[1].ndim == 1 else valid[1].argmax(axis=1)
        shares = greedy_selection(predictions, labels, size=4 * ensemble)
        members = {trial_id: float(share) for trial_id, share in zip(kept, shares, strict=True) if share > 0}

    everything = tuple(np.concatenate(pair) for pair in zip(train, valid, strict=True))
    chosen = sorted((t for t in ranked if t.trial_id in members), key=lambda trial: -members[trial.trial_id])
    models, histories, lengths = [], [], []
    for number, trial in enumerate(chosen):
        lengths.append(final_epochs(record, epochs, trial))
        fit.say(f"training the network of {_name(trial)} on all {len(everything[0]):,} samples, {lengths[-1]} epochs")
        # One seed for each: chance that all members share is not averaged away. Seed 1 is that of the finalists.
        model, history = fit(trial, everything, epochs=lengths[-1], seed=number + (number > 0))
        models.append(model)
        histories.append(history)
    model = models[0] if len(models) == 1 else average(models, weights=[members[trial.trial_id] for trial in chosen])
    return FinalFit(model, chosen[0], lengths[0], histories[0], members, refitted)


def check_finalists(objective: Any, finalists: int) -> None:
    """Raise InvalidArgument if more than one finalist is to be compared by several objectives."""
    several = len(getattr(objective, "objectives", ()))
    if finalists > 1 and several:
        raise InvalidArgument(
            f"Expected one objective to compare {finalists} finalists by, got {several}. Pass finalists=1, or weigh them in "
            "one, such as MnasNetReward."
        )


def _distinct(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials without those that used the same values as an earlier one."""
    found: dict[str, TrialRecord] = {}
    for trial in trials:
        used = {k: v for k, v in trial.values.items() if k not in trial.unused and not k.startswith("tuner/")}
        found.setdefault(json.dumps(used, sort_keys=True), trial)
    return list(found.values())


def _name(trial: TrialRecord) -> str:
    """Name a trial as the progress of the search does, which counts from 1."""
    return f"trial {int(trial.trial_id) + 1}" if trial.trial_id.isdecimal() else f"trial {trial.trial_id}"


def _scores(objective: Any, history: Mapping[str, list[float]], known: Mapping[str, float]) -> list[float]:
    """Return the objective at each epoch; what `known` has of costs is the same at all of them."""
    epochs = [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]
    logs = [{name: value for name, value in known.items() if name != objective.name} | epoch for epoch in epochs]
    return [float(objective.get_value(each)) for each in logs if objective.has_value(each)]


class _Fit:
    """Trains the network of a trial."""

    def __init__(self, tuner: NASTuner, epochs: int, batch_size: int, verbose: int | str, how: dict[str, Any]) -> None:
        self._tuner, self._epochs, self._batch_size, self._how = tuner, epochs, batch_size, how
        self._bar = 0 if not verbose else 1 if sys.stdout.isatty() else 2

    def say(self, text: str) -> None:
        if self._bar:
            print(text, flush=True)

    def __call__(
        self, trial: TrialRecord, data: tuple[Any, ...], *, epochs: int, seed: int, **kwargs: Any
    ) -> tuple[keras.Model, dict[str, list[float]]]:
        tuner, hypermodel = self._tuner, self._tuner.hypermodel
        known = tuner.oracle.get_trial(trial.trial_id)
        keras.utils.set_random_seed((tuner.oracle.seed + seed) % 2**32)
        model = tuner.load_model(known) if trial.inherited else hypermodel.build(known.hyperparameters)
        adjust = partial(tuner.choose_execution, model)
        with steady_input(model, f"{tuner.oracle.seed}/final/{seed}", adjust=adjust, verbose=self._bar):
            history = hypermodel.fit(
                known.hyperparameters,
                model,
                *data,
                epochs=epochs,
                batch_size=self._batch_size,
                **({"verbose": self._bar} if takes(hypermodel.fit, "verbose") else {}),
                **self._how,
                **kwargs,
            )
        curves = getattr(history, "history", {})  # a HyperModel with a fit of its own may return figures instead
        curves = {name: [as_number(v) for v in values] for name, values in curves.items()}
        if not math.isfinite(curves.get("loss", [0.0])[-1]):
            warnings.warn("The final training diverged; keeping the weights that its trial found.", stacklevel=3)
            model = tuner.load_model(known)
        return model, curves
