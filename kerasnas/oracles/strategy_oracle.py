"""The adapter between strategies and KerasTuner: the only file that knows both sides."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasnas.decisions import completed, decisions_of, entries_of
from kerasnas.errors import InvalidArgument, SearchFailed
from kerasnas.objectives import with_direction
from kerasnas.oracles.best_first import best_first
from kerasnas.oracles.ended_trial import amend, is_old_news, reject_unless_finite
from kerasnas.oracles.excuses import LOST, check_failures, message_of_worker
from kerasnas.oracles.head_start import HeadStart
from kerasnas.oracles.ledger import write_decision
from kerasnas.oracles.mended_oracle import MendedOracle
from kerasnas.oracles.recovery import ENDED, Recovery
from kerasnas.oracles.rejections import REPAIR, Rejected, Rejection, Rejections, Screen, by_turns, explain, give_up
from kerasnas.oracles.repair import repair
from kerasnas.oracles.replay import Replay, Turn
from kerasnas.oracles.several_objectives import SeveralObjectives
from kerasnas.oracles.told import Told
from kerasnas.record import SearchRecord
from kerasnas.strategies import Proposal, RandomSearch, Strategy
from kerasnas.strategies.best_arm import best_arm
from kerasnas.strategies.decision import active_choices
from kerasnas.strategies.learned_conditions import Use, with_learned_conditions
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

__all__ = ["StrategyOracle"]

# After so many rejections every second proposal is random (a strategy may cling to a good twin); after so many the search ends.
_PATIENCE, _REJECTED_IN_A_ROW = 20, 200


class StrategyOracle(MendedOracle):
    """Let a `Strategy` propose the trials of any KerasTuner search.

    Works with every HyperModel (conditional scopes, entries discovered during the search) and never proposes a configuration
    that was tried before; when none is left, the search ends. The proposal of trial n draws from a generator seeded with
    (seed, n), and the strategy is brought up to date by replaying the finished trials in the order in which they ended: a
    resumed search goes on exactly as the uninterrupted one. The strategy is told which trials are still running.

    The decision ledger: each trial's folder gets a `decision.json` before the trial runs, see `kerasnas.oracles.ledger`.

    Several objectives: a trial's score is the number of its front, 0 for the Pareto front, plus its place within that front,
    the knee first: see `kerasnas.oracles.several_objectives`. Lower is better; the best trial is the best compromise.

    Early stopping: of a trial that `NASTuner` stopped, the strategy is told the score that it was expected to come to.

    Screening: before a trial is spent on a configuration, `screen` is asked whether it breaks a limit or trains the same
    network as an earlier trial. If so, the strategy is told (NaN, or the score of that trial once it has ended), and what
    exceeds a limit is repaired (see `kerasnas.oracles.repair`) or proposed anew. What was rejected is kept in `oracle.json`.

    Args:
        strategy: what proposes; it is told `-score` where the objective is to be minimised.
        objective: as in `kt.Oracle`: a metric name, a `kt.Objective` or a list of them; a list of one is that one.
        max_trials: number of configurations to try at most; None for no limit.
        hyperparameters: as in `kt.Oracle`: entries that override or precede those of the HyperModel.
        seed: any integer, 0 included; None draws one, which is kept in `oracle.json`.
        allow_new_entries, tune_new_entries, max_retries_per_trial: as in `kt.Oracle`.
        max_consecutive_failed_trials: as in `kt.Oracle`: so many failures in a row end the search with an error. Trials whose
            memory ran out, or whose architecture is infeasible (any `kt.errors.FailedTrialError`), are passed over.
        initial_points: configurations to try first, in order: dicts of name to value, or `kt.HyperParameters`. What one leaves
            out takes the default of its hyperparameter. They are checked as soon as the space is known.
        warm_start: a `SearchRecord` of an earlier search on the same or other data, or a list of them. Its trials,
            restricted to the choices that this space can make, are told to a strategy that learns from earlier searches; for
            any other strategy the best three configurations are tried first. Once a trial has begun, a resumed search goes
            by the initial points and the earlier searches that it began with.
    Attributes:
        screen: None, the default, screens nothing. Else it is called with the `kt.HyperParameters` of a proposal, in the
            process that holds the oracle, and returns a `kerasnas.oracles.rejections.Rejection`, or None if a trial is to be
            spent on them. If it raises, the proposal is not rejected: the trial itself will fail and say why.
        first_points: what `initial_points` and the best of `warm_start` say, as given: the space may have yet to grow.
        proposed_as: the phase of the proposal that `screen` is asked about, as in the decision ledger.
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
            objective=with_direction(objective[0] if isinstance(objective, list) and len(objective) == 1 else objective),
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
        self.screen: Screen | None = None
        self.proposed_as: str | None = None
        self._head_start = HeadStart(initial_points, warm_start)
        self.first_points = self._head_start.points
        self.several_objectives = SeveralObjectives(self.objective)
        strategy.scores_change = bool(self.several_objectives)
        self._rejected = Rejections()
        self._replayed = Replay(strategy)
        self._told = Told(self._get_trial_dir)
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
            return {"status": "RUNNING", "values": completed(entries_of(self.hyperparameters), choices)}
        may_grow = (self.allow_new_entries and self.tune_new_entries) or self._replayed.has_learned
        return {"status": "IDLE" if self.ongoing_trials and may_grow else "STOPPED", "values": None}

    def recommend(self) -> kt.HyperParameters:
        """Return the configuration with the best posterior mean score among the completed trials.

        A single training is noisy, and the best of many scores is partly luck: a model of all trials tells which one to
        trust; see `kerasnas.strategies.best_arm`.

        Raises:
            InvalidArgument: if no trial is completed.
        """
        if not any(self.trials[trial_id].status == "COMPLETED" for trial_id in self.end_order):
            raise InvalidArgument(f"No trial is completed, so there is nothing to recommend; {len(self.trials)} were begun.")
        observations = [(dict(self.trials[i].hyperparameters.values), self._merit(i)) for i in self.end_order]
        best = best_arm(with_learned_conditions(decisions_of(entries_of(self.hyperparameters)), self._uses()), observations)
        return self.trials[self.end_order[best.index]].hyperparameters.copy()

    def forgive(self, forgiven: Callable[[Rejected], bool]) -> int:
        """Let what was rejected for its cost be proposed again, where `forgiven` says so; return how many that are."""
        return self._rejected.forgive(forgiven)

    def earlier_trials(self) -> tuple[int, int]:
        """Return how many trials of `warm_start` can be used in the space as it is known now, and how many it has."""
        self._replay()
        return self._head_start.earlier

    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial; as in `kt.Oracle`."""
        if self.serves and self.failure is not None:
            raise self.failure
        trial = self._outside_lock(super().create_trial, tuner_id)
        error, self._error = self._error, None
        if error is not None:
            self.failure = error
            raise error
        # KerasTuner averages the metrics of a retry with those of the run that failed or was killed, NaN included.
        trial.metrics = type(trial.metrics)()
        return trial

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials, of equals the cheaper network first; as in `kt.Oracle`."""
        others = (trial for trial in self.trials.values() if trial.status != "COMPLETED")
        return [*best_first(self.trials.values(), self.objective.direction), *others][:num_trials]

    def score_trial(self, trial: Any) -> None:
        """Set the score of a trial that ended; with several objectives, those of all trials."""
        if not self.several_objectives:
            super().score_trial(trial)
            return
        done = [t for t in self.trials.values() if t.status == "COMPLETED" and t is not trial]
        self.several_objectives.rescore([*done, trial])
        trial.best_step = trial.metrics.get_history(next(iter(self.several_objectives.directions)))[-1].step

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
        """Take in the metrics of a trial; as in `kt.Oracle`."""
        self.several_objectives.register(self.trials[trial_id], metrics)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # a diverged trial; judged in end_trial
            return self._outside_lock(super().update_trial, trial_id, metrics, step=step)

    def end_trial(self, trial: Any, status: str = "COMPLETED") -> None:
        """Take in a trial that ended, or is to be retried; as in `kt.Oracle`."""
        self._outside_lock(self._end_trial, trial, status)
        # kt.Oracle does this before it saves the trial and with its lock held.
        ended = self.trials[trial if isinstance(trial, str) else trial.trial_id]
        order = [self.trials[i] for i in self.end_order]
        self._outside_lock(check_failures, order, ended, self.max_consecutive_failed_trials)

    def _end_trial(self, trial: Any, status: str) -> None:
        limit, self.max_consecutive_failed_trials = self.max_consecutive_failed_trials, None
        try:
            if isinstance(trial, str):  # the signature of KerasTuner 1.0, which would end it with the defaults as values
                trial, trial.status = copy.copy(self.trials[trial]), status
            if trial.trial_id in self.end_order:
                amend(self, trial)
                self._told.forget(trial.trial_id)
            else:
                reject_unless_finite(self, trial)
                if is_old_news(self, trial):
                    return
                if trial.status in ("FAILED", "INVALID") and trial.message is None:  # KerasTuner sends none to a chief
                    trial.message = message_of_worker(Path(self._get_trial_dir(trial.trial_id)), trial.status)
                super().end_trial(trial)
            self._replay()
        finally:
            self.max_consecutive_failed_trials = limit

    def reload(self) -> None:
        """Load the project folder, and mend what a kill between two writes, or a damaged disk, leaves behind."""
        recovery = Recovery(Path(self._project_dir), self.get_state(), self._trial_id)
        self.trials = recovery.trials
        self.set_state(recovery.state)
        self._retry_queue = []
        for trial_id in sorted(self.trials, key=int):
            trial = self.trials[trial_id]
            if trial_id not in self.start_order:
                self.start_order.append(trial_id)  # killed between the two writes of a new trial
            if trial.status not in ENDED:
                if trial_id not in recovery.at_workers.values():
                    self._retry_queue.append(trial_id)
            elif trial_id not in self.end_order:
                # Killed after trial.json and before oracle.json: the trial had ended.
                self.end_order.append(trial_id)
                self._run_times[trial_id] += 1
                self.update_space(trial.hyperparameters)
                if trial.message != LOST:  # KerasTuner would give it random values
                    self._record_values(trial)
        self.carried = {name: self.trials[i] for name, i in recovery.at_workers.items()}
        self.ongoing_trials, self.tuner_ids = dict(self.carried), set(self.carried)
        # KerasTuner breaks ties by this order.
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        # The queue is served from its end: oldest first.
        self._retry_queue.reverse()
        if self.several_objectives:
            self.several_objectives = SeveralObjectives(self.objective)
            self.several_objectives.rescore(t for t in self.trials.values() if t.status == "COMPLETED")
        elif recovery.state.get("objectives"):  # version 0.1 scored a list of one by fronts
            for trial in (t for t in self.trials.values() if t.status == "COMPLETED"):
                self.score_trial(trial)
                self._save_trial(trial)
            self.save()
        for trial_id in recovery.restored:
            self._save_trial(self.trials[trial_id])
        if recovery.damaged:
            self.save()
        # Not only at the next proposal: the last outcome may be missing, and the space is still that of its end.
        self._replay()

    def get_state(self) -> dict[str, Any]:
        """Return what `oracle.json` holds: as in `kt.Oracle`, and what a resumed search goes by."""
        return {
            **super().get_state(),
            "objectives": [{"name": name, "direction": way} for name, way in self.several_objectives.directions.items()],
            "head_start": self._head_start.get_state(),
            "rejected": self._rejected.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `oracle.json` holds; as in `kt.Oracle`."""
        super().set_state(state)
        self._rejected = Rejections(state.get("rejected", []))
        if self.trials:  # otherwise nothing rests on it yet, and a mistake in it can be mended
            self._head_start = HeadStart()
            self._head_start.set_state(state.get("head_start", self._head_start.get_state()))  # version 0.1 had none

    def _trial_id(self, number: int) -> str:
        return f"{number:0{len(str(self.max_trials))}d}"  # as KerasTuner has it

    def _propose(self, trial_id: str) -> Proposal | None:
        made: list[Proposal] = []  # and rejected
        try:
            while sum(each.why.get("phase") != REPAIR for each in made) < _REJECTED_IN_A_ROW:
                proposal = self._ask()
                if proposal is None:
                    if self._rejected and not self.trials:
                        raise SearchFailed(f"No configuration of the space is left to try.\n{explain(self._rejected.all)}")
                    return None
                if not self._reject(proposal):
                    self._write_decision(trial_id, proposal)
                    return proposal
                made.append(proposal)
            raise SearchFailed(give_up(self._rejected.all[-len(made) :]))
        finally:
            # Before the trial is known: a resumed search must have been told the same as this one.
            if made:
                self.save()

    def _ask(self) -> Proposal | None:
        """Return an untried configuration, or None if none is left."""
        self._replay()
        decisions, number = self._replayed.decisions or [], len(self.start_order)
        running = self._running()
        under_way = [*running, *self._rejected.untold()]
        tried = self._replayed.tried.union(identity(decisions, values) for values in under_way)
        attempt, chain = self._rejected.attempts(number), self._rejected.chain(number)
        proposal = repair(decisions, chain, tried, [self.seed, number, attempt - len(chain)])
        if proposal is None:
            proposal = self._head_start.propose(decisions, tried, (t.hyperparameters.values for t in self.trials.values()))
        if proposal is not None:
            return proposal
        pending = [active_choices(decisions, values) for values in running]
        rng = np.random.default_rng([self.seed, number, attempt] if attempt else [self.seed, number])
        strategy = self.strategy
        if self._rejected.wanted(number) >= _PATIENCE and attempt % 2:
            strategy = RandomSearch()
            strategy.start(decisions)
        return propose_untried(strategy, decisions, tried, rng, pending)

    def _reject(self, proposal: Proposal) -> bool:
        """Tell whether `screen` rejects a proposal, and remember it if so."""
        hp = self.hyperparameters.copy()
        hp.values = completed(entries_of(hp), proposal)
        rejection: Rejection | None = None
        self.proposed_as = phase = proposal.why.get("phase")
        with suppress(Exception):  # the trial will meet the same error, and tell it
            rejection = self.screen(hp) if self.screen is not None else None
        if rejection is None:
            return False
        with suppress(RuntimeError):  # new entries that are not allowed
            self.update_space(hp)
        number = len(self.start_order)
        self._rejected.add(rejection, dict(hp.values), after=len(self.end_order), number=number, phase=phase)
        if self.verbose and phase in ("initial point", "warm start"):
            print(f"The {phase} {dict(proposal)} is not tried as it is: {rejection.reason}")
        return True

    def _running(self) -> list[dict[str, Any]]:
        ended, entries = set(self.end_order), entries_of(self.hyperparameters)  # which may have grown since they began
        return [completed(entries, self.trials[i].hyperparameters.values) for i in self.start_order if i not in ended]

    def _write_decision(self, trial_id: str, proposal: Proposal) -> None:
        earlier, total = self._head_start.earlier
        if total and self.verbose and not self.trials:
            print(f"Warm start: {earlier} of {total} earlier trials can be used.")
        ledger = {
            "strategy": type(self.strategy).__name__,
            "number": len(self.start_order),
            "after": len(self._replayed.observed),
            "pending": len(self._running()),
            "rejected": self._rejected.attempts(len(self.start_order)),
            "earlier": earlier,
            "phase": None,
            **proposal.why,
            "values": dict(proposal),
            "beliefs": self.strategy.beliefs(),
        }
        write_decision(self._get_trial_dir(trial_id), ledger)

    def _replay(self) -> None:
        """Bring the strategy up to date with the trials that have ended and what was rejected."""
        rewards = self.several_objectives.rewards(self.end_order, self.trials) if self.several_objectives else None
        score = self._merit if rewards is None else rewards.__getitem__
        turns = []
        for trial_id, rejected in by_turns(self.end_order, self._rejected.all):
            if rejected is not None:
                turns.append(Turn.of(rejected.values, score(trial_id) if trial_id else math.nan, None))
            elif self.trials[trial_id].message != LOST:
                turns.append(Turn.of(self.trials[trial_id].hyperparameters.values, score(trial_id), trial_id))
        entries = entries_of(self.hyperparameters)
        self._replayed.update(entries, self._uses(), turns, self._head_start, self._get_trial_dir)

    def _uses(self) -> list[Use]:
        """Return what the completed trials used of their values."""
        return [use for trial_id in self.end_order if (use := self._told.use(self.trials[trial_id])) is not None]

    def _merit(self, trial_id: str) -> float:
        """Return the score of a trial that has ended, or what a stopped one would have: higher is better, NaN if it failed."""
        trial = self.trials[trial_id]
        if trial.status != "COMPLETED":
            return math.nan
        if self.several_objectives:
            return -float(trial.score)
        score = self._told.score(trial)
        return score if self.objective.direction == "max" else -score
