"""Labels in a row or in a column: a single unit learns the same of both, whatever loss it was compiled with."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.compress import cluster, prune, prune_channels
from kerasnas.compress.objective import choose_objective


def _network(loss):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")])
    model.compile("adam", loss)
    return model


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
