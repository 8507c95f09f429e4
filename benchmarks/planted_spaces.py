"""Searches of spaces with real numbers in them, which no table of trained networks can list.

    python benchmarks/planted_spaces.py --seeds 20

The score is a planted function of the configuration plus luck, and the regret is that of the best configuration tried, without
luck: architecture and optimizer (72 of them) with a learning rate and dropout, alone; with trainings that diverge above a
learning rate and score as guessing does; as a loss that explodes there; and with a gain that three choices have only together.
Then a space with conditions, six real numbers, and random interactions of up to three of six choices with three real numbers.
Optuna's TPE is the peer that takes them all.
"""

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kerasnas.strategies import Condition, Discrete, Dyna, Evolution, RandomSearch, Range, Strategy
from kerasnas.strategies.space import walk

Function = Callable[[dict[str, Any]], float]

BLOCKS = {"plain": 0.80, "residual": 0.84, "inception": 0.83, "mobile": 0.82}
RATES = {"sgd": -1.3, "adam": -3.0, "rmsprop": -3.3}
NETWORK = [
    Discrete(name="block", values=tuple(BLOCKS)),
    Discrete(name="activation", values=("relu", "gelu", "tanh")),
    Discrete(name="optimizer", values=tuple(RATES)),
    Discrete(name="normalization", values=("none", "batch")),
    Range(name="learning_rate", low=1e-4, high=1e-1, scale="log"),
    Range(name="dropout", low=0.0, high=0.6),
]


def _away(v: dict[str, Any]) -> float:
    return float(np.log10(v["learning_rate"]) - RATES[v["optimizer"]])


def additive(v: dict[str, Any]) -> float:
    gain = 0.01 * (v["normalization"] == "batch") + 0.01 * (v["optimizer"] == "adam")
    return BLOCKS[v["block"]] + gain - 0.03 * _away(v) ** 2 - 0.1 * (v["dropout"] - 0.3) ** 2


def diverging(v: dict[str, Any]) -> float:
    return 0.1 if _away(v) > 0.7 else additive(v)


def exploding_loss(v: dict[str, Any]) -> float:
    return float(-0.3 * np.exp(8 * (0.86 - additive(v))) * 1000 ** max(0.0, _away(v) - 0.7))


def together(v: dict[str, Any]) -> float:
    all_three = v["block"] == "mobile" and v["normalization"] == "batch" and v["activation"] == "gelu"
    return additive(v) + 0.06 * all_three


CONDITIONAL = [
    Discrete(name="kind", values=("conv", "separable", "mobile")),
    Range(name="kernel", conditions=(Condition(name="kind", values=("conv", "separable")),), low=0, high=2, integer=True),
    Range(name="expansion", conditions=(Condition(name="kind", values=("mobile",)),), low=1, high=6, integer=True),
    Discrete(name="squeeze", conditions=(Condition(name="kind", values=("mobile",)),), values=(False, True)),
    Discrete(
        name="ratio", conditions=(Condition(name="squeeze", values=(True,)),), values=(0.1, 0.2, 0.3, 0.4, 0.5), ordered=True
    ),
    Range(name="learning_rate", low=1e-4, high=1e-1, scale="log"),
    Range(name="units", low=8, high=128, scale="log", integer=True),
]


def conditional(v: dict[str, Any]) -> float:
    score = {"conv": 0.5, "separable": 0.6, "mobile": 0.55}[v["kind"]]
    if v["kind"] == "mobile":
        score += 0.05 * v["expansion"] + (0.1 - abs(v["ratio"] - 0.3) if v["squeeze"] else 0.0)
    else:
        score += 0.06 + 0.04 * v["kernel"]
    return float(score - 0.1 * abs(np.log10(v["learning_rate"]) + 2.5))


REALS = [Range(name=f"x{i}", low=0.0, high=1.0) for i in range(6)]


def bowl(v: dict[str, Any]) -> float:
    return -sum((v[f"x{i}"] - 0.2 - 0.1 * i) ** 2 for i in range(6))


INTERACTIONS = [
    *(Discrete(name=f"c{i}", values=(0, 1, 2)) for i in range(6)),
    Range(name="learning_rate", low=1e-4, high=1e-1, scale="log"),
    Range(name="weight_decay", low=1e-6, high=1e-2, scale="log"),
    Range(name="width", low=8, high=128, scale="log"),
]


