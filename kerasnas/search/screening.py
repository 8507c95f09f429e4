"""What is known of a network before it is trained: its cost, and whether it was trained before."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from kerasnas.cost import Cost, cost_of
from kerasnas.errors import InvalidArgument
from kerasnas.fingerprint import fingerprint
from kerasnas.oracles.rejections import REPAIR, Rejection
from kerasnas.search.expected_latency import work_of
from kerasnas.search.latencies import Latencies
from kerasnas.search.limits import Limits
from kerasnas.search.trial_history import TrialHistory

__all__ = ["Screened", "Screening"]


_SAID_AFTER = 50


@dataclass(frozen=True)
class Screened:
    """What is known of the network of a configuration.

    Attributes:
        costs: metrics of the trial: "parameters", "macs", "activation_bytes", and "latency_ms" where it is needed.
        fingerprint: the same for two networks whose training is the same; None if that cannot be told.
        violations: the limits that it breaks, as sentences.
        excess: the largest cost in units of its limit, and all costs in one number.
    """

    costs: Mapping[str, float]
    fingerprint: str | None
    violations: tuple[str, ...]
    excess: tuple[float, float] = (0.0, 0.0)


class Screening:
    """Rejects proposals that break a limit, train the network of an earlier trial again, or take too long so early.

    Args:
        tuner: the `NASTuner`.
        identifies: False if it runs trials in its own way: no two of them are taken for the same training then.
    """

    def __init__(self, tuner: Any, *, identifies: bool = True) -> None:
        self._tuner, self._identifies = tuner, identifies
        self._screened: dict[str, Screened] = {}
        # Excess and reason of what was rejected since the last trial, and how many of them were repairs.
        self._vain: list[tuple[tuple[float, float], str]] = []
        self._repairs = 0
        self._latencies = Latencies(Path(tuner.project_dir))

    def __call__(self, hp: kt.HyperParameters) -> Rejection | None:
        """Return why `hp` is not to be tried; None if it is."""
        if self._tuner.hypermodel is None:
            return None
        screened = self.known(hp)
        if screened.violations:
            reason = "; ".join(screened.violations)
            self._count(screened.excess, reason)
            return Rejection(reason, excess=screened.excess)
        self._vain.clear()
        self._repairs = 0
        for trial_id, trial in self._tuner.oracle.trials.items():
            if screened.fingerprint is not None and self._fingerprint(trial) == screened.fingerprint:
                return Rejection(f"It trains the same network as trial {trial_id}.", twin=trial_id)
        ceiling = self._tuner.time_ceiling
        return None if ceiling is None else ceiling.check(screened.costs)

    def _count(self, excess: tuple[float, float], reason: str) -> None:
        """Say how far a search has come that finds nothing within the limits: after 50 networks, 100, 200, ..."""
        self._vain.append((excess, reason))
        self._repairs += self._tuner.oracle.proposed_as == REPAIR
        turns, rest = divmod(len(self._vain), _SAID_AFTER)
        if self._tuner._progress and not rest and turns & (turns - 1) == 0:
            # Counted as where the search gives up.
            count = f"{len(self._vain) - self._repairs} proposals in a row and {self._repairs} repairs of them"
            self._tuner._progress.say(f"{count} cost too much; the nearest to the limits: {min(self._vain)[1]}")

    def say_exhausted(self) -> None:
        """Say that the search ends before its last trial because nothing is left to try, where it does."""
        oracle, progress = self._tuner.oracle, self._tuner._progress
        if not (progress and isinstance(oracle, kt.Oracle)) or len(oracle.trials) >= (oracle.max_trials or 0):
            return  # a worker has a proxy
        rejected = getattr(oracle, "_rejected", None)
        twins = sum(one.twin is not None for one in rejected.all) if rejected else 0
        others = len(rejected.all) - twins if rejected else 0
        why = f"; {twins} proposals would have trained the same network as an earlier trial" if twins else ""
        why += f"; {others} were rejected for other reasons, which the record tells" if others else ""
        progress.say(f"Nothing new is left to try after {len(oracle.trials)} of {oracle.max_trials} trials{why}.")

    def known(self, hp: kt.HyperParameters, model: keras.Model | None = None) -> Screened:
        """Return what is known of the network of `hp`, which is built unless it is given."""
        key = json.dumps(hp.values, sort_keys=True)
        if key not in self._screened:
            self._screened[key] = self._screen(hp, self._tuner.hypermodel.build(hp.copy()) if model is None else model)
        return self._screened[key]

    def _screen(self, hp: kt.HyperParameters, model: keras.Model) -> Screened:
        limits = self._tuner.limits
        try:
            cost = cost_of(model)
            latency_ms, expected_ms = self._latency(model, cost)
        except InvalidArgument:  # a model whose graph cannot be followed can be trained all the same
            if limits != Limits() or self._needs_latency:
                raise
            return Screened({"parameters": float(model.count_params())} if model.built else {}, None, ())
        costs = {name: float(getattr(cost, name)) for name in ("parameters", "macs", "activation_bytes")}
        report = limits.check(cost, latency_ms=latency_ms, expected_ms=expected_ms)
        if latency_ms is not None:
            costs["latency_ms"] = latency_ms
        identity = None if report.violations else self._identify(hp, model)
        return Screened(costs, identity, report.violations, (report.excess, sum(map(math.log1p, costs.values()))))

    def _latency(self, model: keras.Model, cost: Cost) -> tuple[float | None, float | None]:
        """Return the latency of a model if it is limited or an objective, or else what is expected, where that decides."""
        limits = self._tuner.limits
        if limits.latency_ms is None and not self._needs_latency:
            return None, None
        work = work_of(model, cost.macs)
        known, expected = self._latencies.known(work), self._latencies.expected(work)
        if known is None and limits.check(cost).violations:
            return None, expected
        if known is None and expected is not None and limits.latency_ms is not None:
            if self._latencies.is_clear(expected, limits.latency_ms):
                return None, expected
        return self._latencies.of(model, work), None

    def _identify(self, hp: kt.HyperParameters, model: keras.Model) -> str | None:
        hypermodel = self._tuner.hypermodel
        if not self._identifies:
            return None
        if type(hypermodel).fit is kt.HyperModel.fit:
            names: tuple[str, ...] = ()
        elif hasattr(hypermodel, "fit_hyperparameters"):
            names = tuple(hypermodel.fit_hyperparameters)
        else:
            return None  # what its fit makes of the hyperparameters is not known
        return fingerprint(model, extra={name: hp.values.get(name) for name in names})

    def _fingerprint(self, trial: Any) -> str | None:
        key = json.dumps(trial.hyperparameters.values, sort_keys=True)
        if key not in self._screened:
            # A trial of an earlier process: told by its history, or by building its network once more.
            history = TrialHistory.read(Path(self._tuner.get_trial_dir(trial.trial_id)) / "history.json")
            if "fingerprint" in history and history["costs"]:
                self._screened[key] = Screened(history["costs"], history["fingerprint"], ())
            else:
                try:
                    self.known(trial.hyperparameters)
                except Exception:  # it cannot be built: the trial itself has said so
                    self._screened[key] = Screened({}, None, ())
        return self._screened[key].fingerprint

    @property
    def _needs_latency(self) -> bool:
        objective = self._tuner.oracle.objective
        parts = [objective, *getattr(objective, "objectives", ())]
        return any("latency_ms" in (part.name, getattr(part, "cost", None)) for part in parts)
