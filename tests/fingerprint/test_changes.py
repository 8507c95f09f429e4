"""What changes a fingerprint and what does not: one thing at a time of the network, of its weights, of what comes with it."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.fingerprint import fingerprint

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
        {"kernel": (3, 3)},
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


# -- weights --


def test_weights_that_are_not_as_initialised_count():
    one, two, three = change(seed=1), change(seed=2), change(seed=3)
    for weight in (two.layers[1].bias, three.layers[1].bias):
        weight.assign(np.arange(4.0))
    assert fingerprint(one) != fingerprint(two)
    assert fingerprint(two) != fingerprint(three)  # their kernels, drawn at random, have become part of it
    three.layers[1].kernel.assign(two.layers[1].kernel)
    assert fingerprint(two) == fingerprint(three)


@pytest.mark.parametrize("depthwise", [False, True])
def test_kernels_that_were_loaded_count_without_a_bias_to_show_it(depthwise):
    def of(factor):
        kind = layers.DepthwiseConv2D(3, use_bias=False) if depthwise else layers.Conv2D(2, 3, use_bias=False)
        model = keras.Sequential([keras.Input((5, 5, 2)), kind])
        model.compile("sgd", "mse")
        kind.kernel.assign(kind.kernel * factor)
        return fingerprint(model)

    assert of(1) == of(1) != of(2)


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


def _made(build, *values):
    return [fingerprint(build(value)) for value in values]


def test_what_keras_leaves_out_of_a_configuration_counts():
    def embedding(matrix):
        table = layers.Embedding(6, 2, embeddings_initializer=matrix)
        return compiled(keras.Sequential([keras.Input((3,), dtype="int32"), table, layers.Flatten(), layers.Dense(1)]))

    def recurrent(gain):
        start = keras.initializers.Identity(gain=gain)
        return compiled(keras.Sequential([keras.Input((4, 2)), layers.SimpleRNN(3, recurrent_initializer=start)]))

    def huber(delta):
        return compiled(keras.Sequential([keras.Input((2,)), layers.Dense(1)]), keras.losses.Huber(delta=delta))

    one, two = np.ones((6, 2), "float32"), np.full((6, 2), 2.0, "float32")
    for build, a, b in ((embedding, one, two), (recurrent, 0.5, 1.0), (huber, 0.1, 5.0)):
        first, same, other = _made(build, a, a, b)
        assert first == same != other


def compiled(model, loss="mse"):
    model.compile("sgd", loss)
    return model


def test_a_slice_by_numbers_of_numpy_is_a_slice():
    def sliced(start):
        x = keras.Input((5,))
        return compiled(keras.Model(x, layers.Dense(1)(x[:, start:])))

    assert fingerprint(sliced(np.int64(2))) == fingerprint(sliced(2)) != fingerprint(sliced(3))


@keras.saving.register_keras_serializable("tests")
class Scaled(layers.Add):
    def _merge_function(self, inputs):
        return inputs[0] + 0.1 * inputs[1]


def test_the_order_counts_in_what_only_descends_from_a_sum():
    def merged(swap):
        x = keras.Input((3,))
        parts = [layers.Dense(2, "relu", kernel_initializer="ones")(x), layers.Dense(2, kernel_initializer="ones")(x)]
        return compiled(keras.Model(x, Scaled()(parts[::-1] if swap else parts)))

    assert fingerprint(merged(False)) != fingerprint(merged(True))


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_no_claim_where_a_nested_model_is_given_a_mask():
    def masked(token):
        tokens = keras.Input((4,), dtype="int32")
        inner_in = keras.Input((4, 2))
        inner = keras.Model(inner_in, layers.LSTM(2)(inner_in))
        embedded = layers.Embedding(5, 2)(tokens)
        return compiled(keras.Model(tokens, inner(embedded, mask=keras.ops.not_equal(tokens, token))))

    assert fingerprint(masked(0)) is None
