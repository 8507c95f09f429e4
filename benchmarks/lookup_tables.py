"""Tables of networks that others trained, to search without training: NAS-Bench-Macro and FCNet."""

import csv
import gzip
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies import Choices, Discrete

__all__ = ["READERS", "Table"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Every configuration of a space with the scores of its training runs.

    Args:
        title: what the table is, for people.
        unit: in which regrets are shown: the scores' own, multiplied by `scale`.
        decisions: all unconditional.
        scores: larger is better, shape (values of decision 1, ..., values of decision n, runs).
        costs: what a configuration costs, smaller is better, by name; shape (values of decision 1, ..., values of decision n).
    """

    title: str
    unit: str
    decisions: tuple[Discrete, ...]
    scores: Array
    scale: float = 1.0
    costs: Mapping[str, Array] = field(default_factory=dict)

    @cached_property
    def _regrets(self) -> Array:
        means = self.scores.mean(axis=-1)
        return np.asarray(means.max() - means)

    def regret(self, choices: Choices) -> float:
        """Return by how much the mean over the runs of `choices` is below the best mean."""
        return float(self._regrets[self._cell(choices)])

    def score(self, choices: Choices, seed: int, trial: int) -> float:
        """Return the score of one run drawn by (seed, trial): the same run for whatever is tried in that trial."""
        # The last word keeps the noise apart from generators that a search seeds with (seed, trial).
        run = np.random.default_rng([seed, trial, 2**31]).integers(self.scores.shape[-1])
        return float(self.scores[*self._cell(choices), run])

    def cost(self, choices: Choices) -> tuple[float, ...]:
        """Return what `choices` cost, in the order of `costs`."""
        return tuple(float(cost[self._cell(choices)]) for cost in self.costs.values())

    def _cell(self, choices: Choices) -> tuple[int, ...]:
        return tuple(decision.index(choices[decision.name]) for decision in self.decisions)


def _file(name: str) -> Path:
    path = Path(os.environ.get("KERASNAS_DATA", "../shared/data")) / name
    if not path.is_file():
        sys.exit(f"{path} is missing: set KERASNAS_DATA to the folder that holds {name}.")
    return path


def read_macro() -> Table:
    """Read NAS-Bench-Macro (Su et al. 2021): one of three blocks in each of eight layers, three runs on CIFAR-10."""
    decisions = tuple(Discrete(name=f"layer_{i}", values=("0", "1", "2")) for i in range(8))
    scores, flops = np.full([3] * 8 + [3], np.nan), np.full([3] * 8, np.nan)
    with gzip.open(_file("nas_bench_macro_cifar10.csv.gz"), "rt") as file:
        for row in csv.DictReader(file):
            cell = tuple(int(digit) for digit in row["arch"])
            scores[cell] = [float(row[f"test_acc_{i}"]) for i in (1, 2, 3)]
            flops[cell] = float(row["flops"])
    return Table("NAS-Bench-Macro, CIFAR-10", "points of accuracy", decisions, scores, costs={"operations": flops})


def read_fcnet(data_set: str) -> Table:
    """Read one FCNet table (Klein & Hutter 2019): 62,208 two-layer networks for regression, four runs each."""
    units = (16, 32, 64, 128, 256, 512)
    decisions = (
        Discrete(name="activation_fn_1", values=("relu", "tanh")),
        Discrete(name="activation_fn_2", values=("relu", "tanh")),
        Discrete(name="batch_size", values=(8, 16, 32, 64), ordered=True),
        Discrete(name="dropout_1", values=(0.0, 0.3, 0.6), ordered=True),
        Discrete(name="dropout_2", values=(0.0, 0.3, 0.6), ordered=True),
        Discrete(name="init_lr", values=(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1), ordered=True),
        Discrete(name="lr_schedule", values=("cosine", "const")),
        Discrete(name="n_units_1", values=units, ordered=True),
        Discrete(name="n_units_2", values=units, ordered=True),
    )
    with np.load(_file(f"hpolib_fcnet_{data_set}.npz")) as file:
        cells, loss = tuple(file["config_index"].T), file["val_loss"].astype(float)
        given = {"parameters": file["model_size"], "training time": file["train_time"]}
    shape = [decision.size for decision in decisions]
    scores = np.full([*shape, loss.shape[1]], np.nan)
    scores[cells] = -loss
    costs = {name: np.full(shape, np.nan) for name in given}
    for name, values in given.items():
        costs[name][cells] = values
    title = f"FCNet, {data_set.replace('_', ' ')}"
    return Table(title, "10⁻³ of validation loss", decisions, scores, 1e3, costs)


READERS: dict[str, Callable[[], Table]] = {
    "macro": read_macro,
    "fcnet_naval": partial(read_fcnet, "naval_propulsion"),
    "fcnet_parkinsons": partial(read_fcnet, "parkinsons_telemonitoring"),
    "fcnet_protein": partial(read_fcnet, "protein_structure"),
    "fcnet_slice": partial(read_fcnet, "slice_localization"),
}
