"""How well the time of a training is told before it begins: `kerasnas.search.time_ceiling.expected_seconds` on random networks.

Random configurations of ConvDense are trained for a few steps on random pictures. Each one's step is then predicted from those
of the first `--known` of the others, in random order, and the ratio of the two is reported; so are the powers of MACs and
activation memory that fit all of them, which the prior of `expected_seconds` holds.

    python benchmarks/training_time.py --networks 40        # about 10 minutes
"""

import argparse
import random
import time
from typing import Any

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.cost import cost_of
from kerasnas.search.batches import Batches, as_fast_input
from kerasnas.search.time_ceiling import expected_seconds
from kerasnas.spaces import ConvDense

SHAPE, BATCH, STEPS = (28, 28, 1), 64, 6


def sample(space: ConvDense, seed: int) -> kt.HyperParameters:
    """Return a random configuration."""
    whole, hp = kt.HyperParameters(), kt.HyperParameters()
    space.declare_hyperparameters(whole)
    rng = random.Random(seed)
    hp.values = {entry.name: rng.choice(list(entry.values)) for entry in whole.space if hasattr(entry, "values")}
    return hp


def measure(model: keras.Model, data: tuple[np.ndarray, np.ndarray]) -> float:
    """Return seconds of a training step, the first ones left out."""
    model.jit_compile = False
    batches = as_fast_input(Batches(data, batch_size=BATCH, seed=0))
    model.fit(batches, verbose=0, shuffle=False)
    start = time.perf_counter()
    model.fit(batches, verbose=0, shuffle=False)
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40)
    options = parser.parse_args()
    space, rng = ConvDense.small(SHAPE, 10), np.random.default_rng(0)
    data = rng.uniform(0, 255, (STEPS * BATCH, *SHAPE)).astype("float32"), np.eye(10)[rng.integers(0, 10, STEPS * BATCH)]
    trained: list[tuple[dict[str, Any], float]] = []
    for seed in range(options.networks):
        keras.utils.clear_session()
        model = space.build(sample(space, seed))
        cost = cost_of(model)
        costs = {"macs": float(cost.macs), "activation_bytes": float(cost.activation_bytes)}
        trained.append((costs, measure(model, data)))
        print(
            f"{costs['macs'] / 1e6:7.2f} M MACs  {costs['activation_bytes'] / 1e3:6.0f} kB  {trained[-1][1]:.4f} s", flush=True
        )
    sizes = np.log([[costs["macs"], costs["activation_bytes"]] for costs, _ in trained])
    seconds = np.log([each for _, each in trained])
    powers = np.linalg.lstsq(np.column_stack([np.ones(len(sizes)), sizes]), seconds, rcond=None)[0][1:]
    print(f"seconds range from {np.exp(seconds.min()):.3f} to {np.exp(seconds.max()):.3f}; powers {powers.round(2)}")
    for known in (1, 3, 10, len(trained) - 1):
        errors = []
        for i, (costs, true) in enumerate(trained):
            others = [each for j, each in enumerate(trained) if j != i]
            for draw in range(20):
                expected = expected_seconds(costs, random.Random(draw).sample(others, min(known, len(others))))
                errors.append(abs(np.log((expected or np.nan) / true)))
        print(f"{known:3} known: within a factor of {np.exp(np.quantile(errors, 2 / 3)):.2f} for two of three")


if __name__ == "__main__":
    main()
