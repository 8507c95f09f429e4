"""How often the importance of hyperparameters is told rightly, where the truth is known.

    python benchmarks/importance_calibration.py --trials 50 --noise 0.2
    python benchmarks/importance_calibration.py --trials 15 --null

Random searches of the score 3a + b * 2d, with a and d from 0 to 1, b on or off, d there only where b is on, and a useless c
between 0 and 1. Of the variance over the space a explains 9/14, b 3/14 and d 2/14. For each of them it is told in how many
searches it is said to matter, and in how many the 95 % interval holds its true share. With --null the score is noise: what is
said to matter is wrong.
"""

import argparse
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras_tuner as kt
import numpy as np

from kerasnas.decisions import entries_of
from kerasnas.explain.search import importance
from kerasnas.record import SearchRecord, TrialRecord
from kerasnas.strategies.space import random_choices

TRUTH = {"a": 9 / 14, "b": 3 / 14, "c": 0.0, "d": 2 / 14}


def space() -> Any:
    """Return the space as a record holds it."""
    hp = kt.HyperParameters()
    hp.Float("a", 0.0, 1.0)
    hp.Choice("b", ["off", "on"])
    hp.Float("c", 0.0, 1.0)
    with hp.conditional_scope("b", ["on"]):
        hp.Float("d", 0.0, 1.0)
    return tuple(MappingProxyType(entry) for entry in entries_of(hp))


def record_of(trials: tuple[TrialRecord, ...]) -> SearchRecord:
    return SearchRecord(
        path=Path("planted"), objective="score", direction="max", max_trials=len(trials), oracle=None, seed=0, space=space(),
        trials=trials, objectives=(("score", "max"),), rejected=(),
    )  # fmt: skip


def search(count: int, noise: float, null: bool, rng: np.random.Generator) -> SearchRecord:
    """Return a random search of `count` trials."""
    decisions = record_of(()).decisions
    trials = []
    for number in range(count):
        values = random_choices(decisions, rng)
        truth = 0.0 if null else 3 * values["a"] + (2 * values["d"] if values["b"] == "on" else 0.0)
        score = truth + noise * rng.normal()
        trials.append(
            TrialRecord(
                trial_id=f"{number:04d}",
                status="COMPLETED",
                score=score,
                best_epoch=0,
                values=MappingProxyType(dict(values)),
                metrics=MappingProxyType({"score": score}),
                curves=(),
                seconds=None,
                parameters=None,
                message=None,
                decision=None,
            )
        )
    return record_of(tuple(trials))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--noise", type=float, default=0.2, help="standard deviation")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--method", default="reward_model")
    parser.add_argument("--null", action="store_true", help="a score of noise alone")
    options = parser.parse_args()
    matters, held, claims = dict.fromkeys(TRUTH, 0), dict.fromkeys(TRUTH, 0), 0
    for seed in range(options.searches):
        rng = np.random.default_rng(seed)
        told = importance(search(options.trials, options.noise, options.null, rng), method=options.method)
        said = {name: told[name].verdict == "matters" for name in TRUTH}
        claims += any(said.values())
        for name, share in TRUTH.items():
            matters[name] += said[name]
            held[name] += told[name].low <= share <= told[name].high
    print(f"{options.searches} searches of {options.trials} trials, noise {options.noise}: something matters in {claims}\n")
    print("| hyperparameter | true share | matters | interval holds it |\n|---|---|---|---|")
    for name, share in TRUTH.items():
        known = ("0", "") if options.null else (f"{share:.2f}", str(held[name]))
        print(f"| {name} | {known[0]} | {matters[name]} | {known[1]} |")


if __name__ == "__main__":
    main()
