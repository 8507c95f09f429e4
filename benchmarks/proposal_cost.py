"""What a proposal costs as the trials add up: CPU milliseconds and memory of each strategy.

A made-up objective on a space of --decisions decisions (categories, integers, logarithmic and conditional numbers). A line for
every tenth of the trials: mean CPU milliseconds of propose and observe together in that tenth, and resident memory at its end.

    python benchmarks/proposal_cost.py --trials 300 --decisions 9
    python benchmarks/proposal_cost.py --trials 1000 --decisions 30 --strategies Dyna
"""

import argparse
import time
from pathlib import Path

import keras  # noqa: F401 - a search has imported it long before its first proposal
import numpy as np

import kerasnas.strategies
from kerasnas.strategies import Choices, Condition, Decision, Discrete, Range, Strategy
from kerasnas.strategies.novelty import propose_untried
from kerasnas.strategies.space import identity

NAMES = [
    name
    for name in kerasnas.strategies.__all__
    if isinstance(found := getattr(kerasnas.strategies, name), type) and issubclass(found, Strategy) and found is not Strategy
]


def space(count: int) -> list[Decision]:
    """Return a space in which kinds of decisions take turns; every fifth is conditional on a category before it."""
    decisions: list[Decision] = []
    for i in range(count):
        match i % 5:
            case 0:
                decisions.append(Discrete(name=f"d{i}", values=("a", "b", "c")))
            case 1:
                decisions.append(Discrete(name=f"d{i}", values=(16, 32, 64, 128, 256), ordered=True))
            case 2:
                decisions.append(Range(name=f"d{i}", low=1e-5, high=1e-1, scale="log"))
            case 3:
                decisions.append(Range(name=f"d{i}", low=1, high=512, scale="log", integer=True))
            case _:
                condition = (Condition(f"d{i - 4}", ("a",)),)
                decisions.append(Range(name=f"d{i}", low=0.0, high=0.9, conditions=condition))
    return decisions


def score(decisions: list[Decision], choices: Choices, rng: np.random.Generator) -> float:
    """Return a noisy score: each decision wants a value of its own, the first ones most."""
    parts = [
        (d.to_unit(choices[d.name]) - 0.3 - 0.4 * (i % 2)) ** 2 / (1 + i) for i, d in enumerate(decisions) if d.name in choices
    ]
    return -sum(parts) + 0.01 * float(rng.normal())


def resident_mb() -> float:
    """Return the resident memory of this process in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--decisions", type=int, default=9)
    parser.add_argument("--strategies", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    arguments = parser.parse_args()
    decisions, blocks = space(arguments.decisions), np.array_split(np.arange(arguments.trials), 10)
    print(f"CPU ms a trial (MB at the end), {arguments.decisions} decisions; last column: mean of all {arguments.trials}")
    print(f"{'after trial':12}" + "".join(f"{block[-1] + 1:>14}" for block in blocks) + f"{'mean':>8}")
    for name in arguments.strategies:
        strategy = getattr(kerasnas.strategies, name)()
        strategy.start(decisions)
        tried, noise, cells, total = set(), np.random.default_rng(0), [], 0.0
        for block in blocks:
            spent = 0.0
            for trial in block:
                start = time.process_time()
                choices = propose_untried(strategy, decisions, tried, np.random.default_rng([0, trial]))
                spent += time.process_time() - start
                assert choices is not None
                tried.add(identity(decisions, choices))
                found = score(decisions, choices, noise)
                start = time.process_time()
                strategy.observe(choices, found)
                spent += time.process_time() - start
            total += spent
            cells.append(f"{1e3 * spent / len(block):.1f} ({resident_mb():.0f})")
        print(f"{name:12}" + "".join(f"{cell:>14}" for cell in cells) + f"{1e3 * total / arguments.trials:8.1f}", flush=True)


if __name__ == "__main__":
    main()
