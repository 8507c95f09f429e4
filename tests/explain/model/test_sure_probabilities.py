"""Permutation importance of classifiers that are surer than the dtype of their probabilities can tell."""

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.permutation_importance import permutation_importance

layers = keras.layers


def with_scores(units, end, kernel):
    """A model of vectors, and itself without what it ends in."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(units, activation=end)])
    bare = keras.Sequential([keras.Input((3,)), layers.Dense(units)])
    for one in (model, bare):
        one.layers[-1].set_weights([np.array(kernel, "float32"), np.zeros(units, "float32")])
    return model, bare


@pytest.mark.parametrize(
    ("units", "end", "kernel"),
    [
        (1, "sigmoid", [[30], [0], [3]]),
        (2, "softmax", [[-60, 60], [0, 0], [0, 9]]),
        (2, "log_softmax", [[-60, 60], [0, 0], [0, 9]]),
    ],
)
def test_a_model_of_vectors_that_is_surer_than_float32_can_tell_is_explained_by_its_scores(rng, units, end, kernel):
    model, bare = with_scores(units, end, kernel)
    x = rng.normal(size=(60, 3)).astype("float32")
    y = (x[:, 0] + rng.normal(size=60) > 0).astype(int)
    scores = x @ np.array(kernel, "float64")
    wrong = np.where(y, -1, 1) * (scores[:, 0] if units == 1 else scores[:, 1] - scores[:, 0])
    before = {"weights": [w.copy() for w in model.get_weights()], "nodes": len(model.layers[-1]._inbound_nodes)}
    found = permutation_importance(model, x, y)
    assert found.loss == pytest.approx(np.logaddexp(0, wrong).mean(), rel=1e-5)
    np.testing.assert_allclose(found.values, permutation_importance(bare, x, y, from_logits=True).values, rtol=1e-5)
    assert len(model.layers[-1]._inbound_nodes) == before["nodes"]
    np.testing.assert_equal(model.get_weights(), before["weights"])


@pytest.mark.parametrize(("dtype", "most"), [("float32", np.log(2**23)), ("float64", np.log(2.0**52))])
@pytest.mark.parametrize("columns", [1, 2])
def test_the_losses_of_a_function_end_at_the_rounding_of_its_probabilities(dtype, most, columns, rng):
    x = np.array([[100.0], [-100.0], [1.0], [-1.0]])

    def sure(batch):
        second = (1 / (1 + np.exp(-batch[:, :1]))).astype(dtype)
        return second if columns == 1 else np.concatenate([1 - second, second], axis=1)

    found = permutation_importance(sure, x, [0, 1, 1, 0])
    assert found.loss == pytest.approx((2 * most + 2 * np.logaddexp(0, -1)) / 4, rel=1e-3)


def test_several_sigmoid_units_of_vectors_are_refused_with_what_does_explain_them(rng):
    model, _ = with_scores(2, "sigmoid", [[9, 0], [0, 9], [0, 0]])
    x = rng.normal(size=(60, 3)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    for from_logits in (False, True):  # a softmax of probabilities would turn the ranking round
        with pytest.raises(InvalidArgument, match=r"independent sigmoid units.*lambda x: model\(x\)\[:, i\]") as refused:
            permutation_importance(model, x, y, from_logits=from_logits)
        assert "from_logits" not in str(refused.value)
    assert permutation_importance(lambda x: model(x)[:, 0], x, y).ranked()[0].name == "feature 0"
