"""What early stopping saves and loses, on learning curves of networks that others trained.

    python benchmarks/early_stopping.py --out early_stopping.json

Each search tries networks drawn at random from a table of complete learning curves, and a rule stops some of them. A search
saves the epochs that it does not train; it loses the best network if that is stopped before its best epoch. Every rule sees the
same searches. The settings of LearningCurve's model were chosen on the tables in TUNED_ON and the first half of their
configurations; the searches here draw from the second half of the other tables (the same optimizers' settings are in all tables
of TaskSet, hence the halves) and from NAS-Bench-NLP, which had no part in it.

The tables are read from the folder named by KERASNAS_DATA: NAS-Bench-NLP (Klyuchnikov et al. 2022; recurrent networks on
WikiText-2, 50 epochs) and text tasks of TaskSet (Metz et al. 2020; 1000 settings of optimizers each, 50 steps of validation).
"""

import argparse
import csv
import gzip
import itertools
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kerasnas.atomic import write_json
from kerasnas.stopping import ASHA, LearningCurve, Stop, StoppingRule, expected_final

Array = NDArray[np.float64]

TUNED_ON = (
    "patch128_LSTM128_avg_bs64",
    "patch128_LSTM128_embed128_bs64",
    "patch32_GRU64_avg_bs128",
    "patch32_IRNN64_relu_last_bs128",
    "patch32_LSTM128_bs128",
    "patch32_VRNN64_relu_avg_bs128",
)
HELD_OUT = (
    "patch128_LSTM128_bs64",
    "patch32_GRU128_bs128",
    "patch32_IRNN64_relu_avg_bs128",
    "patch32_LSTM128_E128_bs128",
    "patch32_VRNN128_tanh_bs128",
    "patch32_VRNN64_tanh_avg_bs128",
)
NLP = "NAS-Bench-NLP"
GROUPS = {NLP: (NLP,), "TaskSet, held out": HELD_OUT, "TaskSet, tuned on": TUNED_ON}


class Median(StoppingRule):
    """Stop a trial whose best value is below the median of the finished trials at the same epoch.

    Source:
        Optuna's MedianPruner with its defaults, stated anew (Golovin et al. 2017, section 3.2.2, takes running averages).
    """

    def should_stop(self, curve, others, *, epochs: int) -> Stop | None:
        """Return why the trial is to stop now, or None."""
        finished = np.array([other[: len(curve), 0] for other in others if len(other) >= epochs])
        if len(finished) < 5 or not np.isfinite(finished[:, -1]).any():
            return None
        median = np.nanmedian(finished[:, -1])
        return None if _best(curve) >= median else Stop("median", f"below {median}")


