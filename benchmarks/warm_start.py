"""What an earlier search on another data set is worth: regret of warm and cold starts on the four FCNet tables.

For each table and seed, the flagship searches once from nothing and once after having learnt the search of the same seed on
another data set (--earlier trials of it, each scored by one training run drawn at random). The regret is that of the
configuration with the best score so far, judged by the mean of its runs. The tables are read from the folder named by
KERASNAS_DATA.

    python benchmarks/warm_start.py --seeds 30
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from lookup_tables import READERS, Table
from scipy.stats import ttest_rel

from kerasnas.strategies import Dyna, Observation
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

TABLES = [name for name in READERS if name.startswith("fcnet")]
AT = (5, 10, 25)


def search(table: Table, seed: int, trials: int, earlier: list[Observation]) -> tuple[list[Observation], list[float]]:
    """Return the observations of a search and the regret of its incumbent after each trial."""
    strategy = Dyna()
    strategy.start(table.decisions)
    if earlier:
        strategy.learn_earlier(earlier)
    observations: list[Observation] = []
    tried, incumbent, regrets = set(), -np.inf, []
    for trial in range(trials):
        choices = propose_untried(strategy, table.decisions, tried, np.random.default_rng([seed, trial]))
        assert choices is not None
        tried.add(identity(table.decisions, choices))
        score = table.score(choices, seed, trial)
        strategy.observe(choices, score)
        observations.append((dict(choices), score))
        if score > incumbent:
            incumbent, regret = score, table.regret(choices)
        regrets.append(regret)
    return observations, regrets


def compare(seed: int, earlier: int) -> list[tuple[list[float], list[float]]]:
    """Return the regrets of the cold and the warm start on each table; the earlier search is that of the table before it."""
    tables = [READERS[name]() for name in TABLES]
    cold = [search(table, seed, max(earlier, max(AT)), []) for table in tables]
    pairs = []
    for i, table in enumerate(tables):
        _, warm = search(table, seed + 1, max(AT), cold[i - 1][0][:earlier])
        pairs.append((cold[i][1][: max(AT)], warm))
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--earlier", type=int, default=100, help="trials of the earlier search")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(partial(compare, earlier=arguments.earlier), [7919 * seed for seed in range(arguments.seeds)]))
    regrets = np.array(runs)  # seeds, tables, cold or warm, trials
    print(f"mean regret, cold -> warm (p of the paired t-test), {arguments.seeds} seeds, {arguments.earlier} earlier trials")
    print(f"{'table after table':40}" + "".join(f"{f'@{n}':>32}" for n in AT))
    for i, name in enumerate(TABLES):
        cells = []
        for n in AT:
            cold, warm = regrets[:, i, 0, n - 1], regrets[:, i, 1, n - 1]
            cells.append(f"{cold.mean():.3g} -> {warm.mean():.3g} ({ttest_rel(cold, warm).pvalue:.2g})")
        print(f"{f'{name} after {TABLES[i - 1]}':40}" + "".join(f"{cell:>32}" for cell in cells))


if __name__ == "__main__":
    main()
