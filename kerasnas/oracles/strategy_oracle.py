"""The adapter between strategies and KerasTuner: the only file that knows both sides."""

import json
import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasnas.atomic import write_text
from kerasnas.decisions import decisions_of, entries_of
from kerasnas.errors import InvalidArgument, SearchFailed
from kerasnas.oracles.head_start import HeadStart
from kerasnas.oracles.ledger import write_decision, write_outcome
from kerasnas.record import SearchRecord
from kerasnas.strategies import Decision, Observation, Proposal, Strategy
from kerasnas.strategies.best_arm import best_arm
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

__all__ = ["StrategyOracle"]


class StrategyOracle(kt.Oracle):
    """Let a `Strategy` propose the trials of any KerasTuner search.

    Works with every HyperModel (conditional scopes, entries discovered during the search) and never proposes a configuration
    that was tried before; when none is left, the search ends. The proposal of trial n draws from a generator seeded with
    (seed, n), and the strategy is brought up to date by replaying the finished trials in the order in which they ended: a
    resumed search goes on exactly as the uninterrupted one. The strategy is told which trials are still running.

    The decision ledger: each trial's folder gets a `decision.json` before the trial runs, with the class of the "strategy", the
    trial's "number" from 0, "after" how many observations it was proposed, how many trials were "pending", how many trials of
    an "earlier" search were known, its "phase" and what else the strategy says of it (see `kerasnas.strategies.Proposal`), and
    the "beliefs" of the strategy. When the trial has ended, "observed" tells how many observations the strategy had before it,
    and "advantage" the one that the strategy gave to its score. Scores there are as the strategy sees them: higher is
    better.

    Args:
        strategy: what proposes; it is told `-score` where the objective is to be minimised.
        objective: as in `kt.Oracle`: a metric name, a `kt.Objective` or a list of them.
        max_trials: number of configurations to try at most; None for no limit.
        hyperparameters: as in `kt.Oracle`: entries that override or precede those of the HyperModel.
        seed: any integer, 0 included; None draws one, which is kept in `oracle.json`.
        allow_new_entries: as in `kt.Oracle`.
        tune_new_entries: as in `kt.Oracle`.
        max_retries_per_trial: as in `kt.Oracle`.
        max_consecutive_failed_trials: as in `kt.Oracle`: so many failures in a row end the search with an error.
        initial_points: configurations to try first, in order: dicts of name to value, or `kt.HyperParameters`. What one leaves
            out takes the default of its hyperparameter. They are checked as soon as the space is known.
        warm_start: a `SearchRecord` of an earlier search on the same or other data, or a list of them. Its trials,
            restricted to the choices that this space can make, are told to a strategy that learns from earlier searches; for
            any other strategy the best three configurations are tried first. Once a trial has begun, a resumed search goes
            by the initial points and the earlier searches that it began with.
    Raises:
        InvalidArgument: for a strategy, max_trials, seed, initial point or earlier search that cannot be used.
    """

    max_consecutive_failed_trials: int | None
    _retry_queue: list[str]
    trials: dict[str, Any]

    def __init__(
        self,
        strategy: Strategy,
        *,
        objective: Any = None,
        max_trials: int | None = 10,
        hyperparameters: kt.HyperParameters | None = None,
        seed: int | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        initial_points: Sequence[Mapping[str, Any] | kt.HyperParameters] | None = None,
        warm_start: SearchRecord | Sequence[SearchRecord] | None = None,
    ) -> None:
        if not isinstance(strategy, Strategy):
            raise InvalidArgument(f"Expected `strategy` to be a kerasnas.strategies.Strategy, got {strategy!r}.")
        if max_trials is not None and (not isinstance(max_trials, int) or max_trials < 1):
            raise InvalidArgument(f"Expected `max_trials` to be a positive integer or None, got {max_trials!r}.")
        if seed is not None and (not isinstance(seed, int) or seed < 0):
            raise InvalidArgument(f"Expected `seed` to be an integer >= 0 or None, got {seed!r}.")
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:  # kt.Oracle takes `seed or randint(...)`, and so replaces 0
            self.seed = self._seed_state = seed
        self.strategy = strategy
        self._head_start = HeadStart(initial_points, warm_start)
        self._decisions: list[Decision] | None = None
        self._observed: list[str] = []
        self._tried: set[Hashable] = set()  # identities of the observed trials
        self._error: Exception | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Ask the strategy for an untried configuration; called by `create_trial` under the oracle's lock."""
        # An exception here would leave KerasTuner's lock held and hang every other worker: `create_trial` raises it.
        try:
            choices = self._propose(trial_id)
        except Exception as error:
            self._error = error
            return {"status": "STOPPED", "values": None}
        if choices is not None:
            return {"status": "RUNNING", "values": choices}
        may_grow = self.ongoing_trials and self.allow_new_entries and self.tune_new_entries
        return {"status": "IDLE" if may_grow else "STOPPED", "values": None}

    def recommend(self) -> kt.HyperParameters:
        """Return the configuration with the best posterior mean score among the completed trials.

        A single training is noisy, and the best of many scores is partly luck: a model of all trials tells which one to
        trust; see `kerasnas.strategies.best_arm`.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        if not any(self.trials[trial_id].status == "COMPLETED" for trial_id in self.end_order):
            raise InvalidArgument(f"No trial is completed, so there is nothing to recommend; {len(self.trials)} were begun.")
        observations = [self._observation(trial_id) for trial_id in self.end_order]
        best = best_arm(decisions_of(entries_of(self.hyperparameters)), observations)
        return self.trials[self.end_order[best.index]].hyperparameters.copy()

    def earlier_trials(self) -> tuple[int, int]:
        """Return how many trials of `warm_start` can be used in the space as it is known now, and how many it has."""
        self._replay()
        return self._head_start.earlier

    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial; as in `kt.Oracle`."""
        trial = super().create_trial(tuner_id)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        # KerasTuner averages the metrics of a retry with those of the run that failed or was killed, NaN included.
        trial.metrics = type(trial.metrics)()
        return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """Take in the metrics of a trial; as in `kt.Oracle`."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # a diverged trial; judged in end_trial
            return super().update_trial(trial_id, metrics, step=step)

    def end_trial(self, trial: Any, status: str = "COMPLETED") -> None:
        """Take in a trial that ended, or is to be retried; as in `kt.Oracle`."""
        # What KerasTuner raises under its lock would leave the lock held: it is carried out of it.
        error = self._end_trial(trial, status)
        if error is not None:
            raise error
        limit = self.max_consecutive_failed_trials
        # kt.Oracle raises this before it saves the trial and with its lock held.
        recent = [self.trials[trial_id] for trial_id in self.end_order[-limit:]] if limit else []
        if recent and len(recent) == limit and all(t.status == "FAILED" for t in recent):
            raise SearchFailed(
                f"The last {limit} trials failed, and `max_consecutive_failed_trials` is {limit}. "
                f"The last of them said:\n{recent[-1].message or 'nothing'}"
            )

    @kt.synchronized
    def _end_trial(self, trial: Any, status: str) -> Exception | None:
        limit, self.max_consecutive_failed_trials = self.max_consecutive_failed_trials, None
        try:
            if isinstance(trial, str):  # the signature of KerasTuner 1.0
                super().end_trial(trial, status)
            else:
                self._reject_unless_finite(trial)
                super().end_trial(trial)
            self._replay()
        except Exception as error:
            return error
        finally:
            self.max_consecutive_failed_trials = limit
        return None

    def _reject_unless_finite(self, trial: Any) -> None:
        """Mark a completed trial invalid if its objective is NaN or infinite; KerasTuner would let +inf win."""
        if trial.status != "COMPLETED":
            return
        known = self.trials[trial.trial_id]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            self.score_trial(known)
        if known.score is None or not math.isfinite(known.score):
            trial.status = "INVALID"
            trial.message = f"The objective {self.objective.name!r} was {known.score}; expected a finite number."
            known.score, known.best_step = None, 0

    def reload(self) -> None:
        """Load the project folder, and mend what a kill between two writes leaves behind."""
        super().reload()
        # KerasTuner saves before it takes an ended trial off the ongoing ones, and so queues it to be run again.
        self._retry_queue = [i for i in dict.fromkeys(self._retry_queue) if i not in self.end_order]
        for trial_id in list(self._retry_queue):
            # Killed after trial.json and before oracle.json: the trial had ended.
            if self.trials[trial_id].status in ("COMPLETED", "FAILED"):
                self._retry_queue.remove(trial_id)
                self.end_order.append(trial_id)
                self._run_times[trial_id] += 1
                self.update_space(self.trials[trial_id].hyperparameters)
                self._record_values(self.trials[trial_id])
        for trial_id in sorted(set(self.trials) - set(self.start_order)):
            # Killed between the two writes of a new trial.
            self.start_order.append(trial_id)
            self._retry_queue.append(trial_id)
        # KerasTuner breaks ties by this order, and globbed the files in any.
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        # The queue is served from its end: oldest first.
        self._retry_queue.sort(reverse=True)
        # Not only at the next proposal: the outcome of the last trial may be missing, and the space is still that of its end.
        self._replay()

    def get_state(self) -> dict[str, Any]:
        """Return what `oracle.json` holds; as in `kt.Oracle`, with the initial points and the earlier searches."""
        return {**super().get_state(), "head_start": self._head_start.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `oracle.json` holds; as in `kt.Oracle`."""
        super().set_state(state)
        if self.trials:  # otherwise nothing rests on it yet, and a mistake in it can be mended
            self._head_start = HeadStart()
            self._head_start.set_state(state.get("head_start", self._head_start.get_state()))  # version 0.1 had none

    def save(self) -> None:
        """Write `oracle.json`, whole or not at all."""
        write_text(self._get_oracle_fname(), json.dumps(self.get_state()))

    def _save_trial(self, trial: Any) -> None:
        write_text(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    def _propose(self, trial_id: str) -> Proposal | None:
        self._replay()
        decisions, number = self._decisions or [], len(self.start_order)
        ended = set(self.end_order)
        running = [self.trials[i].hyperparameters.values for i in self.start_order if i not in ended]
        tried = self._tried.union(identity(decisions, values) for values in running)
        proposal = self._head_start.propose(decisions, tried, (t.hyperparameters.values for t in self.trials.values()))
        if proposal is None:
            pending = [{d.name: values[d.name] for d in active_decisions(decisions, values)} for values in running]
            rng = np.random.default_rng([self.seed, number])
            proposal = propose_untried(self.strategy, decisions, tried, rng, pending)
        if proposal is None:
            return None
        earlier, total = self._head_start.earlier
        if total and self.verbose and not self.trials:
            print(f"Warm start: {earlier} of {total} earlier trials can be used.")
        ledger = {
            "strategy": type(self.strategy).__name__,
            "number": number,
            "after": len(self._observed),
            "pending": len(running),
            "earlier": earlier,
            "phase": None,
            **proposal.why,
            "beliefs": self.strategy.beliefs(),
        }
        write_decision(self._get_trial_dir(trial_id), ledger)
        return proposal

    def _replay(self) -> None:
        """Bring the strategy up to date with the trials that have ended."""
        entries = entries_of(self.hyperparameters)
        decisions = decisions_of(entries)
        if decisions != self._decisions or self._observed != self.end_order[: len(self._observed)]:
            self._decisions, self._observed, self._tried = None, [], set()  # begun again if what follows raises
            self.strategy.start(decisions)
            self._head_start.begin(self.strategy, entries)
            self._decisions = decisions
        for trial_id in self.end_order[len(self._observed) :]:
            choices, score = self._observation(trial_id)
            expect = partial(self.strategy.advantage, dict(choices), score)
            write_outcome(self._get_trial_dir(trial_id), len(self._observed), expect)
            self.strategy.observe(choices, score)
            self._tried.add(identity(decisions, choices))
            self._observed.append(trial_id)

    def _observation(self, trial_id: str) -> Observation:
        """Return what the strategy is told of a trial that has ended."""
        trial = self.trials[trial_id]
        sign = 1.0 if self.objective.direction == "max" else -1.0
        return dict(trial.hyperparameters.values), sign * trial.score if trial.status == "COMPLETED" else math.nan
