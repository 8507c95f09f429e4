"""A kt.Tuner that keeps learning curves, shows progress and keeps only the checkpoints that matter."""

import gc
import math
import os
import time
import zlib
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.atomic import write_json
from kerasnas.errors import InvalidArgument
from kerasnas.oracles import StrategyOracle
from kerasnas.record import SearchRecord
from kerasnas.search.progress import SearchProgress

__all__ = ["NASTuner"]


class NASTuner(kt.Tuner):
    """Run the trials of a search.

    On disk it keeps KerasTuner's layout, `directory/project_name/trial_*/trial.json`, and adds for each trial a
    `history.json` with its learning curves, seconds and parameters, rewritten after every epoch. The same call after a crash
    resumes the search. Each trial seeds Keras, NumPy and Python from the oracle's seed and its own id.

    Args:
        hypermodel: a `kt.HyperModel`, or a function from `hp` to a compiled model.
        oracle: any `kt.Oracle`, such as `kerasnas.oracles.ReinforceOracle`.
        keep_checkpoints: weights are kept for this many best trials, >= 1.
        directory: folder of all searches; the working folder by default.
        project_name: folder of this search.
        overwrite: True deletes an earlier search of that name instead of resuming it; a worker of a distributed search leaves
            that to the chief.
        executions_per_trial: trainings per trial, whose metrics are averaged.
        **kwargs: as in `kt.Tuner`.
    Raises:
        InvalidArgument: for an oracle or keep_checkpoints that cannot be used.
    """

    def __init__(
        self,
        hypermodel: Any,
        oracle: kt.Oracle,
        *,
        keep_checkpoints: int = 3,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        **kwargs: Any,
    ) -> None:
        if not isinstance(oracle, kt.Oracle):
            raise InvalidArgument(
                f"Expected `oracle` to be a kt.Oracle such as kerasnas.oracles.ReinforceOracle(), got {oracle!r}."
            )
        if keep_checkpoints < 1:
            raise InvalidArgument(f"Expected `keep_checkpoints` to be at least 1, got {keep_checkpoints}.")
        oracle.verbose = 0  # its display is replaced by SearchProgress
        super().__init__(
            oracle=oracle,
            hypermodel=hypermodel,
            directory=str(directory) if directory is not None else None,
            project_name=project_name,
            # A worker that starts after the chief would delete the search that is running.
            overwrite=overwrite and not self._is_worker(),
            executions_per_trial=executions_per_trial,
            **kwargs,
        )
        self.keep_checkpoints = keep_checkpoints
        self._seed = oracle.seed
        self._oracle_name = type(oracle).__name__
        self._input_shape: tuple[int, ...] | None = None
        self._history: dict[str, Any] = {}
        self._new_execution = True
        self._trial_start = 0.0
        self._progress: SearchProgress | None = None

    def search(self, *fit_args: Any, verbose: int | str = "auto", **fit_kwargs: Any) -> None:
        """Run trials until the oracle ends the search; arguments are those of `keras.Model.fit`.

        Args:
            *fit_args: x and y, as for `fit`.
            verbose: 0 for silence; anything else shows progress.
            **fit_kwargs: `validation_data`, `epochs`, `callbacks`, ... as for `fit`.
        Raises:
            InvalidArgument: for data that no trial can be trained on, or an oracle's initial points that are not in the space.
        """
        self._check_data(*fit_args, **fit_kwargs)
        if isinstance(self.oracle, StrategyOracle):  # a worker has a proxy
            used, total = self.oracle.earlier_trials()  # checks the initial points, too
            if total and verbose:
                print(f"Warm start: {used} of {total} earlier trials can be used.")
        objective = self.oracle.objective
        write_json(
            Path(self.project_dir) / "search.json",
            {
                "objective": objective.name,
                "direction": objective.direction,
                "max_trials": self.oracle.max_trials,
                "oracle": self._oracle_name,
                "hypermodel": self.hypermodel.name or type(self.hypermodel).__name__,
            },
        )
        with SearchProgress(
            objective=objective.name,
            direction=objective.direction,
            total=self.oracle.max_trials,
            epochs=fit_kwargs.get("epochs", 1) * self.executions_per_trial,
            enabled=bool(verbose),
        ) as self._progress:
            done = [t for t in self._all_trials() if t.status in ("COMPLETED", "FAILED")]
            scores = [t.score for t in done if t.score is not None]
            best = (max if objective.direction == "max" else min)(scores) if scores else None
            self._progress.resume(len(done), best)
            # KerasTuner collects garbage twice a trial; without what TensorFlow made at its import that takes no time.
            gc.freeze()
            try:
                super().search(*fit_args, verbose=0, **fit_kwargs)
            finally:
                gc.unfreeze()

    def record(self) -> SearchRecord:
        """Return what the project folder tells of this search so far."""
        return SearchRecord.load(self.project_dir)

    def get_best_models(self, num_models: int = 1) -> list[keras.Model]:
        """Return the best models with the weights of their best epoch, best first.

        They are fewer than asked for if fewer trials were completed.

        Raises:
            InvalidArgument: if more are asked for than checkpoints are kept, or no trial is completed.
        """
        if num_models > self.keep_checkpoints:
            raise InvalidArgument(
                f"Asked for {num_models} models, but only the weights of the best {self.keep_checkpoints} trials are kept. "
                f"Pass keep_checkpoints={num_models} to NASTuner before the search."
            )
        done = [trial for trial in self.oracle.get_best_trials(num_models) if trial.status == "COMPLETED"]
        if not done:
            raise InvalidArgument(f"No trial of {self.project_dir} is completed, so there is no best model.")
        return [self.load_model(trial) for trial in done]

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Train the model of `trial`; as in `kt.Tuner`."""
        results = super().run_trial(trial, *args, **kwargs)
        for result in results if isinstance(results, list) else [results]:
            if isinstance(result, keras.callbacks.History) and not self.oracle.objective.has_value(result.history):
                raise InvalidArgument(
                    f"Expected the objective {self.oracle.objective.name!r} among the metrics of the training, "
                    f"which are {sorted(result.history)}. Compile the model with that metric, pass validation data if its "
                    "name begins with 'val_', or choose another objective."
                )
        return results

    # -- what KerasTuner calls as a search goes on --

    def on_search_begin(self) -> None:
        """Write the tuner's state: a search killed during its first trial is then resumed, too."""
        super().on_search_begin()
        self.save()

    def on_trial_begin(self, trial: Any) -> None:
        """Seed the trial and open its history."""
        super().on_trial_begin(trial)
        keras.utils.set_random_seed(zlib.crc32(f"{self._seed}/{trial.trial_id}".encode()))
        self._trial_start = time.perf_counter()
        self._history = {"seconds": 0.0, "parameters": None, "executions": []}
        if self._progress:
            self._progress.begin_trial(self._number(trial))

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the curves; end a training whose loss is no longer a number."""
        super().on_epoch_end(trial, model, epoch, logs=logs)
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if self._new_execution:
            self._new_execution = False
            self._history["parameters"] = model.count_params()
            self._history["executions"].append({})
        curves = self._history["executions"][-1]
        for name, value in logs.items():
            curves.setdefault(name, []).append(value if math.isfinite(value) else None)
        self._save_history(trial)
        if not math.isfinite(logs.get("loss", 0.0)):
            model.stop_training = True
        if self._progress:
            done = sum(max((len(values) for values in run.values()), default=0) for run in self._history["executions"])
            self._progress.end_epoch(done, logs)

    def on_trial_end(self, trial: Any) -> None:
        """Close the history, tell the oracle, and drop the checkpoints of trials that are not among the best."""
        self._save_history(trial)
        try:
            super().on_trial_end(trial)
        finally:
            known = self.oracle.get_trial(trial.trial_id)
            if self._progress:
                message = known.message or trial.message  # a chief does not hear the message
                self._progress.end_trial(self._number(trial), known.score, self._history["parameters"], message)
        self._drop_checkpoints()

    def save(self) -> None:
        """Write the state of the oracle and of the tuner, each whole or not at all."""
        if not self._is_worker():
            self.oracle.save()
        write_json(self._get_tuner_fname(), self.get_state())

    def _populate_initial_space(self) -> None:
        # KerasTuner builds a model for every conditional scope; a space that declares itself whole needs none.
        if getattr(self.hypermodel, "declares_whole_space", False):
            hp = self.oracle.get_space()
            self.hypermodel.declare_hyperparameters(hp)
            self.oracle.update_space(hp)
        else:
            super()._populate_initial_space()

    def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        # Not at epoch 0: a fit of your own may begin at another one, train twice, or tell only the ends of epochs.
        self._new_execution = True
        return super()._build_and_fit_model(trial, *args, **kwargs)

    def _build_hypermodel(self, hp: kt.HyperParameters) -> Any:
        model = super()._build_hypermodel(hp)
        if not isinstance(model, keras.Model):
            return model  # reported by kt.Tuner
        own_fit = type(self.hypermodel).fit is not kt.HyperModel.fit
        if not model.compiled and not own_fit:
            raise InvalidArgument(
                "The model that the HyperModel built is not compiled. Call model.compile(optimizer, loss, metrics) in build()."
            )
        shape = model.input_shape if model.built and len(model.inputs or ()) == 1 else None
        if isinstance(shape, tuple) and self._input_shape is not None:
            fits = len(shape) == len(self._input_shape) + 1 and all(
                a in (None, b) for a, b in zip(shape[1:], self._input_shape, strict=True)
            )
            if not fits:
                raise InvalidArgument(f"The model takes inputs of shape {shape[1:]}, but x has samples of {self._input_shape}.")
        return model

    def _check_data(self, *args: Any, **kwargs: Any) -> None:
        x = kwargs.get("x", args[0] if args else None)
        y = kwargs.get("y", args[1] if len(args) > 1 else None)
        self._input_shape = None
        validation = kwargs.get("validation_data")
        plain_fit = type(self.hypermodel).fit is kt.HyperModel.fit
        scored = validation is not None or kwargs.get("validation_split")
        if (
            plain_fit
            and type(self).run_trial is NASTuner.run_trial
            and self.oracle.objective.name.startswith("val_")
            and not scored
        ):
            raise InvalidArgument(
                f"The objective {self.oracle.objective.name!r} needs validation data, got none. "
                "Pass validation_data=(x, y) or validation_split to search(), or choose an objective without 'val_'."
            )
        pairs = [("x", x, y)]
        if isinstance(validation, tuple | list) and len(validation) >= 2:
            pairs.append(("validation_data", validation[0], validation[1]))
        for name, inputs, targets in pairs:
            if not isinstance(inputs, np.ndarray):
                continue
            if len(inputs) == 0:
                raise InvalidArgument(f"Expected {name} to hold samples, got shape {inputs.shape}.")
            if targets is not None and hasattr(targets, "__len__") and len(targets) != len(inputs):
                raise InvalidArgument(f"Expected a label for each sample of {name}, got {len(inputs)} and {len(targets)}.")
            if np.issubdtype(inputs.dtype, np.floating) and not np.isfinite(inputs).all():
                raise InvalidArgument(f"Expected finite numbers in {name}, got NaN or infinity. Clean or fill them first.")
            if name == "x":
                self._input_shape = inputs.shape[1:]

    def _save_history(self, trial: Any) -> None:
        self._history["seconds"] = time.perf_counter() - self._trial_start
        write_json(Path(self.get_trial_dir(trial.trial_id)) / "history.json", self._history)

    def _all_trials(self) -> list[Any]:
        return list(self.oracle.get_best_trials(1_000_000))

    def _drop_checkpoints(self) -> None:
        ranked = [trial for trial in self._all_trials() if trial.status == "COMPLETED"]
        failed = [trial for trial in self._all_trials() if trial.status == "FAILED"]
        for trial in ranked[self.keep_checkpoints :] + failed:
            Path(self._get_checkpoint_fname(trial.trial_id)).unlink(missing_ok=True)

    def _number(self, trial: Any) -> int:
        return int(trial.trial_id) + 1 if trial.trial_id.isdigit() else len(self._all_trials())
