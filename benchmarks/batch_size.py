"""Which batch size makes the best networks in a given time.

    python benchmarks/batch_size.py --samples 1500 8000 --seeds 2

Networks of ConvDense, its defaults and random ones that take few operations, are trained on Fashion-MNIST for the time that
--epochs epochs take with batches of 32: with larger batches, for more epochs of fewer steps. Learning rates are those of the
configuration for batches of 32 and, as Adam wants it, times the root of the ratio for others. The table tells the CPU
seconds of an epoch and the accuracy on held-out pictures, as differences from batches of 32, ± standard error over networks
and seeds.
"""

import argparse
import time
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
from image_search import data

from kerasnas.cost import cost_of
from kerasnas.decisions import decisions_of, entries_of
from kerasnas.image_data import channel_statistics
from kerasnas.search.execution import steps_per_execution
from kerasnas.search.fit_input import no_retracing_warnings, steady_input
from kerasnas.spaces import ConvDense
from kerasnas.strategies.space import random_choices

USUAL = 32
MOST_MACS = 5e6


def configurations(space: ConvDense, count: int) -> list[dict[str, Any]]:
    """Return the defaults and random configurations of few operations, all trained with Adam."""
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    decisions, rng, found = decisions_of(entries_of(hp)), np.random.default_rng(0), [{}]
    while len(found) < count:
        values = random_choices(decisions, rng)
        hp = kt.HyperParameters()
        hp.values = dict(values)
        if values["optimizer"] == "adam" and not values["augment"] and cost_of(space.build(hp)).macs <= MOST_MACS:
            found.append(values)
    return found


def train(space: ConvDense, values: dict[str, Any], parts: Any, batch: int, epochs: int, seed: int) -> tuple[float, float]:
    """Return the CPU seconds of an epoch, the first left out, and the accuracy on held-out pictures."""
    hp = kt.HyperParameters()
    hp.values = dict(values)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = space.build(hp)
    model.optimizer.learning_rate = float(model.optimizer.learning_rate) * (batch / USUAL) ** 0.5
    (x, y), (x_valid, y_valid), _ = parts
    model.jit_compile, model.steps_per_execution = False, steps_per_execution(len(x), batch)
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.process_time()))
    with steady_input(model, str(seed)):
        space.fit(hp, model, x, y, batch_size=batch, epochs=epochs, callbacks=[clock], verbose=0)
    with no_retracing_warnings():
        accuracy = np.mean(model.predict(x_valid, batch_size=256, verbose=0).argmax(axis=1) == y_valid)
    return float(np.median(np.diff(ends))), float(accuracy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[1500, 8000], help="pictures to train on")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="with batches of 32")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print("| pictures | batch | CPU s of an epoch | epochs in the same time | accuracy against batches of 32 |")
    print("|---|---|---|---|---|")
    for samples in options.samples:
        seconds: dict[int, list[float]] = {batch: [] for batch in (USUAL, *options.batches)}
        gains: dict[int, list[float]] = {batch: [] for batch in options.batches}
        epochs: dict[int, list[int]] = {batch: [] for batch in options.batches}
        for seed in range(options.seeds):
            parts = data("fashion", samples * 5 // 4, seed)
            mean, deviation = channel_statistics(parts[0][0])
            space = ConvDense.small(parts[0][0].shape[1:], 10, mean=mean, standard_deviation=deviation)
            for values in configurations(space, options.networks):
                usual_s, usual = train(space, values, parts, USUAL, options.epochs, seed)
                for batch in options.batches:
                    each_s, _ = train(space, values, parts, batch, 3, seed)
                    count = max(1, round(options.epochs * usual_s / each_s))
                    accuracy = usual if batch == USUAL else train(space, values, parts, batch, count, seed)[1]
                    seconds[batch].append(each_s)
                    epochs[batch].append(count)
                    gains[batch].append(accuracy - usual)
        for batch in options.batches:
            error = np.std(gains[batch], ddof=1) / len(gains[batch]) ** 0.5
            gain = f"{np.mean(gains[batch]):+.4f} ± {error:.4f}"
            print(
                f"| {samples} | {batch} | {np.mean(seconds[batch]):.2f} | {np.mean(epochs[batch]):.1f} | {gain} |", flush=True
            )


if __name__ == "__main__":
    main()
