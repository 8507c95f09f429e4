"""Fingerprints agree exactly if the networks are the same: by the choices, by brute force over graphs, in another process."""

import itertools
import os
import subprocess
import sys

import keras
import keras_tuner as kt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from kerasnas.decisions import decisions_of, entries_of
from kerasnas.fingerprint import fingerprint
from kerasnas.spaces import ConvDense
from kerasnas.strategies.space import random_choices, walk

# -- configurations of a space --

SPACES = {
    "tiny": ConvDense.tiny((4, 4, 1), 3, flip=True),
    "one": ConvDense((1, 2, 2), 3, stages=3, blocks=1, filters=(4, 8), dense_units=(4, 8)),
}


def decisions(space):
    hp = kt.HyperParameters()
    space.declare_hyperparameters(hp)
    return decisions_of(entries_of(hp))


def build(space, choices):
    hp = kt.HyperParameters()
    hp.values = dict(choices)
    return space.build(hp)


def meaning(space, choices):
    """Return what the choices come to, by the documentation of the space: without what is not used or does nothing."""
    used = {name: value for name, value in choices.items() if name != "schedule"}  # which is a matter of fit
    height, width, _ = space.input_shape
    pools = 0
    for _ in range(choices["stages"] - 1):
        if min(height, width) >= 2:
            pools += 1
            height, width = -(-height // 2), -(-width // 2)
    if pools == 0:
        used.pop("pooling"), used.pop("pool_size")
    if choices["augment"]:
        for name in ("shift", "rotation", "zoom", "mirror"):
            if not choices.get(name):
                used.pop(name, None)
        if not any(name in used for name in ("shift", "rotation", "zoom", "mirror")):
            used["augment"] = False
    for stage in range(1, choices["stages"] + 1):
        if stage > 1:
            used[f"stage_{stage}_double_filters"] = bool(used[f"stage_{stage}_double_filters"])
    return used


@settings(max_examples=20)
@given(
    name=st.sampled_from(sorted(SPACES)),
    seed=st.integers(0, 2**32),
    other=st.integers(0, 2**32),
    changed=st.sets(st.integers(0, 40), max_size=3),
)
def test_two_configurations_agree_exactly_if_they_mean_the_same(name, seed, other, changed):
    space = SPACES[name]
    every = decisions(space)
    first = random_choices(every, np.random.default_rng(seed))
    fresh = random_choices(every, np.random.default_rng(other))
    # Another configuration that differs from the first in a few decisions, so that both answers are common.
    names = {each.name for i, each in enumerate(every) if i in changed}

    def choose(decision, _):
        known = decision.name in first and decision.name not in names
        return first[decision.name] if known else fresh.get(decision.name, decision.from_unit(0.5))

    second = walk(every, choose)
    same = meaning(space, first) == meaning(space, second)
    assert (fingerprint(build(space, first)) == fingerprint(build(space, second))) == same


def test_the_pooling_of_a_single_stage_does_not_count():
    def of(**values):
        return fingerprint(build(ConvDense.tiny((8, 8, 1), 3), values))

    one = {"stages": 1, "augment": False}
    assert of(**one, pooling="max") == of(**one, pooling="stride", pool_size=3)
    two = {"stages": 2, "augment": False}
    assert len({of(**two, pooling=p, pool_size=s) for p in ("max", "average", "stride") for s in (2, 3)}) == 6
    assert of(**one) == of(augment=True, shift=0.0, rotation=0.0, zoom=0.0, stages=1)


SCRIPT = """
import keras, keras_tuner as kt
from kerasnas.fingerprint import fingerprint
from kerasnas.spaces import ConvDense
for values in ({values!r}):
    hp = kt.HyperParameters()
    hp.values = dict(values)
    keras.layers.Dense(3)  # numbers the names of layers otherwise
    print(fingerprint(ConvDense.tiny((8, 8, 1), 3).build(hp), [1, "a"]))
"""


@pytest.mark.slow
def test_another_process_on_another_backend_agrees():
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    values = [
        {"normalization": "batch", "augment": True, "shift": 0.1, "optimizer": "adamw", "learning_rate": 1e-3, "l2": 1e-4},
        {"normalization": "layer", "stage_1_kind": "inverted_residual", "optimizer": "sgd", "label_smoothing": 0.1},
    ]
    environment = os.environ | {"KERAS_BACKEND": "jax", "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(values=values)], capture_output=True, text=True, env=environment, check=True
    )
    space = ConvDense.tiny((8, 8, 1), 3)
    assert done.stdout.split() == [fingerprint(build(space, each), [1, "a"]) for each in values]


# -- graphs --


@st.composite
def graphs(draw, most=5):
    """Nodes as (which layer, parents); nodes of one layer share it. Node -1 is the input."""
    nodes = []
    for i in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["a", "b", "c", "dropout", "subtract"]))
        count = 2 if kind == "subtract" else 1
        nodes.append((kind, draw(st.integers(0, 1)), tuple(draw(st.integers(-1, i - 1)) for _ in range(count))))
    return nodes


