"""How fast searches find good networks: regret after n trials, on tables of networks that are trained already.

    python benchmarks/search_efficiency.py --seeds 50

A trial draws one training run of its network at random, as a search in earnest would see it. The incumbent is the network with
the best score so far; its regret is by how much the mean of its runs is worse than the best mean of the table. All searches
take their defaults, see the same space and scores, and draw the same run in the same trial of a seed. KerasTuner and Optuna
may repeat a configuration; that costs a trial, as it costs a user one.

Every run is kept in the folder of results, by table, search, version of its code and seed: an interrupted benchmark goes on
where it stopped, and expensive searches may get fewer seeds in a command of their own. The tables are read from the folder
named by KERASNAS_DATA; the peers come with `pip install 'kerasnas[bench]'`.
"""

import argparse
import functools
import importlib.util
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from contenders import CONTENDERS, Search
from lookup_tables import READERS, Table
from numpy.typing import NDArray
from scipy import stats

from kerasnas.atomic import atomic_path, write_json

AT = (25, 50, 100, 200)
# Neighbouring seeds would share random numbers where a search counts up from its seed.
SPREAD = 7919
# Part of the path of every result: to be raised when the protocol or the wiring of a peer changes.
PROTOCOL = 1


@dataclass(frozen=True)
class Run:
    """One search on one table.

    Args:
        regrets: of the incumbent after each trial.
        recommended: {trials: regret of the configuration with the best posterior mean by then}, for the flagship alone.
        cpu_seconds: what the search took, one thread, without its table.
        wall_seconds: the same by the clock.
    """

    regrets: list[float]
    recommended: dict[str, float]
    cpu_seconds: float
    wall_seconds: float


def run(search: Search, table: Table, seed: int, trials: int, *, recommends: bool = False) -> Run:
    """Follow `search` for some trials."""
    incumbent, regret = -np.inf, np.nan
    regrets: list[float] = []
    recommended: dict[str, float] = {}
    observations = []
    cpu, wall = time.process_time(), time.perf_counter()
    score = None
    for trial in range(trials):
        try:
            choices = next(search) if score is None else search.send(score)
        except StopIteration:
            regrets += [regret] * (trials - trial)
            break
        score = table.score(choices, seed, trial)
        observations.append((choices, score))
        if score > incumbent:
            incumbent, regret = score, table.regret(choices)
        regrets.append(regret)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    for count in AT if recommends else ():
        if count <= len(observations):
            recommended[str(count)] = table.regret(_recommend(table, observations[:count]))
    return Run(regrets, recommended, cpu, wall)


def _recommend(table: Table, observations: list) -> dict:
    from kerasnas.strategies.best_arm import best_arm

    return observations[best_arm(table.decisions, observations).index][0]


@functools.cache
def _table(name: str) -> Table:
    return READERS[name]()


def _result_path(results: Path, table: str, method: str, seed: int) -> Path:
    label = "-".join(part for part in (method, CONTENDERS[method].version, f"p{PROTOCOL}") if part)
    return results / table / label / f"{seed}.json"


