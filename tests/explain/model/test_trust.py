"""Verdicts on maps that are right, wrong, and right by accident."""

import dataclasses
import json
import tracemalloc

import keras
import numpy as np
import pytest

from kerasnas.errors import InvalidArgument
from kerasnas.explain import (
    Attribution,
    grad_cam,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    randomisation_cascade,
    trust,
    vanilla_gradients,
)
from kerasnas.explain.model.attribution import Explained
from kerasnas.explain.model.randomisation import map_correlation, randomised

layers = keras.layers


@pytest.fixture(scope="module")
def seer():
    """A network that tells a bright spot at the upper left from one at the lower right; and images with both kinds."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    x, y = 0.1 * rng.standard_normal((600, 16, 16, 1)), rng.integers(0, 2, 600)
    for image, label in zip(x, y, strict=True):
        top, left = rng.integers(0, 5, 2) + 8 * label
        image[top : top + 4, left : left + 4] += 1 if label else -1
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=8, verbose=0)
    assert np.mean(model.predict(x, verbose=0).argmax(axis=1) == y) > 0.98
    return model, x[:6].astype("float32"), y[:6]


def test_the_random_maps_are_held_once_for_all_images(rng):
    images = np.zeros((40, 32, 32, 1), "float32")
    maps = Attribution(rng.random((40, 32, 32)), images, np.zeros(40, int), "mine")
    tracemalloc.start()
    trust(maps, lambda x: np.zeros((len(x), 2)), steps=1, subsets=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 101 * maps.values.size * 8 / 3


def test_maps_of_what_the_network_looks_at_are_faithful(seer):
    model, images, labels = seer
    found = occlusion(model, images, target=labels).trust()
    assert found.verdict == "faithful"
    assert found.verdicts.count("faithful") >= 5
    assert found.figures["map"]["mu_fidelity"].mean() > 0.6
    assert abs(found.figures["random"]["mu_fidelity"].mean()) < 0.15
    assert np.all(found.chance <= 0.05)
    assert found.randomisation.shape == (3, 6)
    assert found.randomisation.mean() < 0.5
    assert found.completeness_gap is None


def test_maps_of_nothing_are_no_better_than_chance(seer, rng):
    model, images, labels = seer
    maps = Attribution(rng.random((6, 16, 16)), images, labels, "noise")
    found = trust(maps, model)
    assert found.verdict == "no better than chance"
    assert found.randomisation is None
    assert "how the maps were made is not known" in found.text
    constant = trust(Attribution(np.ones((6, 16, 16)), images, labels, "nothing"), model)
    assert set(constant.verdicts) == {"no better than chance"}


def test_maps_of_the_wrong_class_are_not_faithful(seer):
    model, images, labels = seer
    right = occlusion(model, images, target=labels)
    wrong = Attribution(-right.values, images, labels, "upside down")
    assert set(trust(wrong, model).verdicts) == {"no better than chance"}


def test_a_map_that_does_not_depend_on_the_weights_is_not_trusted(seer):
    """The brightness of the image marks the spot, whatever the network does with it."""
    model, images, labels = seer

    def bright(model, images, *, target):
        return Attribution(np.abs(images[..., 0]), images, target, "bright", explained=Explained(model, bright))

    found = bright(model, images, target=labels).trust()
    np.testing.assert_allclose(found.randomisation, 1)
    assert set(found.verdicts) == {"does not depend on the weights"}


def test_a_map_that_is_nearly_the_same_with_all_weights_is_weak_at_best(seer):
    model, images, labels = seer

    def bright(model, images, *, target):
        rng = np.random.default_rng(int(1e6 * abs(float(model.weights[0].numpy().ravel()[0]))))
        values = np.abs(images[..., 0]) + 0.02 * rng.standard_normal(images.shape[:3])
        return Attribution(values, images, target, "bright", explained=Explained(model, bright))

    found = bright(model, images, target=labels).trust()
    assert 0.5 < found.randomisation.min() <= found.randomisation.max() < 0.99
    assert found.figures["map"]["mu_fidelity"].mean() > 0.5  # it would be called faithful otherwise
    assert set(found.verdicts) == {"weak"}


def test_the_same_map_turned_over_is_not_trusted(seer):
    """A network that is linear in the mean of the image: its gradient is the same at all pixels, whatever the weights."""
    _, images, labels = seer
    dense = [layers.Dense(3), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((16, 16, 1)), layers.GlobalAveragePooling2D(), *dense])
    found = gradient_x_input(model, images, target=labels).trust(steps=2)
    np.testing.assert_allclose(np.abs(found.randomisation), 1, atol=1e-6)
    assert set(found.verdicts) == {"does not depend on the weights"}


def test_images_of_which_nothing_can_be_hidden_cannot_be_tested(seer):
    model = seer[0]
    found = integrated_gradients(model, np.ones((2, 16, 16, 1), "float32"), target=0, baseline=0.0).trust(steps=2)
    assert set(found.verdicts) == {"cannot be tested"}


def test_a_gap_is_told_in_units_of_the_rise(rng):
    """A kink that one step of the quadrature misses: the map is zero, and the score rises."""
    start = keras.Input((4, 4, 1))
    total = keras.ops.sum(layers.Flatten()(start), axis=1, keepdims=True)
    model = keras.Model(start, keras.ops.concatenate([keras.ops.relu(4 * total - 48), 0 * total], axis=1))
    maps = integrated_gradients(model, np.ones((1, 4, 4, 1), "float32"), target=0, baseline=0.0, steps=1)
    assert maps.values.sum() == 0
    assert maps.trust(steps=2).completeness_gap == pytest.approx(1)


def test_a_black_box_is_judged_without_its_weights(seer):
    model, images, labels = seer
    found = occlusion(lambda x: model.predict(x, verbose=0), images, target=labels).trust()
    assert found.verdict == "faithful"
    assert found.why_not == "the weights of a black box are out of reach."


def test_what_it_says(seer):
    model, images, labels = seer
    maps = integrated_gradients(model, images, target=labels, baseline=0.0)
    found = maps.trust(baseline=0.0, steps=8, subsets=100)
    own = found.figures["map"]["mu_fidelity"].mean()
    counts = {verdict: found.verdicts.count(verdict) for verdict in dict.fromkeys(found.verdicts) if verdict != "faithful"}
    rest = "".join(f", {verdict} on {count}" for verdict, count in counts.items() if count)
    start = f"Faithful on {found.verdicts.count('faithful')} of 6 images{rest}: muFidelity {own:.2f} (random maps"
    assert str(found).startswith(start)
    mixed = dataclasses.replace(found, verdicts=("weak", "weak", "faithful", "weak", "no better than chance", "faithful"))
    assert mixed.text.startswith("Weak on 3 of 6 images, faithful on 2, no better than chance on 1: muFidelity")
    assert f"{found.figures['centre']['deletion'].mean():.2f}); hidden by the baseline 0.0." in found.text
    assert f"random weights: {found.randomisation.mean():.2f}, " in found.text
    assert f"by {found.completeness_gap:.1%}" in found.text
    told = json.loads(json.dumps(found.to_dict()))
    assert told["verdicts"] == list(found.verdicts)
    np.testing.assert_allclose(told["figures"]["random"]["insertion"], found.figures["random"]["insertion"])
    again = maps.trust(baseline=0.0, steps=8, subsets=100)
    assert again.to_dict() == found.to_dict()


def test_maps_from_elsewhere_need_their_model(seer):
    _, images, labels = seer
    with pytest.raises(InvalidArgument, match="pass model="):
        Attribution(np.ones((6, 16, 16)), images, labels, "ones").trust()
    with pytest.raises(InvalidArgument, match="by a method of kerasnas"):
        randomisation_cascade(Attribution(np.ones((6, 16, 16)), images, labels, "ones"))


def test_random_weights_are_the_same_numbers_elsewhere(seer):
    model = seer[0]
    before = model.get_weights()
    other = randomised(model)
    for old, now, new in zip(before, model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
        np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
    assert np.mean(before[2] == other.get_weights()[2]) < 0.1


def test_the_cascade_goes_from_the_scores_down_and_grad_cam_follows_it(seer):
    model, images, labels = seer
    maps = grad_cam(model, images, target=labels)
    found = randomisation_cascade(maps, seed=4)
    assert list(found) == [layer.name for layer in reversed(model.layers) if layer.weights]
    # What it ends with is the network that is random throughout; test_randomisation.py says how low that has to be.
    other = grad_cam(randomised(model, 4), images, target=labels)
    assert list(found.values())[-1] == pytest.approx(map_correlation(maps.values, other.values).mean(), abs=1e-6)
    one = keras.models.clone_model(model)  # its first step: only the last layer is random
    order, kernel, bias = np.random.default_rng(4), *model.layers[-1].get_weights()
    shuffled = [order.permutation(values.reshape(-1)).reshape(values.shape) for values in (kernel, bias)]
    one.set_weights([*model.get_weights()[:-2], *shuffled])
    other = grad_cam(one, images, target=labels)
    assert next(iter(found.values())) == pytest.approx(map_correlation(maps.values, other.values).mean(), abs=1e-6)


def test_the_correlation_of_maps():
    one = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_allclose(map_correlation(one, 3 * one), 1)
    np.testing.assert_allclose(map_correlation(one, one[:, ::-1, ::-1]), -1)
    np.testing.assert_array_equal(map_correlation(one, np.ones_like(one)), 0)


def test_models_that_cannot_be_made_random(seer):
    model = keras.Sequential([keras.Input((8, 8, 2)), layers.GlobalAveragePooling2D(name="scores")], name="bare")
    with pytest.raises(InvalidArgument, match="'bare' has none"):
        randomised(model)
    maps = vanilla_gradients(model, np.random.default_rng(0).random((1, 8, 8, 2)), target=0)
    assert "'bare' has none" in maps.trust(subsets=20, steps=2).why_not
