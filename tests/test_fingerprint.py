"""Fingerprints against descriptions made without them: of choices, of graphs by brute force, of single changes."""

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
from kerasnas.errors import InvalidArgument
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


@settings(max_examples=20, deadline=None)
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


@settings(max_examples=30, deadline=None)
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


# -- single changes --


def change(name="m", batch_norm=True, seed=1, copies=True, frozen=False, momentum=0.99, rate=0.5, metrics=("mae",), **rest):
    """Build one network, with changes."""
    get = {
        "size": 8, "dtype": "float32", "filters": 4, "kernel": 3, "activation": "relu", "padding": "same", "bias": True,
        "initializer": keras.initializers.HeNormal(seed=seed), "regularizer": None, "constraint": None, "optimizer": None,
        "loss": keras.losses.CategoricalCrossentropy(), "pool": layers.GlobalAveragePooling2D, "units": 3, "policy": "float32",
        "loss_weights": None, "run": {},
    } | rest  # fmt: skip
    x = inputs = keras.Input((get["size"], get["size"], 1), name=f"{name}_in", dtype=get["dtype"])
    x = layers.Conv2D(
        get["filters"],
        get["kernel"],
        padding=get["padding"],
        activation=get["activation"],
        use_bias=get["bias"],
        kernel_initializer=get["initializer"],
        kernel_regularizer=get["regularizer"],
        kernel_constraint=get["constraint"],
        dtype=get["policy"],
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(momentum=momentum, trainable=not frozen)(x) if batch_norm else x
    x = layers.Flatten()(get["pool"]()(x))
    first = layers.Dense(5)
    second = layers.Dense(5) if copies else first
    x = layers.Add()([first(x), second(x)])
    x = layers.Dropout(rate, seed=seed, name=f"{name}_drop")(x)
    model = keras.Model(inputs, layers.Dense(get["units"], activation="softmax")(x), name=name)
    model.compile(
        get["optimizer"] or keras.optimizers.Adam(1e-3),
        get["loss"],
        metrics=list(metrics),
        loss_weights=get["loss_weights"],
        **get["run"],
    )
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"seed": 2},
        {"metrics": ["accuracy", "mse"]},
        {"run": {"jit_compile": True, "steps_per_execution": 8}},
        {"run": {"run_eagerly": True}},
        {"optimizer": "adam"},
        {"optimizer": keras.optimizers.Adam(0.001, name="mine")},
        {"loss": [keras.losses.CategoricalCrossentropy(name="mine")]},
        {"initializer": "he_normal"},
        {"rate": 1 / 2},
    ],
)
def test_what_does_not_count(changes):
    assert fingerprint(change(**changes)) == fingerprint(change()) is not None


SCHEDULE = keras.optimizers.schedules.CosineDecay


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 9},
        {"dtype": "uint8"},
        {"policy": "mixed_float16"},
        {"policy": "float64"},
        {"filters": 5},
        {"kernel": 5},
        {"padding": "valid"},
        {"activation": "elu"},
        {"bias": False},
        {"initializer": "glorot_uniform"},
        {"regularizer": keras.regularizers.L2(1e-4)},
        {"regularizer": keras.regularizers.L1(1e-4)},
        {"constraint": keras.constraints.MaxNorm(2)},
        {"batch_norm": False},
        {"momentum": 0.9},
        {"frozen": True},
        {"pool": layers.GlobalMaxPooling2D},
        {"copies": False},
        {"rate": 0.4},
        {"units": 4},
        {"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.1)},
        {"loss": "mse"},
        {"loss": None},
        {"loss_weights": [0.5]},
        {"optimizer": keras.optimizers.Adam(2e-3)},
        {"optimizer": keras.optimizers.AdamW(1e-3)},
        {"optimizer": keras.optimizers.Adam(1e-3, clipnorm=1.0)},
        {"optimizer": keras.optimizers.Adam(SCHEDULE(1e-3, 100))},
        {"optimizer": keras.optimizers.Adam(SCHEDULE(1e-3, 200))},
    ],
)
def test_each_single_change_counts(changes):
    changed = fingerprint(change(**changes))
    assert changed is not None
    assert changed != fingerprint(change())


def test_single_changes_all_differ():
    rates = [fingerprint(change(optimizer=keras.optimizers.SGD(rate))) for rate in (0.1, 0.1000001, 0.2)]
    schedules = [fingerprint(change(optimizer=keras.optimizers.SGD(SCHEDULE(0.1, steps)))) for steps in (10, 20)]
    assert len({*rates, *schedules}) == 5


def test_frozen_by_the_model_around_it():
    model = change()
    model.trainable = False
    thawed = change()
    thawed.trainable = False
    thawed.layers[1].trainable = True
    around = change()
    around.trainable = False
    for layer in around.layers:
        layer.trainable = True
    assert around.trainable_variables == []  # whatever its layers say
    assert len({fingerprint(each) for each in (change(), model, thawed, around)}) == 4


# -- weights --


def test_weights_that_are_not_as_initialised_count():
    one, two, three = change(seed=1), change(seed=2), change(seed=3)
    for weight in (two.layers[1].bias, three.layers[1].bias):
        weight.assign(np.arange(4.0))
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(two) != fingerprint(three)  # their kernels, drawn at random, have become part of it
    three.layers[1].kernel.assign(two.layers[1].kernel)
    assert fingerprint(two) == fingerprint(three)


