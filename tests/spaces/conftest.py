import itertools

import keras
import keras_tuner as kt
import numpy as np
import pytest

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.strategies import Discrete
from kerasnas.strategies.space import random_choices


class Sampler:
    """Draws configurations of a HyperModel."""

    def __init__(self, space):
        self.space = space
        hp = kt.HyperParameters()
        space.declare_hyperparameters(hp)
        self.decisions = decisions_of(entries_of(hp))

    def draw(self, seed):
        return random_choices(self.decisions, np.random.default_rng(seed))

    def hyperparameters(self, choices):
        hp = kt.HyperParameters()
        hp.values = dict(choices)
        return hp

    def build(self, choices):
        return self.space.build(self.hyperparameters(choices))

    def options(self, names=None):
        """Every (name, value) of the decisions that list their values."""
        return {
            (d.name, value)
            for d in self.decisions
            if isinstance(d, Discrete) and (names is None or d.name in names)
            for value in d.values
        }

    def pairs(self, names):
        """Every pair of options of two decisions that can occur together."""
        drawn = (self.draw([99, seed]) for seed in range(1000))
        return set().union(*(self.pairs_of(choices, names) for choices in drawn))

    def pairs_of(self, choices, names):
        return set(itertools.combinations([(name, choices[name]) for name in names if name in choices], 2))

    def cover(self, wanted, of, candidates=40):
        """Draw configurations, each the one of `candidates` that has most of what is still wanted."""
        chosen, left = [], set(wanted)
        while left:
            draws = [self.draw([len(chosen), i]) for i in range(candidates)]
            best = max(draws, key=lambda choices: len(of(choices) & left))
            left -= of(best)
            chosen.append(best)
            assert len(chosen) < 200, f"cannot cover {left}"
        return chosen

    def cover_options(self):
        return self.cover(self.options(), lambda choices: set(choices.items()))


@pytest.fixture
def sampler():
    return Sampler


@pytest.fixture
def shake():
    """Give every weight of a model, moving statistics included, a value that a mistake would show in."""

    def shake(model, seed=0):
        rng = np.random.default_rng(seed)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
                layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        return model

    return shake
