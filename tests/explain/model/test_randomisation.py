"""Adebayo et al. 2018: a map that survives random weights shows the image and not the network."""

import importlib
import warnings
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasnas.explain import (
    Attribution,
    grad_cam,
    gradient_x_input,
    integrated_gradients,
    randomisation_cascade,
    smooth_grad,
    vanilla_gradients,
)
from kerasnas.explain.model.attribution import Explained
from kerasnas.explain.model.randomisation import _cascade, map_correlation, randomised

pytestmark = pytest.mark.slow
NETWORKS = 4  # with random weights: one alone may be like the trained one by chance


@pytest.fixture(scope="module")
def planted_patch():
    """A network that tells four textures of 8 x 8 pixels in noise apart; images and their classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
        bench = importlib.import_module("planted_patch")
    keras.utils.set_random_seed(0)
    model = bench.network("softmax")
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy")
    x, y, _ = bench.planted(500, np.random.default_rng(1))
    model.fit(x, y, epochs=8, batch_size=32, verbose=0)
    x, y, _ = bench.planted(16, np.random.default_rng(2))
    assert np.all(model.predict(x, verbose=0).argmax(axis=1) == y)
    return model, x, y


def gated(model, images, *, target):
    """Grad-CAM as tf-explain has it by default: gradients > 0 where features are > 0, no ReLU on the map."""
    last = model.get_layer("last")
    inner = keras.Model(model.inputs[0], last.output)(images).numpy()
    kernel = model.layers[-1].get_weights()[0]
    slope = kernel.T[target] / np.prod(inner.shape[1:3])  # the mean over positions, then a linear head
    weights = (np.maximum(slope, 0)[:, None, None] * (inner > 0)).mean(axis=(1, 2))
    maps = (inner * weights[:, None, None]).sum(axis=-1)
    maps = np.asarray(keras.ops.image.resize(maps[..., None], images.shape[1:3]))[..., 0]
    return Attribution(maps, images, target, "gated", explained=Explained(model, gated))


def similarity(explain, planted_patch):
    """Return the rank correlation with the maps of networks with random weights, mean over images and networks."""
    model, images, classes = planted_patch
    maps = explain(model, images, target=classes)
    others = [maps.explained.again(randomised(model, seed), images, target=classes).values for seed in range(NETWORKS)]
    return float(np.mean([map_correlation(maps.values, other) for other in others]))


# Not here: Grad-CAM++ counts only what helps, by its equation 12, and is gated for that; methods that hide parts find the
# patch with any weights, since it is what stands out from the noise (the sign is then that of the random scores).
@pytest.mark.parametrize(
    "explain",
    [
        grad_cam,
        vanilla_gradients,
        gradient_x_input,
        partial(integrated_gradients, steps=8),
        partial(smooth_grad, samples=8),
    ],
    ids=["grad_cam", "vanilla_gradients", "gradient_x_input", "integrated_gradients", "smooth_grad"],
)
def test_the_map_of_a_network_is_not_that_of_one_with_random_weights(explain, planted_patch):
    assert abs(similarity(explain, planted_patch)) <= 0.2


def test_the_gated_map_is_that_of_tf_explain(planted_patch):
    from tf_explain.core.grad_cam import GradCAM

    model, images, classes = planted_patch
    functional, first = keras.Model(model.inputs[0], model.outputs[0]), images[:1]
    logits = keras.models.clone_model(functional)
    logits.set_weights(functional.get_weights())
    logits.layers[-1].activation = keras.activations.linear
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wraps the inputs once too often
        maps, gradients = GradCAM.get_gradients_and_filters(logits, first, "last", int(classes[0]), True)
    theirs = np.asarray(GradCAM.generate_ponderated_output(maps, gradients))
    ours = gated(model, first, target=classes[:1]).values
    np.testing.assert_allclose(
        np.asarray(keras.ops.image.resize(theirs[..., None], (32, 32)))[..., 0], ours, rtol=1e-4, atol=1e-6
    )


def test_the_cascade_of_grad_cam_falls_to_nothing_and_that_of_the_gated_default_stays_high(planted_patch):
    model, images, classes = planted_patch
    names = [layer.name for layer in reversed(model.layers) if layer.weights]
    steps = {}
    for explain in (grad_cam, gated):
        maps = explain(model, images, target=classes)
        runs = [randomisation_cascade(maps, seed=seed) for seed in range(3)]
        assert all(list(run) == names for run in runs)
        steps[explain] = np.mean([[run[name] for name in names] for run in runs], axis=0)
    assert np.all(np.abs(steps[grad_cam][1:]) <= 0.2)  # from the second random layer on
    assert steps[gated].mean() >= 0.4


def test_only_the_layers_that_are_shuffled_change(rng):
    images = rng.normal(100, 50, (32, 8, 8, 3)).astype("float32")
    adapted = keras.layers.Normalization(name="adapted")
    adapted.adapt(images)
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Flatten(), keras.layers.Dense(3, name="dense")]
    model = keras.Sequential([keras.Input((8, 8, 3)), adapted, *layers])
    below = keras.Model(model.inputs[0], model.get_layer("conv").output)
    names = []
    for name, copy in _cascade(model, 0):
        names.append(name)
        same = keras.Model(copy.inputs[0], copy.get_layer("conv").output)(images)
        assert np.allclose(same, below(images), atol=1e-4) == (name == "dense")
    assert names == ["dense", "conv", "adapted"]


def test_a_nested_backbone_becomes_random_from_its_last_layer_on(rng):
    def backbone(name):
        convolutions = [keras.layers.Conv2D(2, 3, padding="same", name=f"conv{number}") for number in (1, 2)]
        return keras.Sequential([keras.Input((6, 6, 2)), *convolutions], name=name)

    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, name="head")]
    model = keras.Sequential([keras.Input((6, 6, 2)), backbone("low"), backbone("high"), *head])
    maps = vanilla_gradients(model, rng.normal(size=(1, 6, 6, 2)), target=0)
    assert list(randomisation_cascade(maps)) == ["head", "high/conv2", "high/conv1", "low/conv2", "low/conv1"]


def test_a_layer_that_is_called_twice_becomes_random_once(rng):
    start, shared = keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 3, padding="same", name="shared")
    x = shared(keras.layers.Conv2D(2, 1, name="between")(shared(start)))
    model = keras.Model(start, keras.layers.Dense(2, name="head")(keras.layers.Flatten()(x)))
    assert [path for path, _ in _cascade(model, 0)] == ["head", "shared", "between"]
