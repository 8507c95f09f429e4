"""Labels in a row or in a column: a single unit learns the same of both, whatever loss it was compiled with."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.compress import cluster, prune, prune_channels
from kerasnas.compress.objective import choose_objective
from kerasnas.errors import InvalidArgument


def _network(loss):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", loss)
    return model


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
@pytest.mark.parametrize(
    "compress", [partial(prune, sparsity=0.5), partial(cluster, clusters=8), partial(prune_channels, ratio=0.5)]
)
def test_labels_of_pixels_are_those_of_the_loss(compress, loss):
    stack = [layers.Conv2D(8, 3, padding="same"), layers.Conv2D(3, 1, activation="softmax")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *stack])
    model.compile("adam", loss)
    x, indices = np.ones((8, 4, 4, 1), "float32"), np.arange(128).reshape(8, 4, 4) % 3
    fits, other = (indices, np.eye(3)[indices])[:: 1 if loss.startswith("sparse") else -1]
    shape, advice = (r"\(n, 4, 4\)", "argmax") if fits is indices else (r"\(n, 4, 4, 3\)", "one_hot")
    with pytest.raises(InvalidArgument, match=rf"{shape} for the loss .*: .*{advice}"):
        compress(model, x, other, epochs=1)
    call, encode = choose_objective(model, fits)
    assert float(call(encode(fits), model(x))) == pytest.approx(model.evaluate(x, fits, verbose=0), rel=1e-5)


_LOSSES = ["binary_crossentropy", keras.losses.BinaryCrossentropy(), "binary_focal_crossentropy", "mse", "hinge"]


@pytest.mark.parametrize("loss", _LOSSES, ids=lambda loss: loss if isinstance(loss, str) else type(loss).__name__)
def test_a_row_of_labels_costs_what_keras_says(loss):
    model = _network(loss)
    x = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    call, encode = choose_objective(model, y)
    assert float(call(encode(y), model(x))) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5)


@pytest.mark.parametrize(
    "compress",
    [
        lambda model, x, y: prune_channels(model, x, y, ratio=0.5, epochs=1, seed=0),
        lambda model, x, y: prune(model, x, y, sparsity=0.5, epochs=1, seed=0),
        lambda model, x, y: cluster(model, x, y, clusters=8, epochs=1, seed=0),
    ],
    ids=["prune_channels", "prune", "cluster"],
)
def test_each_method_takes_a_row_of_labels(compress):
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    row, column = (compress(_network("binary_crossentropy"), x, some) for some in (y, y[:, None]))
    for one, other in zip(row.get_weights(), column.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
