"""A space of plain loops, as KerasTuner's guide writes one: what it is worth to learn which values a network does not use.

    python benchmarks/plain_loops.py --seeds 20

One to six layers, each with units, an activation and a dropout rate, that only the layers in use ask for. The score is planted
(what is best differs from seed to seed, neighbours score alike) with noise of .05; judged is the true score of the best so far,
as the distance to the best there is. Each oracle is driven as KerasTuner drives it; nothing is trained. A trial of a network
that was tried before costs nothing here, for every oracle, so that only what it proposes counts.
"""

import argparse
import itertools
import json
import math
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras_tuner as kt
import numpy as np
from keras_tuner.src.tuners.bayesian import BayesianOptimizationOracle

from kerasnas.oracles import DynaOracle, EvolutionOracle, RandomOracle, replay
from kerasnas.search.asked import asked

LAYERS, AT, NOISE = 6, (25, 50, 100), 0.05
ACTIVATIONS = ("relu", "tanh", "gelu")
METHODS = {
    "kerasnas Dyna": DynaOracle,
    "kerasnas Dyna, nothing learned of unused values": DynaOracle,
    "kerasnas Evolution": EvolutionOracle,
    "kerasnas Evolution, nothing learned of unused values": EvolutionOracle,
    "kt.BayesianOptimization": BayesianOptimizationOracle,
    "random": RandomOracle,
}
Network = tuple[Any, ...]


def ask(hp: kt.HyperParameters) -> Network:
    """Return the network of a configuration: what its HyperModel asks for."""
    layers, rate = hp.Int("layers", 1, LAYERS), hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    each = [
        (hp.Int(f"units_{i}", 32, 512, 32), hp.Choice(f"activation_{i}", ACTIVATIONS), hp.Float(f"dropout_{i}", 0.0, 0.5, 0.1))
        for i in range(layers)
    ]
    return (math.log10(rate), *each)


class Planted:
    """A score for networks.

    Args:
        seed: of what is best.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._units, self._dropout = rng.uniform(0.1, 0.9, LAYERS), rng.uniform(0, 0.5, LAYERS)
        self._activation = rng.normal(0, 0.3, (LAYERS, len(ACTIVATIONS)))
        self._layers, self._rate = int(rng.integers(1, LAYERS + 1)), rng.uniform(-3.5, -1.5)
        self.best = self._search()

    def __call__(self, network: Network) -> float:
        """Return the true score."""
        rate, *layers = network
        score = -0.25 * abs(len(layers) - self._layers) - 0.5 * (rate - self._rate) ** 2
        for i, (units, activation, dropout) in enumerate(layers):
            gain = self._activation[i, ACTIVATIONS.index(activation)]
            gain -= 1.5 * (units / 512 - self._units[i]) ** 2 + 1.5 * (dropout - self._dropout[i]) ** 2
            score += gain / math.sqrt(len(layers))
        return float(score)

    def _search(self) -> float:
        """Return the best score: for each number of layers, each layer's best is found by itself."""
        grid = list(itertools.product(range(32, 513, 32), ACTIVATIONS, np.arange(0, 0.51, 0.1)))
        best = -math.inf
        for count in range(1, LAYERS + 1):
            layers = [grid[0]] * count
            for i in range(count):
                layers[i] = max(grid, key=lambda one, i=i: self((self._rate, *layers[:i], one, *layers[i + 1 :])))
            best = max(best, self((self._rate, *layers)))
        return best


def run(name: str, seed: int) -> tuple[list[float], int]:
    """Return the regret after each new network, and how often a network was proposed again."""
    planted, noise = Planted(seed), np.random.default_rng([seed, 1])
    known: dict[Network, float] = {}
    best, regrets, twins = -math.inf, list[float](), 0
    with tempfile.TemporaryDirectory() as folder:
        oracle = METHODS[name](objective=kt.Objective("score", "max"), max_trials=100_000, seed=seed + 1)
        oracle.verbose = 0
        oracle._set_project_dir(folder, "search")
        space = oracle.get_space()
        space.values["layers"] = LAYERS
        ask(space)
        oracle.update_space(space)
        while len(regrets) < max(AT):
            trial = oracle.create_trial("tuner0")
            names: list[str] = []
            with asked(trial.hyperparameters, names):
                network = ask(trial.hyperparameters)
            if network in known:
                twins += 1
            else:
                known[network] = planted(network) + noise.normal(0, NOISE)
                best = max(best, planted(network))
                regrets.append(planted.best - best)
            history = Path(oracle._get_trial_dir(trial.trial_id)) / "history.json"
            history.parent.mkdir(exist_ok=True)
            history.write_text(json.dumps({"asked": names}), encoding="utf-8")
            oracle.update_trial(trial.trial_id, {"score": known[network]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return regrets, twins


def measure(name: str, seed: int) -> tuple[list[float], int]:
    """Return what `run` does; where nothing is to be learned of unused values, the conditions stay those that are stated."""
    if not name.endswith("unused values"):
        return run(name, seed)
    with patch.object(replay, "with_learned_conditions", lambda decisions, *_: list(decisions)):
        return run(name, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    print(f"| regret after so many networks | {' | '.join(map(str, AT))} | twins proposed |")
    print(f"|---|{'---|' * len(AT)}---|")
    for name in options.methods:
        with ProcessPoolExecutor(options.jobs) as pool:
            results = list(pool.map(partial(measure, name), range(options.seeds)))
        regrets = np.array([regret for regret, _ in results])[:, [at - 1 for at in AT]]
        error = regrets.std(axis=0, ddof=1) / math.sqrt(options.seeds)
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(regrets.mean(axis=0), error, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {np.mean([twins for _, twins in results]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
