"""What is decided about a network, and in which order it is tried."""

import keras
import numpy as np
import pytest

from kerasnas.compress import prune_channels
from kerasnas.compression_search.proposer import Proposer
from kerasnas.compression_search.recipe import RATIOS, Recipe
from kerasnas.strategies import Dyna, RandomSearch
from kerasnas.strategies.decision import active_decisions
from kerasnas.strategies.space import random_choices

layers = keras.layers


@pytest.fixture(scope="module")
def residual():
    """Six groups of channels, one of them tied by an addition."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", name="stem")(x))
    for number in range(4):
        z = layers.Conv2D(20 + number, 3, padding="same", activation="relu", name=f"in{number}")(y)
        y = layers.Add()([y, layers.Conv2D(16, 3, padding="same", name=f"out{number}")(z)])
    hidden = layers.Dense(24, activation="relu", name="hidden")(layers.GlobalAveragePooling2D()(y))
    return keras.Model(x, layers.Dense(4, activation="softmax")(hidden))


def test_tied_layers_share_a_stage_and_every_free_layer_has_one(residual):
    stages = Recipe(residual, 4).stages
    assert len(stages) == 4
    assert sorted(layer for stage in stages for layer in stage) == sorted(
        ["stem", "hidden", *(f"in{i}" for i in range(4)), *(f"out{i}" for i in range(4))]
    )
    assert {"stem", "out0", "out1", "out2", "out3"} <= set(stages[0])


@pytest.mark.filterwarnings("ignore:the share is less than one channel")
def test_any_choices_can_be_pruned_and_their_size_is_known_before(residual):
    recipe, rng = Recipe(residual, 8), np.random.default_rng(3)
    seen = set()
    for _ in range(12):
        choices = random_choices(recipe.decisions, rng)
        seen.add(choices["shape"])
        settings = {**recipe.settings(choices), "importance": "magnitude"}
        assert prune_channels(residual, **{**settings, "distill": 0.0}).count_params() == recipe.parameters(choices)
    assert seen == {"even", "stages", "global"}
    first = recipe.first(0.5)
    assert [d.name for d in active_decisions(recipe.decisions, first)] == [d.name for d in recipe.decisions if not d.conditions]
    assert first["epochs"] == 8


def test_a_model_with_nothing_to_prune_has_no_decisions():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    assert Recipe(model, 4).decisions == []


@pytest.mark.parametrize("limit", [0.05, 0.4, 0.57, 0.9, 0.99])
def test_halving_finds_how_much_can_go(residual, limit):
    proposer = Proposer(Recipe(residual, 4), RandomSearch(), 0)
    tried = []
    while (proposal := proposer.propose())[1] == "halving":
        choices, phase = proposal
        tried.append(choices["ratio"])
        proposer.observe(choices, phase, 0.0, wants_less=choices["ratio"] <= limit)
    fit = [ratio for ratio in tried if ratio <= limit]
    assert len(tried) <= 4
    assert max(fit, default=None) == max((ratio for ratio in RATIOS if ratio <= limit), default=None)


def test_the_same_trials_lead_to_the_same_proposals(residual):
    def run(count):
        proposer = Proposer(Recipe(residual, 4), Dyna(initial=3), 5)
        history = []
        for _ in range(count):
            choices, phase = proposer.propose()
            told = (choices, phase, -float(choices["ratio"]), choices["ratio"] < 0.5)
            proposer.observe(*told[:3], wants_less=told[3])
            history.append(told)
        return history, proposer

    history, proposer = run(7)
    again = Proposer(Recipe(residual, 4), Dyna(initial=3), 5)
    for choices, phase, merit, wants_less in history:
        again.observe(choices, phase, merit, wants_less=wants_less)
    assert again.propose() == proposer.propose()
    assert len({str(sorted(choices.items())) for choices, *_ in history}) == 7
