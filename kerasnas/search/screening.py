"""What is known of a network before it is trained: its cost, and whether it was trained before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt

from kerasnas.cost import cost_of
from kerasnas.errors import InvalidArgument
from kerasnas.fingerprint import fingerprint
from kerasnas.oracles.rejections import Rejection
from kerasnas.search.expected_latency import Work, expected_latency, work_of
from kerasnas.search.limits import Limits
from kerasnas.search.trial_history import TrialHistory

__all__ = ["Screened", "Screening"]


@dataclass(frozen=True)
class Screened:
    """What is known of the network of a configuration.

    Attributes:
        costs: metrics of the trial: "parameters", "macs", "activation_bytes", and "latency_ms" where it is needed.
        fingerprint: the same for two networks whose training is the same; None if that cannot be told.
        violations: the limits that it breaks, as sentences.
        excess: see `kerasnas.search.limits.CostReport`.
    """

    costs: Mapping[str, float]
    fingerprint: str | None
    violations: tuple[str, ...]
    excess: float = 0.0


class Screening:
    """Rejects proposals that break a limit, train the network of an earlier trial again, or take too long so early.

    Args:
        tuner: the `NASTuner`.
    """

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner
        self._screened: dict[str, Screened] = {}
        self._measured: list[tuple[Work, float]] = []

    def __call__(self, hp: kt.HyperParameters) -> Rejection | None:
        """Return why `hp` is not to be tried; None if it is."""
        screened = self.known(hp)
        if screened.violations:
            return Rejection("; ".join(screened.violations), excess=screened.excess)
        for trial_id, trial in self._tuner.oracle.trials.items():
            if screened.fingerprint is not None and self._fingerprint(trial) == screened.fingerprint:
                return Rejection(f"It trains the same network as trial {trial_id}.", twin=trial_id)
        ceiling = self._tuner.time_ceiling
        return None if ceiling is None else ceiling.check(screened.costs)

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
            work = work_of(model, cost.macs)
            known = next((ms for each, ms in self._measured if each.signature == work.signature), None)
            report = limits.check(model, cost=cost, expected_ms=expected_latency(work, self._measured), known_ms=known)
            if report.latency_ms is not None and known is None:
                self._measured.append((work, report.latency_ms))
            costs = dict(report.metrics)
            if self._needs_latency and not report.violations and "latency_ms" not in costs:
                from kerasnas.search.latency import measure_latency  # brings the converter and onnxruntime with it

                costs["latency_ms"] = measure_latency(model)
        except InvalidArgument:  # a model whose graph cannot be followed can be trained all the same
            if limits != Limits() or self._needs_latency:
                raise
            return Screened({"parameters": float(model.count_params())} if model.built else {}, None, ())
        return Screened(costs, self._identify(hp, model), report.violations, report.excess)

    def _identify(self, hp: kt.HyperParameters, model: keras.Model) -> str | None:
        hypermodel = self._tuner.hypermodel
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
        return self.known(trial.hyperparameters).fingerprint

    @property
    def _needs_latency(self) -> bool:
        objective = self._tuner.oracle.objective
        parts = [objective, *getattr(objective, "objectives", ())]
        return any("latency_ms" in (part.name, getattr(part, "cost", None)) for part in parts)
