"""Regret of the strategies on NAS-Bench-Macro: 6,561 networks trained on CIFAR-10, three runs each.

A trial draws one of the three runs at random, as a search in earnest would see it; the incumbent is judged by the mean of its
runs. Regret: points of accuracy below the best mean. Needs nas_bench_macro_cifar10.csv.gz in the folder named by KERASNAS_DATA.

    python benchmarks/search_efficiency.py --seeds 100
"""

import argparse
import csv
import gzip
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies import Discrete, RandomSearch, Reinforce, Strategy
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

FILE = "nas_bench_macro_cifar10.csv.gz"
DECISIONS = [Discrete(name=f"layer_{i}", values=("0", "1", "2")) for i in range(8)]
STRATEGIES: dict[str, Callable[[], Strategy]] = {
    "random search": RandomSearch,
    "REINFORCE (default)": Reinforce,
    "REINFORCE, moving baseline": lambda: Reinforce(baseline="moving"),
    "REINFORCE, learning rate 0.01": lambda: Reinforce(learning_rate=0.01),
    "REINFORCE, entropy weight 0.02": lambda: Reinforce(entropy_weight=0.02),
}
AT = (25, 50, 100, 200)


def read_table() -> dict[str, NDArray[np.float64]]:
    """Return the accuracies of the three runs of each network, in percent."""
    path = Path(os.environ.get("KERASNAS_DATA", "../shared/data")) / FILE
    if not path.is_file():
        sys.exit(f"{path} is missing: set KERASNAS_DATA to the folder that holds {FILE}")
    with gzip.open(path, "rt") as file:
        return {row["arch"]: np.asarray([float(row[f"test_acc_{i}"]) for i in (1, 2, 3)]) for row in csv.DictReader(file)}


def run(make: Callable[[], Strategy], table: dict[str, NDArray[np.float64]], seed: int) -> list[float]:
    """Return the regret of the incumbent after each trial."""
    best = max(runs.mean() for runs in table.values())
    strategy, noise = make(), np.random.default_rng([seed, 2**31])
    strategy.start(DECISIONS)
    tried, incumbent, regret, regrets = set(), -np.inf, np.inf, []
    for trial in range(max(AT)):
        choices = propose_untried(strategy, DECISIONS, tried, np.random.default_rng([seed, trial]))
        assert choices is not None
        tried.add(identity(DECISIONS, choices))
        runs = table["".join(str(choices[d.name]) for d in DECISIONS)]
        score = float(noise.choice(runs))
        strategy.observe(choices, score)
        if score > incumbent:
            incumbent, regret = score, best - runs.mean()
        regrets.append(regret)
    return regrets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    seeds = parser.parse_args().seeds
    table = read_table()
    print(f"mean regret in points of accuracy, +- one standard error, {seeds} seeds")
    print(f"{'strategy':32}" + "".join(f"{f'@{n}':>16}" for n in AT) + f"{'s a seed':>10}")
    for name, make in STRATEGIES.items():
        start = time.perf_counter()
        regrets = np.asarray([run(make, table, 7919 * seed) for seed in range(seeds)])
        seconds = (time.perf_counter() - start) / seeds
        cells = [f"{regrets[:, n - 1].mean():.3f} +- {regrets[:, n - 1].std() / seeds**0.5:.3f}" for n in AT]
        print(f"{name:32}" + "".join(f"{cell:>16}" for cell in cells) + f"{seconds:10.2f}", flush=True)


if __name__ == "__main__":
    main()