def interactions(seed: int) -> tuple[Function, float]:
    """Return a function with random main effects, pairs and triples, and its maximum."""
    rng = np.random.default_rng(seed + 900)
    table = rng.normal(0, 0.01, (6, 3))[np.arange(6)[:, None], np.indices((3,) * 6).reshape(6, -1)].sum(axis=0)
    grid = np.indices((3,) * 6).reshape(6, -1)
    for i, j in itertools.combinations(range(6), 2):
        table += rng.normal(0, 0.008, (3, 3))[grid[i], grid[j]]
    for _ in range(8):
        i, j, k = rng.choice(6, 3, replace=False)
        table += rng.normal(0, 0.008, (3, 3, 3))[grid[i], grid[j], grid[k]]
    rate = rng.uniform(-3.5, -1.5)

    def score(v: dict[str, Any]) -> float:
        place = np.ravel_multi_index([v[f"c{i}"] for i in range(6)], (3,) * 6)
        away = 0.03 * (np.log10(v["learning_rate"]) - rate) ** 2 + 0.002 * (np.log10(v["weight_decay"]) + 4) ** 2
        return float(0.85 + table[place] - away + 0.01 * np.log2(v["width"] / 128))

    return score, float(0.85 + table.max())


# Decisions, {seed: function and its maximum}, deviation of luck.
SPACES: dict[str, tuple[list[Any], Callable[[int], tuple[Function, float]], float]] = {
    "network": (NETWORK, lambda _: (additive, 0.86), 0.004),
    "diverging": (NETWORK, lambda _: (diverging, 0.86), 0.004),
    "exploding loss": (NETWORK, lambda _: (exploding_loss, -0.3), 0.003),
    "three together": (NETWORK, lambda _: (together, 0.90), 0.004),
    "conditional": (CONDITIONAL, lambda _: (conditional, 0.95), 0.03),
    "six reals": (REALS, lambda _: (bowl, 0.0), 0.01),
    "interactions": (INTERACTIONS, interactions, 0.005),
}


def ours(make: Callable[[], Strategy], decisions: list[Any], seed: int) -> Iterator[dict[str, Any]]:
    strategy = make()
    strategy.start(decisions)
    for trial in itertools.count():
        choices = strategy.propose(np.random.default_rng([seed, trial]))
        score = yield dict(choices)
        strategy.observe(choices, score)


def tpe(decisions: list[Any], seed: int) -> Iterator[dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))

    def suggest(trial: Any, decision: Any) -> Any:
        if isinstance(decision, Discrete):
            return trial.suggest_categorical(decision.name, decision.values)
        draw = trial.suggest_int if decision.integer else trial.suggest_float
        return draw(decision.name, decision.low, decision.high, log=decision.scale == "log")

    while True:
        trial = study.ask()
        score = yield walk(decisions, lambda decision, _, trial=trial: suggest(trial, decision))
        study.tell(trial, score)


SEARCHES: dict[str, Callable[[list[Any], int], Iterator[dict[str, Any]]]] = {
    "Dyna": lambda decisions, seed: ours(Dyna, decisions, seed),
    "Evolution": lambda decisions, seed: ours(Evolution, decisions, seed),
    "RandomSearch": lambda decisions, seed: ours(RandomSearch, decisions, seed),
    "Optuna TPE": tpe,
}


def regret(search: str, space: str, seed: int, trials: int) -> float:
    decisions, function, deviation = SPACES[space]
    score, best = function(seed)
    luck = np.random.default_rng([seed, 1])
    asked = SEARCHES[search](decisions, seed)
    choices, found = next(asked), -np.inf
    for _ in range(trials):
        found = max(found, score(choices))
        choices = asked.send(score(choices) + deviation * luck.normal())
    return best - found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    print(f"Mean regret after {options.trials} trials ± its standard error, {options.seeds} seeds")
    print("| space | " + " | ".join(SEARCHES) + " |\n|---|" + "---|" * len(SEARCHES))
    for space in SPACES:
        cells = []
        for search in SEARCHES:
            regrets = [regret(search, space, seed, options.trials) for seed in range(options.seeds)]
            cells.append(f"{np.mean(regrets):.4f} ± {np.std(regrets, ddof=1) / len(regrets) ** 0.5:.4f}")
        print(f"| {space} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    main()
