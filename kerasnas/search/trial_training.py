"""The training of one trial: all its executions, each from its last finished epoch."""

import dataclasses
import math
import time
import warnings
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.atomic import write_json
from kerasnas.errors import InvalidArgument
from kerasnas.objectives import largest_value
from kerasnas.search.batches import Batches
from kerasnas.search.beginnings import check_beginnings, forget_beginnings
from kerasnas.search.best_epoch import BestEpoch, load_weights
from kerasnas.search.checkpoints import build_aside
from kerasnas.search.epoch_state import EpochState, EpochStateFile
from kerasnas.search.fit_input import takes
from kerasnas.search.inheritance import inherit
from kerasnas.search.own_results import with_objective
from kerasnas.search.resumable_fit import ResumableFit
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.trial_curves import objective_curve
from kerasnas.search.trial_history import TrialHistory, as_number
from kerasnas.search.trial_memory import no_gradients_left
from kerasnas.stopping.learning_curve import expected_final

__all__ = ["TAKEN_UP", "TrialTraining", "train_trial"]

_STATE, _STATES = "epoch_state.npz", "epoch_state*.npz"
# Says after how many epochs a trial had been stopped that goes on all the same.
TAKEN_UP = "taken_up.json"


class TrialTraining:
    """Trains the executions of a trial, and keeps what a later process needs to go on with them.

    Args:
        tuner: the `NASTuner`, whose hooks are called as the training goes on.
        trial: the `kt.engine.trial.Trial`.
        call: number, from 0, of the call of `NASTuner.run_trial` within the trial: an override may train several folds.
        seed: what everything random in the call follows from.
        budget: the clocks.
    """

    def __init__(self, tuner: Any, trial: Any, call: int, *, seed: str, budget: TimeBudget) -> None:
        self._tuner, self._trial, self._call, self._seed, self._budget = tuner, trial, call, seed, budget
        self._folder = Path(tuner.get_trial_dir(trial.trial_id))
        name = _STATES.replace("*", f"-{call}") if call else _STATE
        self._file = EpochStateFile(self._folder / name, {"values": trial.hyperparameters.values})
        self._saved: EpochState | None = self._unless_stopped(self._file.load())
        content = self._saved.content if self._saved else {}
        self._earlier = tuner._history.content if call else {"executions": [], "stopped": None}
        self.history = TrialHistory(self._folder / "history.json", self._after_earlier(content.get("history")))
        self._results: list[Any] = [self.revived(result) for result in content.get("results", [])]
        self._best = BestEpoch(tuner.oracle.objective, self.history.content["costs"])
        self._execution_seed, self._begins = seed, True
        self._fit: ResumableFit | None = None
        self._live: Any = None
        self._fit_seconds: Callable[[], float] = lambda: self.history.content["fit_seconds"]
        budget.begin_trial(self.history.content["seconds"])
        if tuner.time_ceiling is not None:
            known, file = self.history.content, TrialHistory.read(self.history.path)
            known["granted"] = tuner.time_ceiling.begin_trial(known["granted"] or file.get("granted"))
            write_json(self.history.path, {**file, "granted": known["granted"]})  # a first epoch may be long

    @staticmethod
    def forget(folder: str) -> None:
        """Remove what a trial that has ended had kept to go on."""
        for file in Path(folder).glob(_STATES):
            file.unlink(missing_ok=True)
        forget_beginnings(Path(folder))

    @staticmethod
    def can_go_on(folder: Path) -> bool:
        """Return whether there is what a trial needs to go on."""
        return (folder / _STATE).exists()

    def _unless_stopped(self, saved: EpochState | None) -> EpochState | None:
        """Return the state of a trial that was taken up as if it had not been stopped before."""
        epochs = TrialHistory.read(self._folder / TAKEN_UP).get("epochs")
        # Not by the number of Keras' epoch, which may have begun at another than 0.
        if saved is None or TrialHistory(self._folder, saved.content["history"]).epochs_of_execution != epochs:
            return saved
        history = {**saved.content["history"], "stopped": None}
        return dataclasses.replace(saved, content={**saved.content, "ended": False, "history": history})

    def _after_earlier(self, saved: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the history to go on with: after that of the earlier calls, whose trainings are those of this process."""
        if not self._call:
            return saved
        executions = self._earlier["executions"]
        if saved is None:  # whether they were stopped tells nothing of this one
            return {**self._earlier, "stopped": None, "seconds": self._budget.trial_seconds}
        return {**saved, "executions": [*executions, *saved["executions"][len(executions) :]]}

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the result of each execution: a `History`, or what the HyperModel's `fit` returned."""
        tuner, trial = self._tuner, self._trial
        if tuner._is_worker() and not self._call:
            path = self.history.path  # which tells the epochs of later calls, too
            check_beginnings(self._folder, TrialHistory(path, TrialHistory.read(path)).epochs)
        kwargs = dict(kwargs)
        if kwargs.get("verbose") == 0 and not takes(tuner.hypermodel.fit, "verbose"):
            del kwargs["verbose"]  # the default of the search
        given = keras.tree.flatten(kwargs.pop("callbacks", None) or [])  # as Keras takes them: lists in lists, or a single one
        known = self.history.content
        # One that was stopped, and killed before it could say so, tells its results all the same.
        while not self._results or (len(self._results) < tuner.executions_per_trial and known["stopped"] is None):
            execution = len(self._results)
            number = self._call * tuner.executions_per_trial + execution
            seed = f"{self._seed}/{execution}" if execution else self._seed
            keras.utils.set_random_seed(zlib.crc32(seed.encode()))
            self._execution_seed = f"{seed}/{execution}"
            callbacks = tuner._deepcopy_callbacks(given)
            if any(type(callback).__name__ == "TensorBoard" for callback in callbacks):
                tuner._configure_tensorboard_dir(callbacks, trial, number)
            if tuner.tensorboard is not None:
                first = 0 if self._saved is None else self._saved.content.get("epoch", 0)
                self._live = tuner.tensorboard.training(trial, number, first)
                callbacks.append(self._live)
            callbacks += [_hooks(tuner, trial), _Clock(self._budget), self._best]
            result = self._with_costs(tuner._build_and_fit_model(trial, *args, **kwargs, callbacks=callbacks))
            self._results.append(result)
            self._saved = None
            if len(self._results) < tuner.executions_per_trial:
                self._file.save(self._content(), callbacks=[self._best])  # the best weights are those of all executions
        stopped = known["stopped"] or self._earlier["stopped"]
        if self._call and stopped is not None:  # what one of several trainings would have come to is not the score
            known["stopped"] = {**stopped, "expected": None}
        return self._results

    def fit(self, model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Train one execution by the HyperModel's own `fit`."""
        content, saved = self.history.content, self._resumable(model)
        self._begins = saved is None
        self._prepare(model, fresh=saved is None)
        start, before = time.perf_counter(), content["fit_seconds"]
        self._fit_seconds = lambda: before + time.perf_counter() - start
        self._fit = fit = ResumableFit(
            model,
            self._file,
            saved,
            seed=self._execution_seed,
            content=lambda: self._content(model),
            begin_anew=partial(self._begin_anew, model),
            adjust=partial(self._adjust, model),
            epochs=kwargs.get("epochs", 1),
        )
        try:
            with no_gradients_left():
                results = self._tuner.hypermodel.fit(self._trial.hyperparameters, model, *args, **kwargs)
        finally:
            content["fit_seconds"] = spent = self._fit_seconds()
            self._fit_seconds = lambda: spent
            fit.remove()
        model.built = model.built or bool(model.weights)  # one that trains its parts is never called itself
        if model.built:
            content["parameters"] = model.count_params()
            write_json(self._folder / "build_config.json", model.get_build_config())
            self._best.write(model, self._folder / "checkpoint.weights.h5")
        return results

    def _prepare(self, model: keras.Model, *, fresh: bool) -> None:
        """Find out what the network costs, and give a fresh one its first weights."""
        content, tuner = self.history.content, self._tuner
        if not model.built:
            return
        if not content["costs"]:
            known = tuner._screening.known(self._trial.hyperparameters, model)
            content |= {"costs": dict(known.costs), "fingerprint": known.fingerprint}
            self._best.constants = content["costs"]
        parent = self._parent() if fresh else None
        if parent is not None:
            content["inherited"] = {"trial": tuner._donor.trial_id, "share": inherit(model, parent).share}

    def _parent(self) -> keras.Model | None:
        """Return the donor's network; None where there is none, or its weights are gone."""
        tuner = self._tuner
        knows = hasattr(tuner.oracle, "get_best_trials")  # a process of a trial has no oracle
        for again in (knows, False):
            if tuner._donor is None:
                break
            parent = build_aside(tuner.hypermodel, tuner._donor.hyperparameters.copy())
            try:
                load_weights(parent, tuner._get_checkpoint_fname(tuner._donor.trial_id))
            except (InvalidArgument, OSError):  # another worker's trial was better since, perhaps just now
                tuner._donor = tuner.checkpoints.donor(self._trial) if again else None
            else:
                return parent
        return None

    def _adjust(self, model: keras.Model, batches: Batches, single_steps: bool) -> None:
        self._tuner.choose_execution(model, batches, single_steps)
        if self._live is not None and len(batches[0]) > 1:
            self._live.watch(*batches[0][:2])

    def end_epoch(self, model: keras.Model, logs: Mapping[str, float]) -> None:
        """Take in the metrics of an epoch; end the training if there is a reason to."""
        content = self.history.content
        if self._begins:
            # Not at epoch 0: a fit of your own may begin at another one, train twice, or tell only the ends of epochs.
            self._begins = False
            content["executions"].append({})
            # A model that trains its parts without calling itself is never built.
            content["parameters"] = sum(math.prod(weight.shape) for weight in model.weights)
        self.history.add(logs)
        content["epochs"] = self._epochs
        reason, rule, ceiling = self._budget.overrun(), self._tuner.stopping, self._tuner.time_ceiling
        if reason is None and ceiling is not None:
            reason = ceiling.overrun(self.history.epochs)
        if reason is not None:
            content["stopped"] = {"rule": "time", "reason": reason, "details": {}}
        elif rule is not None and not model.stop_training and self.history.epochs_of_execution < self._epochs:
            curve, others = self._curves()
            stop = rule.should_stop(curve, others, epochs=self._epochs) if len(curve) else None
            if stop is not None:
                content["stopped"] = {"rule": stop.rule, "reason": stop.reason, "details": dict(stop.details)}
        if content["stopped"] is not None:
            # Where no trial may take longer, none comes to what all epochs would make of it.
            content["stopped"]["expected"] = None if self._budget.trial_is_over else self._expected()
        if content["stopped"] is not None or not np.isfinite(logs.get("loss", 0.0)):
            model.stop_training = True

    def _curves(self) -> tuple[Any, list[Any]]:
        """Return the objectives of this training and of the other trials, epoch by epoch."""
        curve = objective_curve(self._tuner.oracle.objective, self.history.curves, self.history.content["costs"])
        return curve, self._tuner._curves.others(self._trial.trial_id)

    def _expected(self) -> float | None:
        """Return the score that the trial would come to; None where several trainings or objectives make it."""
        curve, others = self._curves()
        objective = self._tuner.oracle.objective
        several = hasattr(objective, "objectives")  # also a list of one, whose score KerasTuner turns around
        if self._tuner.executions_per_trial > 1 or not len(curve) or several or len(curve) > self._epochs:
            return None
        value, _ = expected_final(curve, others, epochs=self._epochs)
        if not np.isfinite(value):
            return None
        # A metric of one's own may bear the name of one of Keras, and be in percent.
        most = max(largest_value(objective.name), float(np.nanmax(curve)))
        return min(value, most) if objective.direction == "max" else -value

    @staticmethod
    def as_json(result: Any) -> dict[str, Any]:
        """Return the result of an execution as JSON can hold it."""
        if isinstance(result, keras.callbacks.History):
            return {"history": result.history}
        return {"values": result} if isinstance(result, dict) else {"value": float(result)}

    @staticmethod
    def revived(result: Mapping[str, Any]) -> Any:
        """Return what `as_json` was made of."""
        if "history" not in result:
            return result["values"] if "values" in result else result["value"]
        history = keras.callbacks.History()
        history.history = dict(result["history"])
        return history

    @property
    def _epochs(self) -> int:
        """Epochs that the present training is to have; 1 if it is not Keras' own."""
        return self._fit.epochs if self._fit is not None else 1

    def _resumable(self, model: keras.Model) -> EpochState | None:
        """Return the state to go on from; the best weights alone are given back where it lies between two executions."""
        saved = self._saved
        if saved is None:
            return None
        if "epoch" not in saved.content:
            saved.restore_callbacks([self._best])
            return None
        problem = saved.prepare(model, optimizer=False)
        if problem is None:
            return saved
        self._forget(problem)
        return None

    def _begin_anew(self, model: keras.Model, problem: str) -> None:
        self._forget(problem)
        self._begins = True
        self._prepare(model, fresh=True)

    def _forget(self, problem: str) -> None:
        warnings.warn(f"The trial in {self._folder} begins again at its first epoch: {problem}.", stacklevel=2)
        del self.history.content["executions"][len(self._earlier["executions"]) + len(self._results) :]
        self.history.content["inherited"] = None

    def _with_costs(self, result: Any) -> Any:
        """Add the metrics that are the same in every epoch, and the objective where it is made of several."""
        objective, costs = self._tuner.oracle.objective, self.history.content["costs"]
        if isinstance(result, keras.callbacks.History):
            epochs = max((len(values) for values in result.history.values()), default=0)
            constant = {name: [value] * epochs for name, value in costs.items()}
            curves = {name: [as_number(v) if np.ndim(v) else v for v in values] for name, values in result.history.items()}
            known = constant | curves  # the training's own is left as it is
            for name, direction in _measured(objective).items():
                # To KerasTuner a first epoch that is NaN would be the best of all.
                worst, values = -np.inf if direction == "max" else np.inf, np.asarray(known.get(name, ()), float)
                if np.isfinite(values).any():
                    known[name] = np.where(np.isfinite(values), values, worst).tolist()
            result = self.revived({"history": known})
            if not objective.has_value(result.history):
                raise InvalidArgument(
                    f"Expected the objective {objective.name!r} among the metrics of the training, "
                    f"which are {sorted(result.history)}. Compile the model with that metric, pass validation data if its "
                    "name begins with 'val_', or choose another objective."
                )
        return with_objective(result, objective, costs)

    def _content(self, model: keras.Model | None = None) -> dict[str, Any]:
        """Return what is kept besides the weights."""
        self.history.content["seconds"] = self._budget.trial_seconds
        return {
            "history": self.history.content | {"fit_seconds": self._fit_seconds()},
            "results": [self.as_json(result) for result in self._results],
            "build_config": None if model is None else model.get_build_config(),
        }


def train_trial(tuner: Any, trial: Any, call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Run a `TrialTraining` of a `NASTuner` in this process; return the results, and leave the history with the tuner."""
    seed = f"{tuner._seed}/{trial.trial_id}" + (f"/call {call}" if call else "")
    tuner._training = training = TrialTraining(tuner, trial, call, seed=seed, budget=tuner._budget)
    tuner._history = training.history
    try:
        return training.run(args, kwargs)
    finally:
        tuner._training = None


class _Clock(keras.callbacks.Callback):
    """Ends an epoch in its midst when the time is over; what it has learned is still judged."""

    async_safe = True  # the metrics of a batch are not needed: Keras need not wait for them
    may_miss_batches = True

    def __init__(self, budget: TimeBudget) -> None:
        super().__init__()
        self._budget = budget

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        if self._budget.overrun() is not None:
            self.model.stop_training = True


class _EpochHooks(keras.callbacks.Callback):
    comes_last = True  # of all callbacks: where one of them ends the training, no rule is asked any more

    def __init__(self, tuner: Any, trial: Any) -> None:
        super().__init__()
        self._tuner, self._trial = tuner, trial

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_epoch_begin(self._trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_epoch_end(self._trial, self.model, epoch, logs=logs)


class _BatchHooks(_EpochHooks):
    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_batch_begin(self._trial, self.model, batch, logs)

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._tuner.on_batch_end(self._trial, self.model, batch, logs)


def _measured(objective: Any) -> dict[str, str]:
    """Return the metrics that an objective is made of, with their directions."""
    parts = {part.name: part.direction for part in getattr(objective, "objectives", (objective,))}
    metric = getattr(objective, "metric", None)  # of a MnasNetReward
    return parts if metric is None else {**parts, metric: objective.direction}


def _hooks(tuner: Any, trial: Any) -> keras.callbacks.Callback:
    # Hardly any tuner wants to hear of batches, and Keras would wait for the metrics of each one.
    names = ("on_batch_begin", "on_batch_end")
    hears_batches = any(getattr(type(tuner), name) is not getattr(kt.Tuner, name) for name in names)
    return (_BatchHooks if hears_batches else _EpochHooks)(tuner, trial)