RULES: dict[str, StoppingRule] = {
    "LearningCurve": LearningCurve(),
    "LearningCurve, chance 0.2": LearningCurve(0.2),
    "ASHA": ASHA(),
    "ASHA, reduction 4": ASHA(4),
    "Median": Median(),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one search.

    Args:
        saved: share of all epochs that were not trained.
        lost: whether the best trial was stopped with its best value to come, so that the search ends with a worse one.
        regret: by how much the best value found is below the best of all trials, in the unit of the table.
        rank: how many trials are better than the one found.
        stopped: number of stopped trials.
        leaders: number of trials that were better at their end than all others at that time, or would have been if not stopped.
        false_stops: how many of the leaders were stopped; LearningCurve's `chance` limits their share.
        errors: absolute errors of the best value of each stopped trial by its last epoch, shape (stopped, 2): as
            `expected_final` has it, and if its best so far is taken for it.
        covered: number of stopped trials that would have ended within two standard deviations of the expected value.
    """

    saved: float
    lost: bool
    regret: float
    rank: int
    stopped: int
    leaders: int
    false_stops: int
    errors: Array
    covered: int


def _best(curve: Array) -> float:
    return float(np.nanmax(curve, initial=-np.inf))


def run(rule: StoppingRule, curves: Array, workers: int = 1) -> Outcome:
    """Search among complete `curves`, shape (trials, epochs), in their order; workers train an epoch each in turn.

    With one worker stopped trials are taken up again as the rule says; several do not do so.
    """
    trials, epochs = curves.shape
    finals = np.array([_best(curve) for curve in curves])
    lengths, running, begun = np.zeros(trials, int), [], 0
    leads, stopped = np.zeros(trials, bool), {}
    while True:
        while len(running) < workers:
            known = [curves[j, : lengths[j], None] for j in range(begun)]
            i = rule.take_up(known, sorted(stopped), epochs=epochs) if stopped and workers == 1 else None
            if i is None and begun == trials:
                break
            running.append(begun if i is None else i)
            begun += i is None
            stopped.pop(running[-1], None)
        if not running:
            break
        for i in list(running):
            lengths[i] += 1
            seen, others = curves[i, : lengths[i], None], [curves[j, : lengths[j], None] for j in range(begun) if j != i]
            stops = lengths[i] < epochs and rule.should_stop(seen, others, epochs=epochs) is not None
            if stops or lengths[i] == epochs:
                running.remove(i)
                leads[i] = finals[i] > max((_best(other) for other in others), default=-np.inf)
            if stops:
                mean, deviation = expected_final(seen, others, epochs=epochs)
                known = np.isfinite(mean)
                error = (abs(mean - finals[i]), abs(_best(seen) - finals[i])) if known else (np.nan, np.nan)
                stopped[i] = *error, error[0] <= 2 * deviation
    found = max(_best(curve[:length]) for curve, length in zip(curves, lengths, strict=True))
    errors = np.array([error for error in stopped.values() if np.isfinite(error[0])], float).reshape(-1, 3)
    return Outcome(
        saved=1 - lengths.sum() / curves.size,
        lost=bool(found < finals.max()),
        regret=float(finals.max() - found),
        rank=int((finals > found).sum()),
        stopped=len(stopped),
        leaders=int(leads.sum()),
        false_stops=int(leads[list(stopped)].sum()),
        errors=errors[:, :2],
        covered=int(errors[:, 2].sum()),
    )


def _path(name: str) -> Path:
    path = Path(os.environ.get("KERASNAS_DATA", "../shared/data")) / name
    if not path.is_file():
        sys.exit(f"{path} is missing: set KERASNAS_DATA to the folder that holds {name}.")
    return path


@cache
def read(table: str) -> Array:
    """Return the curves of a table, shape (configurations, epochs), higher is better, NaN for a diverged epoch."""
    if table == NLP:
        with gzip.open(_path("nas_bench_nlp_wt2_curves.csv.gz"), "rt") as file:
            losses = np.array([[float(row[f"val_loss_{e}"] or "nan") for e in range(1, 51)] for row in csv.DictReader(file)])
    else:
        with np.load(_path("taskset_rnn_text.npz")) as file:
            # The first value is that of the untrained network.
            losses = file[f"FixedTextRNNClassification_imdb_{table}__valid_loss"].astype(float)[:, 1:]
    return np.where(np.isfinite(losses), -losses, np.nan)


def draw(table: str, search: int, trials: int) -> Array:
    """Return the curves that search number `search` of a table tries."""
    curves = read(table)
    if table != NLP:
        half = len(curves) // 2
        curves = curves[:half] if table in TUNED_ON else curves[half:]
    return curves[np.random.default_rng([search, trials]).choice(len(curves), trials, replace=False)]


def _work(arguments: tuple[str, str, int, int, int]) -> Outcome:
    rule, table, search, trials, workers = arguments
    return run(RULES[rule], draw(table, search, trials), workers)


def mean(values: Sequence[float]) -> dict[str, float]:
    """Return a mean with its 95 % interval (Student's t)."""
    column = np.asarray(values, float)
    half = stats.t.ppf(0.975, len(column) - 1) * column.std(ddof=1) / len(column) ** 0.5
    return {"mean": float(column.mean()), "half_interval": float(half)}


def share(count: int, total: int) -> dict[str, float] | None:
    """Return a share with its 95 % interval (Wilson's), or None of nothing."""
    if not total:
        return None
    interval = stats.binomtest(count, total).proportion_ci(method="wilson")
    return {"share": count / total, "low": float(interval.low), "high": float(interval.high)}


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of some searches."""
    errors = np.concatenate([outcome.errors for outcome in outcomes])
    return {
        "searches": len(outcomes),
        "saved": mean([outcome.saved for outcome in outcomes]),
        "lost": share(sum(outcome.lost for outcome in outcomes), len(outcomes)),
        "false_stops": share(sum(o.false_stops for o in outcomes), sum(o.leaders for o in outcomes)),
        "stopped": mean([outcome.stopped for outcome in outcomes]),
        "regret": mean([outcome.regret for outcome in outcomes]),
        "rank": mean([outcome.rank for outcome in outcomes]),
        "median_error": dict(zip(("expected", "so_far"), np.median(errors, axis=0), strict=True)) if len(errors) else None,
        "covered": share(sum(outcome.covered for outcome in outcomes), len(errors)),
    }


def print_summaries(title: str, found: dict[str, dict[str, Any]]) -> None:
    width = max(map(len, found))
    columns = (
        "epochs saved",
        "best trial lost",
        "leaders stopped",
        "regret, 10⁻³ nats",
        "better ones missed",
        "|error| of expected",
    )
    print(f"\n{title}: mean or share with its 95 % interval")
    print(f"{'':{width}}" + "".join(f"{column:>24}" for column in columns))
    for rule, figures in found.items():
        error = figures["median_error"]
        cells = (
            _mean(figures["saved"], 100, ".1f") + " %",
            _share(figures["lost"]),
            _share(figures["false_stops"]),
            _mean(figures["regret"], 1000, ".2f"),
            _mean(figures["rank"], 1, ".2f"),
            f"{1000 * error['expected']:.1f} ({1000 * error['so_far']:.1f})" if error else "-",
        )
        print(f"{rule:{width}}" + "".join(f"{cell:>24}" for cell in cells))


def _mean(figures: dict[str, float], scale: float, form: str) -> str:
    return f"{scale * figures['mean']:{form}} ± {scale * figures['half_interval']:{form}}"


def _share(figures: dict[str, float] | None) -> str:
    if figures is None:
        return "-"
    return "{:.1f} % ({:.1f}-{:.1f})".format(*(100 * figures[key] for key in ("share", "low", "high")))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--groups", nargs="+", choices=GROUPS, default=[NLP, "TaskSet, held out"], metavar="GROUP", help="; ".join(GROUPS)
    )
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), metavar="RULE", help="; ".join(RULES))
    parser.add_argument("--searches", type=int, default=60, help="per group, spread over its tables; default: %(default)s")
    parser.add_argument("--trials", type=int, default=100, help="per search; default: %(default)s")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], help="default: 1 4")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, one core each")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    if not 2 <= options.trials <= 345 or options.searches < 2 or min(options.jobs, *options.workers) < 1:
        parser.error("--trials must be between 2 and 345, --searches at least 2, --workers and --jobs at least 1")
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        each = map if options.jobs == 1 else pool.map
        for group, workers in itertools.product(options.groups, options.workers):
            tables = GROUPS[group]
            searches = [(tables[i % len(tables)], i // len(tables), options.trials, workers) for i in range(options.searches)]
            title = f"{group}, {options.searches} searches of {options.trials} trials, {workers} at a time"
            figures[title] = {
                rule: summary(list(each(_work, [(rule, *search) for search in searches]))) for rule in options.rules
            }
            print_summaries(title, figures[title])
    print(
        "\nbest trial lost: the search ends with a worse one; leaders stopped: of the trials that were better at their end than"
    )
    print(
        "all others at that time, or would have been; better ones missed: their number; |error| of expected: median distance of"
    )
    print("expected_final from where stopped trials would have ended (in brackets: of their best so far), 10⁻³ nats")
    if options.out:
        write_json(options.out, figures)


if __name__ == "__main__":
    # The processes take these from the environment before they load NumPy: one search is to use one core.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    main()
