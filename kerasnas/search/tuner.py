"""A kt.Tuner that loses nothing: curves, budgets, early stopping, and trials that go on from their last epoch."""

import gc
import io
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import keras_tuner as kt

from kerasnas.atomic import write_json
from kerasnas.errors import InvalidArgument
from kerasnas.oracles import StrategyOracle
from kerasnas.oracles.by_name import check_oracle
from kerasnas.record import SearchRecord
from kerasnas.search.asked import asked
from kerasnas.search.batches import Batches
from kerasnas.search.best_epoch import load_weights
from kerasnas.search.checkpoints import Checkpoints
from kerasnas.search.data_check import check_data, check_direction, check_input_shape, check_objective, epochs_of
from kerasnas.search.epoch_state import build_as
from kerasnas.search.execution import choose_execution
from kerasnas.search.failures import retold
from kerasnas.search.first_points import explore
from kerasnas.search.fit_input import takes
from kerasnas.search.isolation import TrialProcess
from kerasnas.search.limits import Limits
from kerasnas.search.live_log import LiveLog
from kerasnas.search.lost_workers import workers_watched
from kerasnas.search.own_results import OwnResults
from kerasnas.search.progress import SearchProgress, score_parts
from kerasnas.search.project_lock import ends_of_trials, held, prepare_folder
from kerasnas.search.screening import Screening
from kerasnas.search.search_file import write_search_file
from kerasnas.search.time_budget import TimeBudget
from kerasnas.search.time_ceiling import TimeCeiling
from kerasnas.search.trial_curves import TrialCurves
from kerasnas.search.trial_history import TrialHistory, as_number
from kerasnas.search.trial_training import TrialTraining, train_trial
from kerasnas.search.waiting_trials import WaitingTrials
from kerasnas.stopping import StoppingRule
from kerasnas.stopping.by_name import by_name

__all__ = ["NASTuner"]


