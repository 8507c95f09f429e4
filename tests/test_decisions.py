"""The space as strategies see it, in whatever order it comes."""

import keras_tuner as kt
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.decisions import decisions_of, entries_of, parents_first
from kerasnas.spaces import ConvDense
from kerasnas.strategies.decision import active_choices
from kerasnas.strategies.space import random_choices

HP = kt.HyperParameters()
ConvDense.tiny((8, 8, 3), 4, flip=True).declare_hyperparameters(HP)
ENTRIES = [{"kind": type(hp).__name__, **hp.get_config()} for hp in HP.space]


def parents(entry):
    return {condition["config"]["name"] for condition in entry["conditions"]}


def test_what_is_in_order_stays_as_it_is():
    assert parents_first(ENTRIES) == entries_of(HP) == ENTRIES


@given(st.permutations(ENTRIES))
def test_every_order_becomes_one_in_which_parents_come_first(shuffled):
    ordered = parents_first(shuffled)
    assert sorted(map(str, ordered)) == sorted(map(str, ENTRIES))
    for place, entry in enumerate(ordered):
        assert parents(entry) <= {before["name"] for before in ordered[:place]}


def test_a_space_that_a_worker_was_sent_has_the_same_active_values():
    sent = decisions_of(entries_of(kt.HyperParameters.from_proto(HP.to_proto())))
    stated, rng, met = decisions_of(ENTRIES), np.random.default_rng(0), set()
    for _ in range(50):
        values = random_choices(stated, rng)
        assert active_choices(sent, values) == values
        met |= values.keys()
    assert {"learning_rate", "sgd_learning_rate", "shift", "mirror", "stage_2_skip"} <= met  # children of every kind


def test_what_cannot_be_ordered_is_left():
    circle = [
        {"name": name, "conditions": [{"class_name": "Parent", "config": {"name": other, "values": [1]}}]}
        for name, other in (("a", "b"), ("b", "a"))
    ]
    free = {"name": "c", "conditions": [{"class_name": "Parent", "config": {"name": "unknown", "values": [1]}}]}
    assert parents_first([*circle, free]) == [free, *circle]
