"""A model that is no better than always guessing one class is told, and one that is honest is not."""

import warnings

import keras
import numpy as np
import pytest

from kerasnas.compression_search import compress
from kerasnas.guessing import told_of_guessing, warn_of_guessing

TEN = np.repeat(np.arange(10), [17, *[15] * 8, 12])  # 149 samples, 11.4 % of the commonest class


@pytest.mark.parametrize("accuracy", [0.0, 2 / 149, 17 / 149])
def test_a_model_no_better_than_a_guess_is_told_with_both_shares(accuracy):
    with pytest.warns(UserWarning, match="check that x is scaled and y is ordered as in training"):
        told = warn_of_guessing(accuracy, TEN)
    assert f"gets {accuracy:.1%} of the 149 samples" in told
    assert "the commonest class 11.4%" in told


@pytest.mark.parametrize(
    ("accuracy", "classes"),
    [
        (18 / 149, TEN),
        (0.93, np.repeat([0, 1], [92, 8])),  # uneven: an honest model is hardly above 92 %
        (0.91, np.repeat([0, 1], [92, 8])),  # or below, if it looks for the rare class
        (0.0, np.arange(12)),  # too few samples to tell
        (0.5, np.repeat([0, 1], [6, 6])),
        (1.0, np.zeros(50, int)),  # a single class: always guessing it is right
        (0.0, np.zeros(50, int)),
        (0.0, np.zeros(0, int)),
    ],
)
def test_nothing_is_said_of_better_models_or_where_it_cannot_be_told(accuracy, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_guessing(accuracy, classes) == told_of_guessing(accuracy, classes) == ""


def test_a_search_tells_it_once_and_in_the_reason(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3, activation="softmax")])
    x = np.random.default_rng(0).normal(size=(120, 4)).astype("float32")
    y = (model.predict(x, verbose=0).argmax(axis=1) + 1) % 3  # in another order: none is right
    with pytest.warns(UserWarning, match="always guessing the commonest class") as caught:
        found = compress(model, x, y, held_out=(x[:60], y[:60]), max_trials=0, formats=[], directory=tmp_path, verbose=0)
    (told,) = [str(one.message) for one in caught if "The original gets" in str(one.message)]
    assert told.startswith("The original gets 0.0% of the 60 samples")
    assert found.reason.endswith(told)