class NASTuner(kt.Tuner):
    """Run the trials of a search.

    On disk it keeps KerasTuner's layout, `directory/project_name/trial_*/trial.json`, and adds for each trial a
    `history.json` (see `TrialHistory`), rewritten after every epoch. The same call after a crash resumes the search: finished
    trials are kept, and the one that was under way goes on from its last finished epoch. Limits, times and numbers of trials
    may change then; with other data, spaces, objectives or epochs scores do not compare. Each trial seeds Keras, NumPy and
    Python from the oracle's seed and its own id.

    Args:
        hypermodel: a `kt.HyperModel`, or a function from `hp` to a compiled model.
        oracle: any `kt.Oracle` but the HyperbandOracle (stopping="asha" does its job), such as `kerasnas.oracles.DynaOracle`.
        max_time: seconds for the whole search, of all its processes; the trial under way then ends with what it has. Networks
            that would take a large part of it wait: see `kerasnas.search.time_ceiling`.
        max_trial_time: seconds for one trial, which then ends with what it has.
        stopping: a `kerasnas.stopping.StoppingRule`, or the name of one ("asha", "learning-curve"), that ends trials early;
            None lets each run through. "asha" takes stopped trials up again, with an oracle of kerasnas, one execution per
            trial and no workers; their weights and optimizers are kept until the search has come to its end.
        inherit: True starts each network from the weights of the most similar of the trials whose weights are kept.
        limits: what no network may exceed, known before it is trained: a mapping with any of "parameters", "macs",
            "activation_bytes" and "latency_ms". A proposal that breaks one is replaced, without a trial or a failure; needs
            an oracle of kerasnas.
        tensorboard: True writes logs for TensorBoard into `project_name/tensorboard`; gradients and Grad-CAM need arrays.
        isolate: True runs the trials in a process of its own, which is reused until it has grown by 300 MB: a trial that uses
            up the memory, or crashes, is then a failed trial and not the end. Data must be arrays.
        keep_checkpoints: weights are kept for this many best trials, >= 1; with several objectives, for the front at least.
        directory: folder of all searches; the working folder by default.
        project_name: folder of this search.
        overwrite: True deletes an earlier search of that name instead of resuming it; a worker of a distributed search leaves
            that to the chief.
        executions_per_trial: trainings per trial, whose metrics are averaged.
        **kwargs: as in `kt.Tuner`.
    Raises:
        InvalidArgument: for an oracle or a setting that cannot be used, or if a search is running in the folder.
    """

    def __init__(
        self,
        hypermodel: Any,
        oracle: kt.Oracle,
        *,
        max_time: float | None = None,
        max_trial_time: float | None = None,
        stopping: StoppingRule | str | None = None,
        inherit: bool = False,
        limits: Mapping[str, float] | None = None,
        tensorboard: bool = False,
        isolate: bool = False,
        keep_checkpoints: int = 3,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        **kwargs: Any,
    ) -> None:
        check_oracle(oracle)
        if keep_checkpoints < 1:
            raise InvalidArgument(f"Expected `keep_checkpoints` to be at least 1, got {keep_checkpoints}.")
        self._budget = TimeBudget(max_time, max_trial_time)
        self.stopping = by_name(stopping)
        self.limits = Limits.of(limits)
        if self.limits != Limits() and not isinstance(oracle, StrategyOracle):
            raise InvalidArgument(f"`limits` need an oracle of kerasnas, such as DynaOracle, got {type(oracle).__name__}.")
        self.inherit, self.keep_checkpoints = inherit, keep_checkpoints
        oracle.verbose, folder = 0, Path(directory or ".") / (project_name or "untitled_project")  # SearchProgress shows more
        # A worker may start after the chief, and must not delete, or before it, and write nothing until the chief has answered.
        overwrite = overwrite and not self._is_worker()
        prepare_folder(folder, overwrite=overwrite)
        begun = not overwrite and any(folder.glob("trial_*"))
        file = folder / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
        if begun and not (self._is_worker() or TrialHistory.read(file)):
            write_json(file, {})  # without it KerasTuner would begin the search anew, on top of its trials
        lost = begun and not (folder / "oracle.json").exists()
        # KerasTuner prints which file it reloads.
        with redirect_stdout(io.StringIO()) if begun else nullcontext():
            super().__init__(
                oracle=oracle,
                hypermodel=hypermodel,
                directory=str(directory) if directory is not None else None,
                project_name=project_name,
                overwrite=overwrite,
                executions_per_trial=executions_per_trial,
                **kwargs,
            )
        if lost and not self._is_worker():
            self._populate_initial_space()
        self._ends, self.checkpoints = ends_of_trials(folder), Checkpoints(self, keep_checkpoints)
        self._curves = TrialCurves(Path(self.project_dir), self.oracle.objective)
        own = any(getattr(type(self), name) is not getattr(NASTuner, name) for name in ("run_trial", "_build_and_fit_model"))
        self._screening, self._waiting = Screening(self, identifies=not own), WaitingTrials(self)
        self.time_ceiling: TimeCeiling | None = None  # until trials run in this process
        self.tensorboard = LiveLog(self) if tensorboard else None
        self._isolate, self._calls = isolate, dict[str, int]()  # calls of run_trial in the present trial, by its id
        self._process: TrialProcess | None = None
        self._donor: Any = None
        self._seed, self._oracle_name = oracle.seed, type(oracle).__name__
        self._sample_shape: tuple[int, ...] | None = None
        self._history = TrialHistory(Path(self.project_dir) / "history.json")
        self._training: TrialTraining | None = None
        self._progress: SearchProgress | None = None

    def search(self, *fit_args: Any, verbose: int | str = "auto", **fit_kwargs: Any) -> None:
        """Run trials until the oracle or the time ends the search; arguments are those of `keras.Model.fit`.

        Args:
            *fit_args: x and y, as for `fit`.
            verbose: 0 for silence; anything else shows progress.
            **fit_kwargs: `validation_data`, `epochs`, `callbacks`, ... as for `fit`.
        Raises:
            InvalidArgument: for data that no trial can be trained on, an oracle's initial points that are not in the space, a
                folder of trials that another objective scored, or if another search is running in the folder.
            DiskFull: if no space is left; nothing is lost, the same call goes on.
        """
        if type(self).run_trial is NASTuner.run_trial:
            check_objective(self.hypermodel, self.oracle.objective, fit_kwargs)
        check_direction(self.oracle.objective)
        self._sample_shape = check_data(fit_args, fit_kwargs)
        folder = Path(self.project_dir)
        try:
            with nullcontext() if self._is_worker() else held(folder, self.oracle, self._ends):
                self._search(fit_args, fit_kwargs, verbose)
        except Exception as error:
            known = isinstance(error, OSError) or self._is_worker()
            if known and (other := retold(error, folder)) is not None:
                raise other from error
            raise

    def _search(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], verbose: int | str) -> None:
        if isinstance(self.oracle, StrategyOracle):  # a worker has a proxy
            used, total = self.oracle.earlier_trials()  # checks the initial points, too
            if total and verbose:
                print(f"Warm start: {used} of {total} earlier trials can be used.")
        objective = self.oracle.objective
        changed = not self._is_worker() and write_search_file(self, self._oracle_name)
        if isinstance(self.oracle, StrategyOracle):  # what broke other limits, or took too long then, may be proposed again
            self.oracle.forgive(lambda rejected: changed or rejected.seconds is not None)
        self._budget.begin_search(TrialHistory.search_seconds(Path(self.project_dir)))
        if self.tensorboard is not None:
            self.tensorboard.look_at(fit_args, fit_kwargs)
        with SearchProgress(
            objective=objective.name,
            direction=objective.direction,
            total=self.oracle.max_trials,
            epochs=epochs_of(fit_args, fit_kwargs) * self.executions_per_trial,
            several=hasattr(objective, "objectives"),
            trials=self.oracle.get_best_trials,
            enabled=bool(verbose),
        ) as self._progress:
            self._progress.resume()
            gc.freeze()  # KerasTuner collects garbage twice a trial: without what TensorFlow's import made, that takes no time
            if isinstance(self.oracle, StrategyOracle):
                self.oracle.screen = self._screening
            if self._isolate:
                self._process = TrialProcess(Path(self.project_dir))
            try:
                with workers_watched(self):
                    if "KERASTUNER_ORACLE_IP" in os.environ and not self._is_worker():
                        super().search(*fit_args, verbose=0, **fit_kwargs)  # serves the workers
                    else:
                        self._run_trials(fit_args, fit_kwargs)
            finally:
                gc.unfreeze()
                if self._process is not None:
                    self._process.close()
                    self._process = None

    def _run_trials(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        # kt.Tuner.search with a clock, and without its busy waiting.
        fit_kwargs = ({"verbose": 0} if takes(self.run_trial, "verbose") else {}) | fit_kwargs
        if isinstance(self.oracle, StrategyOracle):
            epochs = epochs_of(fit_args, fit_kwargs) * self.executions_per_trial
            self.time_ceiling = TimeCeiling(self._budget, Path(self.project_dir), epochs, self.oracle)
        self.on_search_begin()
        while True:
            if self._budget.search_is_over:
                if self._progress:
                    self._progress.say(f"The {self._budget.max_time:g} seconds of the search are over.")
                break
            self.pre_create_trial()
            if self.time_ceiling is not None:
                self.time_ceiling.forgive()
            trial = self._waiting.next(epochs_of(fit_args, fit_kwargs)) or self.oracle.create_trial(self.tuner_id)
            if trial.status == "STOPPED":
                if self.time_ceiling is not None and self.time_ceiling.lift():
                    continue  # nothing is left but what takes long
                self._waiting.forget()
                self._screening.say_exhausted()
                break
            if trial.status == "IDLE":
                time.sleep(0.1)
                continue
            self.on_trial_begin(trial)
            self._try_run_and_update_trial(trial, *fit_args, **fit_kwargs)
            self.on_trial_end(trial)
        self.on_search_end()

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
        if not (done := self.checkpoints.ranked()[:num_models]):
            raise InvalidArgument(f"No trial of {self.project_dir} is completed, so there is no best model.")
        return [self.load_model(trial) for trial in done]

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[kt.HyperParameters]:
        """Return the hyperparameters of the best trials, in the order of `get_best_models`."""
        return [trial.hyperparameters for trial in self.checkpoints.ranked()[:num_trials]]

    def load_model(self, trial: Any) -> keras.Model:
        """Return the model of `trial` with the weights of its best epoch; as in `kt.Tuner`."""
        model = self._try_build(trial.hyperparameters)
        if not model.built:
            build_as(model, TrialHistory.read(Path(self.get_trial_dir(trial.trial_id)) / "build_config.json"))
        load_weights(model, self._get_checkpoint_fname(trial.trial_id))
        return model

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        """Train the model of `trial`, from its last finished epoch if a process was killed; as in `kt.Tuner`.

        An override may call it several times, once for each fold: the weights kept are those of the last call's best epoch.
        """
        call = self._calls.get(trial.trial_id, 0)
        self._calls = {trial.trial_id: call + 1}
        run = train_trial if self._process is None else self._process.run_trial
        return run(self, trial, call, args, kwargs)

    def choose_execution(self, model: keras.Model, batches: Batches, single_steps: bool) -> None:
        """Let TensorFlow run a training on arrays as it is fastest on a CPU; see `kerasnas.search.execution`."""
        choose_execution(model, batches.samples, batches.batch_size, single_steps=single_steps)

    def __getstate__(self) -> dict[str, Any]:
        # For the process of a trial, which needs no oracle but what its callbacks ask for.
        oracle = SimpleNamespace(objective=self.oracle.objective, get_space=self.oracle.get_space().copy)
        none = dict.fromkeys(("_progress", "_process", "_training", "time_ceiling"))
        return self.__dict__ | none | {"oracle": oracle, "_isolate": False}

    # -- what KerasTuner calls as a search goes on --

    def on_search_begin(self) -> None:
        """Write the tuner's state: a search killed during its first trial is then resumed, too."""
        super().on_search_begin()
        self.save()

    def on_trial_begin(self, trial: Any) -> None:
        """Seed the trial and open its history."""
        super().on_trial_begin(trial)
        keras.utils.set_random_seed(zlib.crc32(f"{self._seed}/{trial.trial_id}".encode()))
        path = Path(self.get_trial_dir(trial.trial_id)) / "history.json"
        self._history = TrialHistory(path, TrialHistory.read(path))
        self._budget.begin_trial(self._history.content["seconds"])
        self._calls = {}
        self._donor = self.checkpoints.donor(trial) if self.inherit else None
        if self._progress:
            self._progress.begin_trial(self._number(trial))

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the curves; end a training that has diverged or whose time is over."""
        super().on_epoch_end(trial, model, epoch, logs=logs)
        logs = {name: as_number(value) for name, value in (logs or {}).items()}
        if self._training is not None:
            self._training.end_epoch(model, logs)
            self._save_history()
        if self._progress:
            self._progress.end_epoch(self._history.epochs, logs)

    def on_trial_end(self, trial: Any) -> None:
        """Close the history, tell the oracle, and drop the checkpoints of trials that are not among the best."""
        self._history.content["message"] = trial.message  # KerasTuner sends no chief what a worker says
        self._waiting.restore(trial, self._history)
        self._save_history()
        try:
            super().on_trial_end(trial)
        finally:
            known = self.oracle.get_trial(trial.trial_id)
            if self._progress:
                self._progress.end_trial(
                    self._number(trial),
                    known.score,
                    self._history.content,
                    known.message or trial.message,
                    score_parts(self.oracle.objective, known),
                    again=self._waiting.is_under_way(trial),
                )
        if self.tensorboard is not None:
            self.tensorboard.end_trial(self.oracle.get_trial(trial.trial_id))
        self._waiting.end(trial)
        self.checkpoints.drop()

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
            if isinstance(self.oracle, StrategyOracle) and self.hypermodel is not None:
                explore(self.hypermodel, self.oracle, self.oracle.first_points)

    def _run_and_update_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> None:
        try:
            OwnResults(self).run_and_update(trial, *fit_args, **fit_kwargs)
        except Exception as error:
            if (other := retold(error, self.project_dir)) is not None:
                raise other from error
            raise

    def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        assert self._training is not None
        with asked(trial.hyperparameters, self._history.content["asked"]):
            return self._training.fit(self._try_build(trial.hyperparameters), args, kwargs)

    def _build_hypermodel(self, hp: kt.HyperParameters) -> Any:
        model = super()._build_hypermodel(hp)
        if not isinstance(model, keras.Model):
            return model  # reported by kt.Tuner
        if not model.compiled and type(self.hypermodel).fit is kt.HyperModel.fit:
            raise InvalidArgument(
                "The model that the HyperModel built is not compiled. Call model.compile(optimizer, loss, metrics) in build()."
            )
        check_input_shape(model, self._sample_shape)
        return model

    def _save_history(self) -> None:
        self._history.content |= {"seconds": self._budget.trial_seconds, "search_seconds": self._budget.search_seconds}
        self._history.save()

    def _number(self, trial: Any) -> int:
        return int(trial.trial_id) + 1 if trial.trial_id.isdigit() else len(self.oracle.get_best_trials(1_000_000))
