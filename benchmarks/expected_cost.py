"""How well the time of a training, and of an inference, is told before it is measured: `kerasnas.search.expected_cost`.

Random configurations of ConvDense are trained for a few steps on random pictures, and run in onnxruntime. Each one's time is
then predicted from those of some of the others, drawn at random, and the ratio of the two is reported; so are the powers of
MACs and activation memory that fit all of them, which the priors hold.

    python benchmarks/expected_cost.py --networks 40        # about 10 minutes
"""

import argparse
import random
import time
from collections.abc import Callable

import keras
import keras_tuner as kt
import numpy as np

from kerasnas.cost import cost_of
from kerasnas.search.batches import Batches, as_fast_input
from kerasnas.search.expected_cost import Measured, expected_latency, expected_seconds
from kerasnas.search.latency import measure_latency
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


def report(name: str, measured: Measured, expected: Callable[[dict[str, float], Measured], float | None]) -> None:
    """Print how the times depend on sizes, and how well they are foretold."""
    sizes = np.log([[costs["macs"], costs["activation_bytes"]] for costs, _ in measured])
    times = np.log([each for _, each in measured])
    powers = np.linalg.lstsq(np.column_stack([np.ones(len(sizes)), sizes]), times, rcond=None)[0][1:]
    print(f"{name} from {np.exp(times.min()):.3f} to {np.exp(times.max()):.3f}; powers {powers.round(2)}")
    for known in (1, 3, 10, len(measured) - 1):
        errors = []
        for i, (costs, true) in enumerate(measured):
            others = [each for j, each in enumerate(measured) if j != i]
            guesses = (expected(dict(costs), random.Random(draw).sample(others, min(known, len(others)))) for draw in range(20))
            errors += [abs(np.log(guess / true)) for guess in guesses if guess is not None]
        if errors:
            two, most = np.exp(np.quantile(errors, [2 / 3, 0.95]))
            print(f"{known:3} known: within a factor of {two:.2f} for two of three, {most:.2f} for 19 of 20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40)
    options = parser.parse_args()
    space, rng = ConvDense.small(SHAPE, 10), np.random.default_rng(0)
    data = rng.uniform(0, 255, (STEPS * BATCH, *SHAPE)).astype("float32"), np.eye(10)[rng.integers(0, 10, STEPS * BATCH)]
    trained: list[tuple[dict[str, float], float]] = []
    run: list[tuple[dict[str, float], float]] = []
    for seed in range(options.networks):
        keras.utils.clear_session()
        model = space.build(sample(space, seed))
        cost = cost_of(model)
        costs = {"macs": float(cost.macs), "activation_bytes": float(cost.activation_bytes)}
        run.append((costs, measure_latency(model)))
        trained.append((costs, measure(model, data)))
        sizes = f"{costs['macs'] / 1e6:7.2f} M MACs  {costs['activation_bytes'] / 1e3:6.0f} kB"
        print(f"{sizes}  {trained[-1][1]:.4f} s a step  {run[-1][1]:.4f} ms", flush=True)
    report("seconds of a step", trained, expected_seconds)
    report("milliseconds of a sample", run, expected_latency)


if __name__ == "__main__":
    main()