def sinks(nodes):
    read = {parent for _, _, parents in nodes for parent in parents}
    return [i for i in range(len(nodes)) if i not in read]


def realise(nodes, order, shuffle=0):
    """Build the graph with its nodes made in `order`; equal (kind, copy) of a, b and c are one layer."""
    made, tensors = {}, {-1: keras.Input((4,), name=f"in_{shuffle}")}
    for i in order:
        kind, copy, parents = nodes[i]
        if kind == "subtract":
            tensors[i] = layers.Subtract()([tensors[p] for p in parents])
        elif kind == "dropout":
            tensors[i] = layers.Dropout(0.5, name=f"drop_{shuffle}_{i}")(tensors[parents[0]])
        else:
            key = (kind, copy)
            if key not in made:
                made[key] = layers.Dense(4, activation={"a": "relu", "b": "tanh", "c": "elu"}[kind])
            tensors[i] = made[key](tensors[parents[0]])
    ends = [tensors[i] for i in sinks(nodes)]
    model = keras.Model(tensors[-1], ends[0] if len(ends) == 1 else layers.Concatenate()(ends))
    model.compile("sgd", "mse")
    return model


def isomorphic(one, two):
    """Try every renumbering of nodes that keeps kinds, parents, the sharing of layers and the order of the ends."""
    if len(one) != len(two) or len(sinks(one)) != len(sinks(two)):
        return False
    for renumbering in itertools.permutations(range(len(one))):
        to = {-1: -1} | dict(enumerate(renumbering))
        fits = all(
            one[i][0] == two[to[i]][0] and tuple(to[p] for p in one[i][2]) == two[to[i]][2] for i in range(len(one))
        ) and [to[i] for i in sinks(one)] == sinks(two)
        if not fits:
            continue
        weighted = [i for i in range(len(one)) if one[i][0] in "abc"]
        if all((one[i][:2] == one[j][:2]) == (two[to[i]][:2] == two[to[j]][:2]) for i in weighted for j in weighted):
            return True
    return False


@settings(max_examples=30)
@given(data=st.data(), nodes=graphs())
def test_graphs_agree_exactly_if_they_are_isomorphic(data, nodes):
    order = sorted(range(len(nodes)), key=lambda i: (depth(nodes, i), data.draw(st.integers(0, 3))))
    print_of = fingerprint(realise(nodes, range(len(nodes))))
    assert fingerprint(realise(nodes, order, shuffle=1)) == print_of
    i = data.draw(st.integers(0, len(nodes) - 1))
    kind, _, parents = nodes[i]
    moved = tuple(data.draw(st.integers(-1, i - 1)) for _ in parents)
    other = [*nodes[:i], (kind, data.draw(st.integers(0, 1)), moved), *nodes[i + 1 :]]
    assert (fingerprint(realise(other, range(len(other)))) == print_of) == isomorphic(nodes, other)


def depth(nodes, i):
    return 0 if i < 0 else 1 + max(depth(nodes, p) for p in nodes[i][2])


@pytest.mark.parametrize("merge", [layers.Add, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum])
def test_a_symmetric_merge_has_no_order(merge):
    def of(order, kind=merge):
        inputs = keras.Input((4,))
        branches = [layers.Dense(4, activation=a)(inputs) for a in ("relu", "tanh", "elu")]
        model = keras.Model(inputs, layers.Dense(2)(kind()([branches[i] for i in order])))
        model.compile("sgd", "mse")
        return fingerprint(model)

    orders = [(0, 1, 2), (2, 0, 1), (1, 0, 2)]
    assert len({of(order) for order in orders}) == 1
    assert len({of(order, layers.Concatenate) for order in orders}) == 3
    assert of([0, 1, 1]) != of([0, 0, 1])


def test_nested_models_agree_with_flat_ones_unless_they_are_called_otherwise():
    def parts():
        return [layers.Dense(4), layers.Dropout(0.5), layers.Dense(2)]

    def of(*stack, **kwargs):
        x = inputs = keras.Input((3,))
        for each in stack:
            x = each(x, **(kwargs if isinstance(each, keras.Model) else {}))
        model = keras.Model(inputs, x)
        model.compile("sgd", "mse")
        return fingerprint(model)

    def nested():
        return keras.Sequential([keras.Input((3,)), *parts()])

    assert of(*parts()) == of(nested()) == of(nested(), training=None)
    assert of(nested(), training=False) != of(nested())
    frozen = nested()
    frozen.trainable = False
    assert of(frozen) != of(nested())


def test_several_inputs_and_outputs_keep_their_names_and_their_order():
    def of(names=("a", "b"), swap=False, loss=("mse", "mae")):
        inputs = [keras.Input((2,), name=name) for name in names]
        x = layers.Subtract()(inputs[::-1] if swap else inputs)
        ends = [layers.Dense(1, name="y")(x), layers.Dense(1, name="z")(x)]
        model = keras.Model(inputs, ends)
        model.compile("sgd", list(loss))
        return fingerprint(model)

    assert of() == of()
    assert len({of(), of(("b", "a")), of(swap=True), of(loss=("mae", "mse"))}) == 4
