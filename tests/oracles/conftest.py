"""Oracles driven as KerasTuner drives them, without training anything."""

import json
import math
import os
from contextlib import contextmanager, suppress

import keras_tuner as kt
import pytest

from kerasnas.oracles import StrategyOracle
from kerasnas.record import SearchRecord
from kerasnas.strategies import RandomSearch


def declare(hp):
    """A space with every kind of entry; returns the score of its values (higher is better)."""
    kind = hp.Choice("kind", ["conv", "dense"])
    with hp.conditional_scope("kind", ["conv"]):
        kernel = hp.Choice("kernel", [3, 5, 7])
        if kind == "conv":
            deep = hp.Boolean("deep")
            with hp.conditional_scope("deep", [True]):
                layers = hp.Int("layers", 2, 6, step=2)
    with hp.conditional_scope("kind", ["dense"]):
        units = hp.Int("units", 1, 500, sampling="log")
    rate = hp.Float("lr", 1e-4, 1e-1, sampling="log")
    hp.Fixed("classes", 10)
    score = -abs(math.log10(rate) + 3)
    if kind == "conv":
        return score + kernel / 7 + (layers / 6 if deep else 0)
    return score - units / 500


class Listener(RandomSearch):
    """Remembers what it was told since it was started last."""

    starts = 0

    def start(self, decisions):
        super().start(decisions)
        self.starts += 1
        self.told = []

    def observe(self, choices, score):
        self.told.append((choices, score))

    def advantage(self, choices, score):
        return score - max((s for _, s in self.told), default=score)


class Play:
    """Plays the tuner's part in searches below `folder`."""

    declare = staticmethod(declare)
    Listener = Listener

    @staticmethod
    def listener(**kwargs):
        return StrategyOracle(Listener(), **kwargs)

    def __init__(self, folder):
        self.folder = folder

    def make(self, cls, *, project="p", known=False, **kwargs):
        """Make an oracle; `known` tells it the space of `declare`."""
        kwargs = {"objective": kt.Objective("score", "max"), "max_trials": 12, "seed": 0} | kwargs
        oracle = cls(**kwargs)
        oracle.verbose = 0
        oracle._set_project_dir(str(self.folder), project)
        if known:
            self.discover(oracle)
        return oracle

    def discover(self, oracle, fn=declare):
        hp = oracle.get_space()
        for kind in ("conv", "dense"):
            for deep in (True, False):
                hp.values = {"kind": kind, "deep": deep}
                hp.ensure_active_values()
                fn(hp)
        oracle.update_space(hp)

    def finish(self, oracle, trial, score):
        """End a trial; a score of None stands for a failure."""
        if score is None:
            trial.status, trial.message = "FAILED", "out of luck"
        else:
            oracle.update_trial(trial.trial_id, {oracle.objective.name: score})
            trial.status = "COMPLETED"
        oracle.end_trial(trial)

    def step(self, oracle, fn=declare, tuner="tuner0"):
        """Run one trial; returns its values, or None at the end of the search."""
        trial = oracle.create_trial(tuner)
        if trial.status != "RUNNING":
            return None
        self.finish(oracle, trial, fn(trial.hyperparameters))
        return dict(trial.hyperparameters.values)

    def run(self, oracle, fn=declare):
        """Run trials to the end of the search; returns their values."""
        return list(iter(lambda: self.step(oracle, fn), None))

    def run_pairs(self, oracle, end):
        """Keep two trials running until the search ends; which of them ends next follows from the number that have ended."""
        while True:
            running = {}
            for worker in range(2):
                trial = oracle.create_trial(f"tuner{worker}")
                if trial.status == "RUNNING":
                    running[trial.trial_id] = trial
            if not running:
                return
            end(oracle, running[sorted(running)[len(oracle.end_order) % len(running)]])

    def history(self, project):
        """Return all that a search leaves: its trials, what it rejected, and its ledger."""
        record = SearchRecord.load(self.folder / project)
        state = json.loads((self.folder / project / "oracle.json").read_text())
        trials = [(t.trial_id, t.status, t.score, dict(t.values)) for t in record.trials]
        return trials, state["rejected"], self.ledger(project)

    def ledger(self, project="p"):
        """Return every decision.json, in the order of the trials."""

        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        files = sorted((self.folder / project).glob("trial_*/decision.json"))
        return [json.loads(file.read_text(), parse_constant=refuse) for file in files]


@pytest.fixture
def play(tmp_path):
    return Play(tmp_path)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """No test here pulls the plug of the machine, and an fsync takes as long as all the rest."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """Nothing in the package may catch it, as nothing catches a SIGKILL."""


@pytest.fixture
def writes_of(monkeypatch):
    """Run a block that is killed at the write of a file that follows `most` others, if it comes to it; yield its writes."""

    @contextmanager
    def writes_of(most):
        replace, targets = os.replace, []

        def count(source, target):
            targets.append(target)
            if len(targets) > most:
                raise Killed
            replace(source, target)

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(os, "replace", count)
            yield targets

    return writes_of


@pytest.fixture
def kill_after(writes_of):
    """Run a block that is killed at the write of a file that follows `writes` others."""

    @contextmanager
    def kill_after(writes):
        with writes_of(writes) as targets:
            yield
        assert len(targets) > writes, "the block ended before it was to be killed"

    return kill_after
