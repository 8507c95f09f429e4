"""Searches whose truth is known: a score 3a + b, a useless c, and d, which is there only where b is on."""

from pathlib import Path
from types import MappingProxyType

import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.decisions import entries_of
from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.strategies.space import random_choices


def planted_space(hp):
    hp.Float("a", 0.0, 1.0)
    hp.Choice("b", ["off", "on"])
    hp.Float("c", 0.0, 1.0)
    with hp.conditional_scope("b", ["on"]):
        hp.Float("d", 0.0, 1.0)


def planted_score(values):
    return 3 * values["a"] + (2 * values["d"] if values["b"] == "on" else 0.0)


# Var(3a) = 9/12; E[y | b] differs by 1, so that Var(E[y | b]) = 1/4; d is there half of the time: 1/2 Var(2d) = 1/2 * 4/12.
VARIANCES = {"a": 9 / 12, "b": 1 / 4, "c": 0.0, "d": 1 / 6}
SHARES = {name: variance / sum(VARIANCES.values()) for name, variance in VARIANCES.items()}


def entries(declare):
    hp = kt.HyperParameters()
    declare(hp)
    return entries_of(hp)


def record_of(space, configurations, scores, *, direction="max", policies=None, **fields):
    """Make a record of completed trials; a score of None is a failure."""
    trials = tuple(
        TrialRecord(
            trial_id=f"{i:03d}",
            status="FAILED" if score is None else "COMPLETED",
            score=None if score is None else float(score),
            best_epoch=0,
            values=MappingProxyType(dict(values)),
            metrics=MappingProxyType({} if score is None else {"score": float(score)}),
            curves=(),
            seconds=None,
            parameters=None,
            message=None,
            decision=None if policies is None or policies[i] is None else {"beliefs": policies[i]},
        )
        for i, (values, score) in enumerate(zip(configurations, scores, strict=True))
    )
    given = {
        "path": Path("planted"),
        "objective": "score",
        "direction": direction,
        "max_trials": len(trials),
        "oracle": None,
        "seed": 0,
        "space": tuple(MappingProxyType(entry) for entry in space),
        "trials": trials,
        "objectives": (("score", direction),),
        "rejected": (),
    }
    return SearchRecord(**given | fields)


@pytest.fixture(scope="session")
def make_record():
    return record_of


@pytest.fixture(scope="session")
def random_record():
    """Make the record of a random search over a space."""

    def make(declare, score, trials, *, noise=0.0, seed=0, direction="max"):
        space = entries(declare)
        rng = np.random.default_rng(seed)
        decisions = record_of(space, [], []).decisions
        configurations = [random_choices(decisions, rng) for _ in range(trials)]
        sign = 1 if direction == "max" else -1
        scores = [sign * (score(values) + noise * rng.normal()) for values in configurations]
        return record_of(space, configurations, scores, direction=direction)

    return make


@pytest.fixture(scope="session")
def planted(random_record):
    """Make the record of a random search in the planted space."""

    def make(trials, *, noise=0.2, seed=0, direction="max"):
        return random_record(planted_space, planted_score, trials, noise=noise, seed=seed, direction=direction)

    return make


@pytest.fixture(scope="session")
def planted_shares():
    return SHARES


@pytest.fixture(scope="session")
def planted_truth():
    return planted_score


@pytest.fixture(scope="session")
def planted_declare():
    return planted_space


def additive_space(hp):
    hp.Float("rate", 0.0, 1.0, default=0.0)
    hp.Choice("kernel", [3, 5, 7], ordered=False, default=3)
    hp.Boolean("norm", default=False)


TERMS = {3: 0.0, 5: 2.0, 7: -1.0}


def additive_score(values):
    return 1.0 * values["rate"] + TERMS[values["kernel"]] + (0.4 if values["norm"] else 0.0)


@pytest.fixture(scope="session")
def additive(random_record):
    """Make the record of a random search of an additive score: rate + (0, 2 or -1 by kernel) + 0.4 norm."""

    def make(trials=50, *, noise=0.0, seed=0, direction="max"):
        return random_record(additive_space, additive_score, trials, noise=noise, seed=seed, direction=direction)

    make.score = additive_score
    return make
