"""Searches to be compared: ours, those of KerasTuner and Optuna with their defaults, and two published baselines.

Each is a generator: it yields choices and is sent their score, larger is better. It ends when it has nothing left to try.
"""

import hashlib
import importlib
import importlib.util
import inspect
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import kerasnas.strategies
from kerasnas.strategies import Choices, Discrete, Scalar, Strategy
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

__all__ = ["CONTENDERS", "Contender", "Search"]

Search = Generator[Choices, float, None]

# Of the sources that are imported above, not of what they have become when a long benchmark ends.
_SOURCES = sorted(Path(inspect.getfile(kerasnas.strategies)).parent.rglob("*.py"))
_OURS = hashlib.sha256(b"\0".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:12]


@dataclass(frozen=True)
class Contender:
    """A search and what its results depend on.

    Args:
        search: begins a search over decisions with a seed.
        packages: distributions that it needs, all beyond kerasnas's own; their versions are part of `version`.
        is_ours: whether it is one of kerasnas's strategies, which change from day to day.
    """

    search: Callable[[Sequence[Discrete], int], Search]
    packages: tuple[str, ...] = ()
    is_ours: bool = False

    @property
    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name.replace("-", "_")) is None]

    def load(self) -> None:
        """Import the packages, which takes seconds that are not the search's."""
        for name in self.packages:
            importlib.import_module(name.replace("-", "_"))

    @property
    def version(self) -> str:
        """Return a name for the code behind the search: results of another version are not results of this one."""
        return _OURS if self.is_ours else "-".join(version(name) for name in self.packages)


def strategy_search(make: Callable[[], Strategy], decisions: Sequence[Discrete], seed: int) -> Search:
    """Ask as `StrategyOracle` does: nothing twice, trial n draws from (seed, n)."""
    strategy = make()
    strategy.start(decisions)
    tried: set[Hashable] = set()
    for trial in itertools.count():
        choices = propose_untried(strategy, decisions, tried, np.random.default_rng([seed, trial]))
        if choices is None:
            return
        tried.add(identity(decisions, choices))
        score = yield choices
        strategy.observe(choices, score)


def keras_tuner_search(oracle_name: str, decisions: Sequence[Discrete], seed: int) -> Search:
    """Drive one of KerasTuner's oracles as a tuner does."""
    import keras_tuner as kt

    space = kt.HyperParameters()
    for decision in decisions:
        space.Choice(decision.name, list(decision.values), ordered=decision.ordered)
    # Its random draws use seed, seed + 1, ...: neighbouring seeds would share most of them. Zero means a seed of its own.
    oracle = getattr(kt.oracles, oracle_name)(
        objective=kt.Objective("score", "max"), max_trials=10**6, hyperparameters=space, seed=seed + 1
    )
    oracle.verbose = 0
    # Nothing is read back from the files that it would write after each trial.
    oracle.save = oracle._save_trial = lambda *_: None
    while True:
        trial = oracle.create_trial("tuner0")
        if trial.status == "STOPPED":
            return
        score = yield {decision.name: trial.hyperparameters.values[decision.name] for decision in decisions}
        oracle.update_trial(trial.trial_id, {"score": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def optuna_search(sampler_name: str, decisions: Sequence[Discrete], seed: int) -> Search:
    """Ask and tell an Optuna study; a decision with an order is suggested as the integer position of its value."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=getattr(optuna.samplers, sampler_name)(seed=seed))

    def suggest(trial: Any, decision: Discrete) -> Any:
        if decision.ordered:
            return decision.values[trial.suggest_int(decision.name, 0, decision.size - 1)]
        return trial.suggest_categorical(decision.name, decision.values)

    while True:
        trial = study.ask()
        score = yield {decision.name: suggest(trial, decision) for decision in decisions}
        study.tell(trial, score)


def regularized_evolution(
    decisions: Sequence[Discrete], seed: int, *, population_size: int = 30, sample_size: int = 10
) -> Search:
    """Mutate the best of a random sample of the youngest.

    Source:
        Real et al. 2019, Algorithm 1, with the sizes that White et al. 2021 take for small budgets.
    """
    rng = np.random.default_rng(seed)
    population: deque[tuple[Choices, float]] = deque(maxlen=population_size)  # appending drops the oldest
    while True:
        if len(population) < population_size:
            choices = _draw(decisions, rng)
        else:
            sample = [population[i] for i in rng.integers(population_size, size=sample_size)]
            parent = max(sample, key=lambda member: member[1])[0]
            decision = decisions[int(rng.integers(len(decisions)))]
            others = [value for value in decision.values if value != parent[decision.name]]
            choices = {**parent, decision.name: others[rng.integers(len(others))]}
        score = yield choices
        population.append((choices, score))


def local_search(decisions: Sequence[Discrete], seed: int, *, starts: int = 10) -> Search:
    """Climb from the best of some random configurations to the first better neighbour, and begin again at the top.

    Source:
        White et al. 2021, "Exploring the loss landscape in neural architecture search", as in their naszilla: ten starts, a
        step to the first neighbour that is better, no configuration twice.
    """
    rng = np.random.default_rng(seed)
    tried: set[tuple[Scalar, ...]] = set()
    total = math.prod(decision.size for decision in decisions)
    while True:
        best: Choices = {}
        best_score = -math.inf
        for _ in range(starts):
            if len(tried) == total:
                return
            while tuple((choices := _draw(decisions, rng)).values()) in tried:
                pass
            tried.add(tuple(choices.values()))
            score = yield choices
            if not best or score > best_score:
                best, best_score = choices, score
        improved = True
        while improved:
            improved = False
            moves = [(decision.name, value) for decision in decisions for value in decision.values]
            for move in rng.permutation(len(moves)):
                name, value = moves[move]
                choices = {**best, name: value}
                if tuple(choices.values()) in tried:
                    continue
                tried.add(tuple(choices.values()))
                score = yield choices
                if score > best_score:
                    best, best_score, improved = choices, score, True
                    break


def _draw(decisions: Sequence[Discrete], rng: np.random.Generator) -> Choices:
    return {decision.name: decision.values[rng.integers(decision.size)] for decision in decisions}


def _ours() -> dict[str, Contender]:
    exported = {name: getattr(kerasnas.strategies, name) for name in kerasnas.strategies.__all__}
    return {
        f"kerasnas.{name}": Contender(partial(strategy_search, strategy), is_ours=True)
        for name, strategy in exported.items()
        if inspect.isclass(strategy) and issubclass(strategy, Strategy) and not inspect.isabstract(strategy)
    }


CONTENDERS = {
    **_ours(),
    "kt.RandomSearch": Contender(partial(keras_tuner_search, "RandomSearchOracle"), ("keras-tuner",)),
    "kt.BayesianOptimization": Contender(partial(keras_tuner_search, "BayesianOptimizationOracle"), ("keras-tuner",)),
    "optuna.TPE": Contender(partial(optuna_search, "TPESampler"), ("optuna",)),
    "optuna.GP": Contender(partial(optuna_search, "GPSampler"), ("optuna", "torch")),
    "published.RegularizedEvolution": Contender(regularized_evolution),
    "published.LocalSearch": Contender(local_search),
}