def _read(path: Path) -> Run | None:
    return Run(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _work(path: Path, results: Path, table: str, method: str, seed: int, trials: int) -> None:
    if path != _result_path(results, table, method, seed):
        raise RuntimeError(f"The sources of {method} changed while the benchmark ran: start it again.")
    warnings.simplefilter("ignore")  # of scikit-learn and Optuna, thousands of them
    contender = CONTENDERS[method]
    contender.load()
    spread = SPREAD * seed
    search = contender.search(_table(table).decisions, spread)
    recommends = method == "kerasnas.Dyna" and importlib.util.find_spec("kerasnas.strategies.best_arm") is not None
    write_json(path, asdict(run(search, _table(table), spread, trials, recommends=recommends)))


def compute(results: Path, tables: Sequence[str], methods: Sequence[str], seeds: int, trials: int, jobs: int) -> None:
    """Make the runs that the folder of results lacks, seed by seed over all tables."""
    paths = {(t, m, s): _result_path(results, t, m, s) for s in range(seeds) for t in tables for m in methods}
    kept = {key: _read(path) for key, path in paths.items()}
    todo = [key for key, found in kept.items() if found is None or len(found.regrets) < trials]
    if not todo:
        return
    print(f"{len(todo)} of {len(paths)} runs to make", file=sys.stderr)
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_work, paths[key], results, *key, trials) for key in todo]
        said = time.monotonic()
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if time.monotonic() - said > 30 or done == len(todo):
                    said = time.monotonic()
                    print(f"{time.strftime('%H:%M:%S')} {done} of {len(todo)} runs made", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def interval(values: NDArray[np.float64]) -> float:
    """Return half the width of the 95 % interval of the mean (Student's t), NaN for a single value."""
    if len(values) < 2:
        return np.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def tied_with_best(columns: Sequence[NDArray[np.float64]]) -> list[bool]:
    """Tell which columns of regrets have the least mean or are not told from the one that has.

    A column is told from it by a larger mean (Welch's test) or by larger ranks (Mann and Whitney's), each one-sided at 2.5 %.
    Regrets have heavy tails where some training runs diverge: there the mean tells little, and the ranks more.
    """
    filled = [column for column in columns if len(column)]
    best = min(filled, key=np.mean) if filled else np.empty(0)

    def tied(column: NDArray[np.float64]) -> bool:
        if min(len(column), len(best)) < 2 or column.mean() == best.mean():
            return len(column) > 0
        if column.std() == best.std() == 0:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of columns that are constant but for rounding
            welch = stats.ttest_ind(column, best, equal_var=False, alternative="greater").pvalue
        return bool(min(welch, stats.mannwhitneyu(column, best, alternative="greater").pvalue) >= 0.025)

    return [tied(column) for column in columns]


def _at(runs: Sequence[Run], count: int) -> NDArray[np.float64]:
    return np.asarray([run.regrets[count - 1] for run in runs if len(run.regrets) >= count])


def print_table(table: Table, found: dict[str, list[Run]], counts: Sequence[int]) -> None:
    """Print the mean regrets of all methods after `counts` trials."""
    columns = {n: {method: table.scale * _at(runs, n) for method, runs in found.items()} for n in counts}
    marks = {n: dict(zip(found, tied_with_best([*columns[n].values()]), strict=True)) for n in counts}
    width = max(map(len, found)) + len(", recommended")
    print(f"\n{table.title}: mean regret ± 95 % interval (median), {table.unit}")
    print(f"{'':{width}} {'seeds':>5}" + "".join(f"{f'@{n} ':>29}" for n in counts) + f"{'CPU ms a trial':>16}")
    print("the luckiest of the best 50, each trained once: " + f"{table.scale * luckiest(table):.3g}")
    for method, runs in sorted(found.items(), key=lambda item: columns[counts[0]][item[0]].mean()):
        cells = [_cell(columns[n][method], marks[n][method]) for n in counts]
        ms = 1000 * sum(run.cpu_seconds for run in runs) / sum(len(run.regrets) for run in runs)
        print(f"{method:{width}} {len(runs):5}" + "".join(f"{cell:>29}" for cell in cells) + f"{ms:16.1f}")
        if any(run.recommended for run in runs):
            named = [np.asarray([run.recommended[str(n)] for run in runs if str(n) in run.recommended]) for n in counts]
            cells = [_cell(table.scale * values, False) for values in named]
            print(f"{method + ', recommended':{width}} {'':5}" + "".join(f"{cell:>29}" for cell in cells))


def luckiest(table: Table, count: int = 50, draws: int = 4000) -> float:
    """Return the mean regret of whoever trains each of the `count` best configurations once and takes the luckiest.

    No search that trains nothing twice can be expected to do much better once it has tried those.
    """
    means = table.scores.mean(axis=-1).ravel()
    best = np.argsort(-means, kind="stable")[:count]
    runs = table.scores.reshape(len(means), -1)[best]
    drawn = runs[np.arange(count), np.random.default_rng(0).integers(runs.shape[1], size=(draws, count))]
    return float((means.max() - means[best][drawn.argmax(axis=1)]).mean())


def _cell(values: NDArray[np.float64], mark: bool) -> str:
    if not len(values):
        return "-  "
    return f"{values.mean():#.3g} ± {interval(values):#.2g} ({np.median(values):#.3g}){'*' if mark else ' '}"


def plot(panels: dict[str, tuple[Table, dict[str, list[Run]]]], path: Path, trials: int) -> None:
    """Draw the mean regret with its 95 % interval over the trials, one panel for each table."""
    mpl.use("Agg")
    columns = min(3, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, 3.9 * rows), squeeze=False, layout="constrained")
    methods = sorted({method for _, found in panels.values() for method in found}, key=list(CONTENDERS).index)
    ours = [method for method in methods if CONTENDERS[method].is_ours]
    styles = {m: {"color": mpl.colormaps["tab10"](i % 10), "linewidth": 1.9} for i, m in enumerate(ours)}
    others = [method for method in methods if method not in ours]
    styles |= {m: {"color": mpl.colormaps["Dark2"](i % 8), "linewidth": 1.3, "linestyle": "--"} for i, m in enumerate(others)}
    handles = {}
    for axis, (table, found) in zip(axes.flat, panels.values(), strict=False):
        for method in (method for method in methods if method in found):
            length = min(trials, *(len(run.regrets) for run in found[method]))
            regrets = table.scale * np.asarray([run.regrets[:length] for run in found[method]])
            x, mean = np.arange(1, length + 1), regrets.mean(axis=0)
            band = np.asarray([interval(column) for column in regrets.T])
            (handles[method],) = axis.plot(x, mean, **styles[method])
            axis.fill_between(
                x, np.maximum(mean - band, mean / 10), mean + band, color=styles[method]["color"], alpha=0.13, lw=0
            )
        axis.set(title=table.title, xlabel="trial", ylabel=f"mean regret, {table.unit}", xlim=(1, trials))
        axis.set_yscale("log")
        # The first trials span many powers of ten and would leave no room for the rest.
        start = [table.scale * _at(runs, min(10, trials)).mean() for runs in found.values()]
        axis.set_ylim(top=1.5 * max(start))
        axis.grid(alpha=0.25, which="both")
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    axes.flat[len(panels)].legend(
        handles.values(),
        [f"{m} ({_seeds(m, panels)})" for m in handles],
        title="search (seeds)",
        loc="center",
        frameon=False,
    )
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=130)
    plt.close(figure)


