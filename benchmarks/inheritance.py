"""What inherited weights are worth: short trainings of Fashion-MNIST networks from scratch and from a trained relative.

A child is a network of ConvDense.small; its parent differs in one to three choices (--pairs of them), or is drawn at random
(--strangers of them). The parent is trained; then the child is trained from scratch, for --long epochs, and from the parent's
weights, for --short epochs. Pictures are halved, so that it takes minutes on a CPU. All trainings keep the learning rate
constant and add no augmentation, so that the first epochs of a long training are a short one. Two questions: how much better is
the inherited child after each epoch, and does a ranking by short trainings agree with the ranking by long ones from scratch?

    python benchmarks/inheritance.py --pairs 12 --strangers 6
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
from scipy import stats

from kerasnas.atomic import write_json
from kerasnas.datasets import load
from kerasnas.decisions import decisions_of, entries_of
from kerasnas.image_data import encode_labels
from kerasnas.search.inheritance import inherit
from kerasnas.spaces import ConvDense
from kerasnas.strategies.encoding import Encoding

FIXED = {"augment": False, "schedule": "constant", "label_smoothing": 0.0}
SAMPLES = 2000


@dataclass(frozen=True)
class Pair:
    """One parent and child.

    Attributes:
        kind: "relative" or "stranger".
        moves: number of choices drawn again.
        share: of the child's trainable weights that it inherited.
        at_once: validation accuracy of the child before any training.
        parent: validation accuracy of the parent after its training.
        scratch: validation accuracy after each epoch from scratch.
        inherited: likewise from the parent's weights.
    """

    kind: str
    moves: int
    share: float
    at_once: float
    parent: float
    scratch: list[float]
    inherited: list[float]


class Data:
    """Training and validation pictures, of 28 / `shrink` pixels."""

    def __init__(self, limit: int, shrink: int) -> None:
        dataset = load("fashion_mnist").take(limit + SAMPLES)
        labels, side = encode_labels(dataset.y_train)[1], 28 // shrink
        x = dataset.x_train.reshape(-1, side, shrink, side, shrink, 1).mean(axis=(2, 4)).astype("float32")
        self.train, self.validation = (x[:limit], labels[:limit]), (x[limit:], labels[limit:])


class Family:
    """Draws configurations, and relatives of them, that are small enough to be trained here."""

    def __init__(self, largest: float, shrink: int) -> None:
        self.space = ConvDense.small((28 // shrink, 28 // shrink, 1), 10)
        hp = kt.HyperParameters()
        self.space.declare_hyperparameters(hp)
        self._encoding = Encoding(decisions_of(entries_of(hp)))
        self._largest = largest

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return any configuration."""
        while True:
            values = self._encoding.decode(self._encoding.sample(1, rng)[0])
            if self._fits(values):
                return values

    def relative(self, values: dict[str, Any], moves: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a configuration with `moves` other choices, some of them of the network itself."""
        while True:
            row = self._encoding.encode([values])
            other = self._encoding.decode(self._encoding.mutate(row, rng, moves=moves)[0])
            if self._name(other) != self._name(values) and self._fits(other):
                return other

    def build(self, values: dict[str, Any], seed: int) -> keras.Model:
        """Return a compiled model."""
        keras.utils.set_random_seed(seed)
        hp = kt.HyperParameters()
        hp.values = values | FIXED
        return self.space.build(hp)

    def _name(self, values: dict[str, Any]) -> str:
        """Return what distinguishes two networks; choices of the training alone do not make a relative."""
        rates = ("optimizer", "learning_rate", "sgd_learning_rate", "dropout", "l2", "shift", "rotation", "zoom", "augment")
        ignored = {*rates, "schedule", "label_smoothing"}
        return json.dumps({name: value for name, value in values.items() if name not in ignored}, sort_keys=True)

    def _fits(self, values: dict[str, Any]) -> bool:
        keras.utils.clear_session(free_memory=False)
        model = self.build(values, 0)
        work = sum(layer.count_params() * int(np.prod(layer.output.shape[1:-1])) for layer in model.layers if layer.weights)
        return work <= self._largest


def train(family: Family, model: keras.Model, values: dict[str, Any], data: Data, epochs: int) -> list[float]:
    """Return the validation accuracy after each epoch."""
    hp = kt.HyperParameters()
    hp.values = values | FIXED
    history = family.space.fit(hp, model, *data.train, epochs=epochs, validation_data=data.validation, batch_size=64, verbose=0)
    return [float(v) for v in history.history["val_accuracy"]]


def compare(family: Family, data: Data, kind: str, seed: int, *, parent_epochs: int, short: int, long: int) -> Pair:
    rng = np.random.default_rng([seed, kind == "stranger"])
    child = family.draw(rng)
    moves = int(rng.integers(1, 4)) if kind == "relative" else 0
    parent = family.relative(child, moves, rng) if kind == "relative" else family.draw(rng)
    donor = family.build(parent, seed)
    ended = train(family, donor, parent, data, parent_epochs)[-1]
    model = family.build(child, seed + 1)
    share = inherit(model, donor).share
    y = keras.utils.to_categorical(data.validation[1], 10)
    at_once = float(model.evaluate(data.validation[0], y, batch_size=500, verbose=0, return_dict=True)["accuracy"])
    inherited = train(family, model, child, data, short)
    scratch = train(family, family.build(child, seed + 2), child, data, long)
    keras.utils.clear_session()
    return Pair(kind, moves, share, at_once, ended, scratch, inherited)


def report(pairs: Sequence[Pair]) -> None:
    rng = np.random.default_rng(0)
    for kind in ("relative", "stranger"):
        of = [pair for pair in pairs if pair.kind == kind]
        if len(of) < 3:
            continue
        scratch, inherited = (np.array([getattr(pair, name) for pair in of]) for name in ("scratch", "inherited"))
        final = scratch[:, -1]
        shares, starts, parents = (np.mean([getattr(p, n) for p in of]) for n in ("share", "at_once", "parent"))
        print(
            f"{kind}s: {len(of)} pairs, {shares:.0%} of weights inherited, parents {parents:.3f}, children at once {starts:.3f}"
        )
        print(f"{'epoch':>8}{'scratch':>10}{'inherited':>11}{'gain (95 %)':>26}{'rho scratch':>22}{'rho inherited':>22}")
        for epoch in range(inherited.shape[1]):
            gain = inherited[:, epoch] - scratch[:, epoch]
            half = stats.t.ppf(0.975, len(of) - 1) * gain.std(ddof=1) / np.sqrt(len(of))
            ranks = [_spearman(values[:, epoch], final, rng) for values in (scratch, inherited)]
            print(
                f"{epoch + 1:>8}{scratch[:, epoch].mean():>10.3f}{inherited[:, epoch].mean():>11.3f}"
                f"{f'{gain.mean():+.3f} +- {half:.3f}':>26}{ranks[0]:>22}{ranks[1]:>22}"
            )
        print(f"{scratch.shape[1]:>8}{final.mean():>10.3f}  (the long training from scratch)")


def _spearman(one: Any, other: Any, rng: np.random.Generator) -> str:
    """Return the rank correlation with the 95 % interval of a bootstrap over pairs."""
    draws = [rng.integers(len(one), size=len(one)) for _ in range(1000)]
    values = [stats.spearmanr(one[i], other[i]).statistic for i in draws if len(set(one[i])) > 1 and len(set(other[i])) > 1]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{stats.spearmanr(one, other).statistic:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--strangers", type=int, default=6)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--shrink", type=int, default=2, choices=(1, 2, 4), help="pictures are shrunk by this factor")
    parser.add_argument("--parent-epochs", type=int, default=6)
    parser.add_argument("--short", type=int, default=4)
    parser.add_argument("--long", type=int, default=10)
    parser.add_argument("--largest", type=float, default=1e6, help="multiply-adds of the largest network, about")
    parser.add_argument("--results", type=Path, help="a JSON file for the single pairs")
    arguments = parser.parse_args()
    family, data = Family(arguments.largest, arguments.shrink), Data(arguments.samples, arguments.shrink)
    epochs = {"parent_epochs": arguments.parent_epochs, "short": arguments.short, "long": arguments.long}
    counts = {"relative": arguments.pairs, "stranger": arguments.strangers}
    pairs: list[Pair] = []
    start = time.perf_counter()
    # In turn, so that a run that is stopped early has some of both.
    turns = [(seed / count, kind, seed) for kind, count in counts.items() for seed in range(count)]
    for _, kind, seed in sorted(turns):
        pairs.append(compare(family, data, kind, 7919 * seed, **epochs))
        print(f"{time.perf_counter() - start:6.0f} s {pairs[-1]}", flush=True)
        if arguments.results:
            write_json(arguments.results, [vars(pair) for pair in pairs])
    report(pairs)


if __name__ == "__main__":
    main()
