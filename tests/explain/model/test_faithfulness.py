"""The measures of a map against maps whose worth is known."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.black_box import BlackBox
from kerasnas.explain.model.faithfulness import faithfulness


def additive(weights):
    """A classifier whose score of class 0 is the sum of weights * image."""
    return lambda x: np.stack([(x[..., 0] * weights).sum(axis=(1, 2)), np.zeros(len(x))], axis=1)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([(8, 8), (9, 20), (5, 3), (16, 16)]))
def test_mu_fidelity_of_the_true_shares_is_one(seed, shape):
    rng = np.random.default_rng(seed)
    weights, images = rng.standard_normal(shape), rng.random((2, *shape, 1)).astype("float32")
    shares = images[..., 0] * weights
    scores = BlackBox(additive(weights), images)
    found = faithfulness(
        scores, np.stack([shares, -shares, 5 * shares + 2, 0 * shares]), np.zeros(2, int), baseline=0.0, subsets=50, curves=0
    )
    np.testing.assert_allclose(found.mu_fidelity[0], 1, atol=1e-3)
    np.testing.assert_allclose(found.mu_fidelity[1], -1, atol=1e-3)
    np.testing.assert_array_equal(found.mu_fidelity[3], 0)
    assert np.all(np.isnan(found.deletion))
    if shape == (8, 8) or shape == (16, 16):  # cells of one size: a constant adds the same to every subset
        np.testing.assert_allclose(found.mu_fidelity[2], 1, atol=1e-3)


def test_a_score_that_does_not_vary_tells_nothing(rng):
    scores = BlackBox(lambda x: np.tile([[0.3, 0.7]], (len(x), 1)), rng.random((1, 8, 8, 1)))
    found = faithfulness(scores, rng.random((1, 1, 8, 8)), np.zeros(1, int))
    np.testing.assert_array_equal(found.mu_fidelity, 0)
    np.testing.assert_allclose([found.deletion, found.insertion], 0.3, atol=1e-6)


def test_deletion_and_insertion_in_closed_form():
    """Four pixels of log-odds 4, 2, 1 and 0: the mean of the sigmoid along the way, by trapezoids."""
    gains = np.array([[4.0, 2.0], [1.0, 0.0]])

    def classify(x):
        p = 1 / (1 + np.exp(-(x[..., 0] * gains).sum(axis=(1, 2))))
        return np.stack([p, 1 - p], axis=1)

    def area(log_odds):
        return np.trapezoid(1 / (1 + np.exp(-np.array(log_odds))), dx=1 / 4)

    scores = BlackBox(classify, np.ones((1, 2, 2, 1), "float32"))
    found = faithfulness(scores, np.stack([gains, -gains])[:, None], np.zeros(1, int), baseline=0.0, steps=4)
    np.testing.assert_allclose(found.deletion[:, 0], [area([7, 3, 1, 0, 0]), area([7, 7, 6, 4, 0])], atol=1e-6)
    np.testing.assert_allclose(found.insertion[:, 0], [area([0, 4, 6, 7, 7]), area([0, 0, 1, 3, 7])], atol=1e-6)


def test_pixels_that_are_marked_alike_go_in_random_order():
    images = np.ones((1, 8, 8, 1), "float32")
    weights = np.zeros((8, 8))
    weights[0] = 1.0  # a map of one value must gain nothing from the first row's being first
    scores = BlackBox(additive(weights), images)
    runs = [
        faithfulness(scores, np.ones((1, 1, 8, 8)), np.zeros(1, int), baseline=0.0, steps=64, subsets=2, seed=seed)
        for seed in range(5)
    ]
    deletion, insertion = ([getattr(run, name)[0, 0] for run in runs] for name in ("deletion", "insertion"))
    assert np.mean(deletion) == pytest.approx(np.mean(insertion), abs=0.05)
    assert len(set(deletion)) == 5


def test_maps_are_judged_alike_alone_and_together(cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    scores = BlackBox(lambda x: model.predict(x, verbose=0), images)
    maps = rng.random((2, 3, 12, 12))
    together = faithfulness(scores, maps, np.array([0, 1, 2]), steps=4, subsets=30)
    alone = faithfulness(scores, maps[:1], np.array([0, 1, 2]), steps=4, subsets=30)
    for name in ("deletion", "insertion", "mu_fidelity"):
        np.testing.assert_allclose(getattr(together, name)[0], getattr(alone, name)[0], atol=1e-6)


def test_the_memory_is_that_of_a_chunk(rng):
    sizes = []
    scores = BlackBox(lambda x: (sizes.append(len(x)), np.zeros((len(x), 2)))[1], np.zeros((1, 300, 300, 1), "float32"))
    faithfulness(scores, rng.random((1, 1, 300, 300)), np.zeros(1, int), steps=20, subsets=40)
    assert max(sizes) <= scores.chunk < 20


@pytest.mark.parametrize("settings", [{"steps": 0}, {"subsets": 1}, {"steps": 3.0}, {"subsets": True}, {"baseline": "grey"}])
def test_it_refuses(settings):
    scores = BlackBox(additive(np.ones((4, 4))), np.zeros((1, 4, 4, 1)))
    with pytest.raises(InvalidArgument, match=r"Expected (steps|subsets|baseline)"):
        faithfulness(scores, np.zeros((1, 1, 4, 4)), np.zeros(1, int), **settings)
    with pytest.raises(InvalidArgument, match=r"maps of shape \(maps, 1, 4, 4\)"):
        faithfulness(scores, np.zeros((1, 4, 4)), np.zeros(1, int))


def test_keras_is_not_needed(monkeypatch, rng):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    scores = BlackBox(additive(np.ones((4, 4))), rng.random((1, 4, 4, 1)))
    assert faithfulness(scores, rng.random((1, 1, 4, 4)), np.zeros(1, int)).mu_fidelity.shape == (1, 1)
