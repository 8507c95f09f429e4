"""How much of a Pareto front searches find: a score against what a network costs, on tables of trained networks.

    python benchmarks/several_objectives.py --seeds 10

NAS-Bench-Macro has accuracy against operations, an FCNet table validation loss against parameters, or against parameters and
training time. A trial draws one training run at random; what was found is judged by the mean of all runs. The figure is the
share of the hypervolume of the table's own front that is missed, where a score counts from the table's median on and a cost by
its logarithm. "fronts" and "weights" are two ways to make one reward of several objectives; `StrategyOracle` uses weights. The
tables are read from the folder named by KERASNAS_DATA; the peers come with `pip install 'kerasnas[bench]'`.
"""

import argparse
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial

import numpy as np
from lookup_tables import READERS, Table
from numpy.typing import NDArray

from kerasnas.pareto import hypervolume, pareto_front, spread_scores, weighted_scores
from kerasnas.strategies import Choices, Dyna, Evolution, RandomSearch, Strategy
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

Array = NDArray[np.float64]
AT = (25, 50, 100)
# Every search: a generator that yields choices and is sent (score, -cost, ...), all the higher the better.
Search = Iterator[Choices]
TASKS = {
    "macro": ("macro", ("operations",)),
    "naval": ("fcnet_naval", ("parameters",)),
    "parkinsons": ("fcnet_parkinsons", ("parameters",)),
    "protein": ("fcnet_protein", ("parameters",)),
    "slice": ("fcnet_slice", ("parameters",)),
    "slice, three objectives": ("fcnet_slice", ("parameters", "training time")),
}


def by_strategy(make: Callable[[], Strategy], reward: Callable[[Array], Array], table: Table, seed: int):
    """Ask as `StrategyOracle` does: the strategy begins anew after each trial, and is told the rewards of now."""
    strategy, told, found, tried = make(), [], [], set()
    strategy.scores_change = True
    for trial in range(10**6):
        strategy.start(table.decisions)
        if found:
            for choices, value in zip(told, -reward(np.array(found)), strict=True):
                strategy.observe(choices, float(value))
        choices = propose_untried(strategy, table.decisions, tried, np.random.default_rng([seed, trial]))
        tried.add(identity(table.decisions, choices))
        told.append(dict(choices))
        found.append((yield choices))


def by_optuna(sampler_name: str, table: Table, seed: int):
    """Ask and tell an Optuna study of as many directions as there are values."""
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    suggestions = {
        d.name: optuna.distributions.IntDistribution(0, d.size - 1)
        if d.ordered
        else optuna.distributions.CategoricalDistribution(d.values)
        for d in table.decisions
    }

    def choices_of(trial: optuna.trial.Trial) -> Choices:
        return {d.name: d.values[trial.params[d.name]] if d.ordered else trial.params[d.name] for d in table.decisions}

    # The study is made when the first values tell how many directions it has; a study of one asks alike: at random.
    first = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask(suggestions)
    values = yield choices_of(first)
    study = optuna.create_study(
        directions=["maximize"] * len(values), sampler=getattr(optuna.samplers, sampler_name)(seed=seed)
    )
    study.add_trial(optuna.trial.create_trial(params=first.params, distributions=suggestions, values=values))
    while True:
        trial = study.ask(suggestions)
        study.tell(trial, (yield choices_of(trial)))


SEARCHES = {
    "Dyna, weights": partial(by_strategy, Dyna, weighted_scores),
    "Dyna, fronts": partial(by_strategy, Dyna, spread_scores),
    "Evolution, weights": partial(by_strategy, Evolution, weighted_scores),
    "Evolution, fronts": partial(by_strategy, Evolution, spread_scores),
    "random search": partial(by_strategy, RandomSearch, spread_scores),
    "Optuna NSGA-II": partial(by_optuna, "NSGAIISampler"),
    "Optuna TPE": partial(by_optuna, "TPESampler"),
}


@cache
def _judge(task: str) -> tuple[Table, Callable[[Array], Array], float]:
    """Return the table, the scaling of (mean score, -cost, ...) to [0, 1], and the hypervolume of the table's front."""
    name, costs = TASKS[task]
    table = READERS[name]()
    means = table.scores.mean(axis=-1).ravel()
    prices = np.stack([np.log(table.costs[cost].ravel()) for cost in costs], axis=1)
    low = np.array([np.median(means), *-prices.max(axis=0)])
    high = np.array([means.max(), *-prices.min(axis=0)])

    def scale(values: Array) -> Array:
        return (np.column_stack([values[:, 0], -np.log(-values[:, 1:])]) - low) / (high - low)

    everything = scale(np.column_stack([means, -np.exp(prices)]))
    front = everything[pareto_front(everything)]
    return table, scale, hypervolume(front, np.zeros(len(low)))


def missed(task: str, method: str, seed: int, trials: int) -> list[float]:
    """Return the share of the hypervolume that a search misses after each number of `AT`."""
    table, scale, whole = _judge(task)
    columns = [list(table.costs).index(cost) for cost in TASKS[task][1]]
    search = SEARCHES[method](table, 7919 * seed + 1)
    found: list[tuple[float, ...]] = []
    shares, values = [], None
    best = table.scores.mean(axis=-1).max()
    for trial in range(trials):
        choices = next(search) if values is None else search.send(values)
        costs = [-table.cost(choices)[column] for column in columns]
        values = (table.score(choices, 7919 * seed + 1, trial), *costs)
        found.append((best - table.regret(choices), *costs))
        if trial + 1 in AT:
            shares.append(1 - hypervolume(scale(np.array(found)), np.zeros(len(costs) + 1)) / whole)
    return shares


def _work(arguments: tuple[str, str, int, int]) -> tuple[str, str, list[float]]:
    return arguments[0], arguments[1], missed(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--methods", nargs="+", choices=SEARCHES, default=list(SEARCHES), metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    counts = [count for count in AT if count <= options.trials]
    jobs = [(t, m, seed, options.trials) for seed in range(options.seeds) for t in options.tasks for m in options.methods]
    results: dict[tuple[str, str], list[list[float]]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done, (task, method, shares) in enumerate(pool.map(_work, jobs), start=1):
            results.setdefault((task, method), []).append(shares)
            print(f"\r{done} of {len(jobs)} searches", end="", flush=True)
    print("\n\nshare of the hypervolume missed, mean ± 95 % interval")
    for task in options.tasks:
        print(f"\n{task}: score against {' and '.join(TASKS[task][1])}")
        for method in options.methods:
            values = np.array(results[task, method])
            halves = 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.full(len(counts), np.nan)
            cells = [f"@{n} {m:.3f} ± {h:.3f}" for n, m, h in zip(counts, values.mean(axis=0), halves, strict=True)]
            print(f"  {method:20} {'   '.join(cells)}")


if __name__ == "__main__":
    # One search is to use one core: the processes take these from the environment before they load NumPy.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    main()
