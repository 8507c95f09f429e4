"""How well the time of a training, and of an inference, is told before it is measured.

Random configurations of ConvDense are trained for a few steps on random pictures, and run in onnxruntime. Each one's time is
then predicted from those of some of the others, drawn at random, and the ratio of the two is reported; so is what fits all of
them, which the priors of `kerasnas.search.expected_seconds` and `expected_latency` hold: powers of MACs and of activation
memory for training, times of calls, MACs and curved elements for inference. Trainings are timed in CPU seconds, which other
work on the machine changes least: keep the process on one core.

    taskset -c 0 python benchmarks/expected_cost.py --networks 40        # about 10 minutes
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
from scipy.optimize import nnls

from kerasnas.cost import cost_of
from kerasnas.search.batches import Batches, as_fast_input
from kerasnas.search.expected_latency import Work, expected_latency, work_of
from kerasnas.search.expected_seconds import expected_seconds
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
    """Return CPU seconds of a training step, the first ones left out."""
    model.jit_compile = False
    batches = as_fast_input(Batches(data, batch_size=BATCH, seed=0))
    model.fit(batches, verbose=0, shuffle=False)
    start = time.process_time()
    model.fit(batches, verbose=0, shuffle=False)
    return (time.process_time() - start) / STEPS


def report(name: str, measured: list[Any], expected: Callable[[Any, list[Any]], float | None]) -> None:
    """Print how well times are foretold."""
    times = np.log([each for _, each in measured])
    print(f"{name} from {np.exp(times.min()):.3f} to {np.exp(times.max()):.3f}")
    for known in (1, 3, 10, len(measured) - 1):
        errors = []
        for i, (size, true) in enumerate(measured):
            others = [each for j, each in enumerate(measured) if j != i]
            guesses = (expected(size, random.Random(draw).sample(others, min(known, len(others)))) for draw in range(20))
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
    run: list[tuple[Work, float]] = []
    for seed in range(options.networks):
        keras.utils.clear_session()
        model = space.build(sample(space, seed))
        cost = cost_of(model)
        run.append((work_of(model, cost.macs), measure_latency(model)))
        costs = {"macs": float(cost.macs), "activation_bytes": float(cost.activation_bytes)}
        trained.append((costs, measure(model, data)))
        print(f"{run[-1][0]}  {cost.activation_bytes:,} bytes  {trained[-1][1]:.4f} s a step  {run[-1][1]:.4f} ms", flush=True)
    sizes = np.log([list(costs.values()) for costs, _ in trained])
    seconds = np.log([each for _, each in trained])
    powers = np.linalg.lstsq(np.column_stack([np.ones(len(sizes)), sizes]), seconds, rcond=None)[0][1:]
    print(f"powers of MACs and activation memory in the seconds of a step: {powers.round(2)}")
    report("seconds of a step", trained, expected_seconds)
    works = np.array([work.amounts for work, _ in run], float)
    latencies = np.array([each for _, each in run])
    factors, _ = nnls(works / works.mean(axis=0) / latencies[:, None], np.ones(len(run)))
    print("milliseconds of a call, a MAC, a curved element: {:.2g}, {:.2g}, {:.2g}".format(*(factors / works.mean(axis=0))))
    report("milliseconds of a sample", run, expected_latency)


if __name__ == "__main__":
    main()