def test_fresh_layers_of_every_kind_are_seen_as_fresh():
    def of():
        x = inputs = keras.Input((6, 4))
        x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
        x = layers.GRU(3, return_sequences=True)(layers.SeparableConv1D(4, 3, depthwise_initializer="ones")(x))
        x = layers.MultiHeadAttention(2, 3)(x, x)
        x = layers.TimeDistributed(layers.Dense(3, bias_initializer=keras.initializers.Constant(0.1)))(x)
        x = layers.LayerNormalization()(layers.DepthwiseConv1D(2)(x))
        model = keras.Model(inputs, layers.PReLU()(layers.EinsumDense("abc,cd->abd", (3, 2), bias_axes="d")(x)))
        model.compile("sgd", "mse")
        return fingerprint(model)

    assert of() == of() is not None


def test_adapted_normalization_counts():
    def of(data):
        scale = layers.Normalization()
        scale.adapt(np.asarray(data, "float32"))
        model = keras.Sequential([keras.Input((1,)), scale, layers.Dense(1)])
        model.compile("sgd", "mse")
        return fingerprint(model)

    assert of([[1.0], [2.0]]) == of([[2.0], [1.0]]) != of([[1.0], [3.0]])


def test_tied_weights_count():
    def of(tied):
        first, second = layers.Dense(3, use_bias=False), layers.Dense(3, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), first, second])
        if tied:
            second._trainable_variables[0] = first.kernel
        model.compile("sgd", "mse")
        return fingerprint(model)

    assert of(True) != of(False)


# -- no claim --


def gelu(x):  # bears the name of an activation of Keras
    return x


@keras.saving.register_keras_serializable("test_fingerprint")
def known(x):
    return x


class Custom(layers.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("test_fingerprint")
class Scale(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.built = True

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


class Own(keras.Model):
    def train_step(self, data):
        return {}


class Loss(keras.losses.Loss):
    def call(self, a, b):
        return a - b


class Penalty(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 0.0

    def get_config(self):
        return {}


def with_layer(*stack, optimizer="sgd", loss="mse"):
    model = keras.Sequential([keras.Input((3,)), *stack])
    model.compile(optimizer, loss)
    return model


def lookup():
    layer = layers.StringLookup()
    layer.adapt(["a", "b"])
    model = keras.Sequential([keras.Input((1,), dtype="string"), layer])
    model.compile("sgd", "mse")
    return model


def excluded():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return with_layer(layers.Dense(1), optimizer=optimizer)


def trained():
    model = with_layer(layers.Dense(1))
    model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    return model


def subclassed():
    model = keras.Model(x := keras.Input((3,)), layers.Dense(1)(x))
    model = Own(model.inputs, model.outputs)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "build",
    [
        lambda: with_layer(layers.Lambda(lambda x: x)),
        lambda: with_layer(layers.Activation(lambda x: x)),
        lambda: with_layer(layers.Dense(2, activation=gelu)),
        lambda: (
            with_layer(layers.TimeDistributed(layers.Dense(2, activation=gelu)))
            if False
            else with_layer(layers.Reshape((1, 3)), layers.TimeDistributed(layers.Dense(2, activation=gelu)))
        ),
        lambda: with_layer(layers.Dense(2, kernel_regularizer=Penalty())),
        lambda: with_layer(Custom()),
        lambda: with_layer(layers.Dense(2), loss=lambda a, b: a - b),
        lambda: with_layer(layers.Dense(2), loss=Loss()),
        lambda: with_layer(layers.Dense(2), loss="no_such_loss"),
        lambda: with_layer(layers.Dense(2), optimizer=type("Mine", (keras.optimizers.SGD,), {})()),
        lambda: keras.Sequential([keras.Input((3,)), layers.Dense(2)]),
        lookup,
        excluded,
        trained,
        subclassed,
    ],
)
def test_no_claim_about_what_a_configuration_does_not_tell(build):
    assert fingerprint(build()) is None


def test_what_is_registered_is_taken_at_its_word():
    assert fingerprint(with_layer(Scale(2.0))) == fingerprint(with_layer(Scale(2.0))) is not None
    assert fingerprint(with_layer(Scale(2.0))) != fingerprint(with_layer(Scale(3.0)))
    activation = fingerprint(with_layer(layers.Dense(2, activation=known)))
    assert activation is not None
    assert activation != fingerprint(with_layer(layers.Dense(2)))


# -- the rest --


def test_extra_counts_in_every_part_and_must_be_plain():
    model = change()
    extras = [(), None, {"epochs": 1}, {"epochs": 2}, {"name": "a"}, {"name": "b"}, [1], ["1"], [True], [1.5]]
    assert len({fingerprint(model, extra) for extra in extras}) == len(extras)
    assert fingerprint(model, {"a": 1, "b": (2,)}) == fingerprint(model, {"b": [2.0], "a": 1})
    for wrong in (object(), float("nan"), {1, 2}):
        with pytest.raises(InvalidArgument, match="extra"):
            fingerprint(model, wrong)
    with pytest.raises(InvalidArgument, match="Keras 3 model"):
        fingerprint(layers.Dense(2))


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