def _seeds(method: str, panels: dict[str, tuple[Table, dict[str, list[Run]]]]) -> str:
    counts = {len(found[method]) for _, found in panels.values() if method in found}
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)}-{max(counts)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=READERS, default=list(READERS), metavar="TABLE", help=", ".join(READERS))
    parser.add_argument(
        "--methods", nargs="+", choices=CONTENDERS, metavar="METHOD", help=f"of {', '.join(CONTENDERS)}; default: all"
    )
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, one core each")
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results", help="folder of runs; default: %(default)s"
    )
    parser.add_argument("--kept", action="store_true", help="make no runs: show all that the folder of results has")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.trials < 1:
        parser.error(f"--seeds and --trials must be at least 1, got {options.seeds} and {options.trials}")
    methods = options.methods or list(CONTENDERS)
    for method in [method for method in methods if CONTENDERS[method].missing]:
        print(f"{method} left out: {', '.join(CONTENDERS[method].missing)} not installed (pip install 'kerasnas[bench]')")
        methods.remove(method)
    if not options.kept:
        compute(options.results, options.tables, methods, options.seeds, options.trials, options.jobs)
    counts = [n for n in AT if n <= options.trials] or [options.trials]
    panels = {}
    for table in options.tables:
        found = {}
        for method in methods:
            folder = _result_path(options.results, table, method, 0).parent
            seeds = sorted(int(path.stem) for path in folder.glob("*.json"))
            runs = [_read(folder / f"{seed}.json") for seed in seeds if options.kept or seed < options.seeds]
            if long_enough := [run for run in runs if run and len(run.regrets) >= counts[0]]:
                found[method] = long_enough
        if found:
            panels[table] = _table(table), found
    if not panels:
        sys.exit(f"{options.results} holds no results of these methods on these tables.")
    for table, found in panels.values():
        print_table(table, found, counts)
    print(
        "\n* the least mean of its column, or told from that by neither Welch's nor Mann and Whitney's test (2.5 %, one-sided);"
    )
    print("  with few seeds a test tells little")
    plot(panels, options.results / "regret.png", options.trials)
    print(f"regret curves: {options.results / 'regret.png'}")


if __name__ == "__main__":
    # The processes take these from the environment before they load NumPy: one search is to use one core.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    main()
