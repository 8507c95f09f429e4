"""How often a model of the score that knows nothing is taken for one that ranks trials that it has not seen.

    python benchmarks/model_check.py --trials 12 --searches 1000
    python benchmarks/model_check.py --trials 30 --searches 1000

Random searches, in the space of `importance_calibration.py` and in that of `ImageClassifier` for tiny pictures, whose scores
are noise. `ModelCheck.is_reliable` should be false; it is told in how many it is true, with a 95 % interval (Wilson 1927).
"""

import argparse
import math
from typing import Any

import keras_tuner as kt
import numpy as np
from importance_calibration import space

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.explain.search.evidence import Evidence
from kerasnas.explain.search.reward_posterior import RewardPosterior
from kerasnas.spaces import ConvDense
from kerasnas.strategies.one_thread import one_thread
from kerasnas.strategies.space import random_choices


def tiny() -> Any:
    """Return the entries of ConvDense.tiny."""
    hp = kt.HyperParameters()
    ConvDense.tiny((8, 8, 1), 10).declare_hyperparameters(hp)
    return entries_of(hp)


@one_thread
def is_reliable(decisions: Any, trials: int, rng: np.random.Generator) -> bool:
    """Tell whether a model of noise is taken for one that ranks unseen trials."""
    choices = tuple(random_choices(decisions, rng) for _ in range(trials))
    evidence = Evidence(decisions, tuple(range(1, trials + 1)), choices, rng.standard_normal(trials), 0, 1, "noise")
    return RewardPosterior(evidence).check.is_reliable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--searches", type=int, default=1000)
    options = parser.parse_args()
    print("| space | searches | trials | taken for reliable | 95 % interval |\n|---|---|---|---|---|")
    for name, entries in (("four hyperparameters", space()), ("ConvDense.tiny", tiny())):
        decisions = tuple(decisions_of(entries))
        n, z = options.searches, 1.96
        share = sum(is_reliable(decisions, options.trials, np.random.default_rng(seed)) for seed in range(n)) / n
        centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
        print(f"| {name} | {n} | {options.trials} | {share:.1%} | {low:.1%} to {high:.1%} |")


if __name__ == "__main__":
    main()
