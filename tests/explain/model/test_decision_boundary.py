import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.decision_boundary import decision_boundary

layers = keras.layers


def linear(classes=3, units=2, head="softmax"):
    """An image of `units` pixels is its own features; the head is linear."""
    model = keras.Sequential(
        [keras.Input((units, 1, 1)), layers.Flatten(name="flat"), layers.Dense(classes, activation=head, name="scores")]
    )
    model.get_layer("scores").set_weights([model.get_layer("scores").get_weights()[0], np.linspace(-0.3, 0.3, classes)])
    return model


def head_of(model, features):
    kernel, bias = model.get_layer("scores").get_weights()
    scores = features @ kernel.astype(float) + bias
    return scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(int)


@pytest.mark.parametrize(("classes", "head"), [(3, "softmax"), (4, "linear"), (1, "sigmoid")])
def test_regions_of_a_linear_head_on_two_features_are_its_own_predictions(classes, head, rng):
    model, images = linear(classes, head=head), rng.normal(size=(300, 2, 1, 1)) * [[[[3]], [[1]]]]
    found = decision_boundary(model, images, resolution=40)
    features = images.reshape(300, 2)
    mean = features.mean(axis=0)
    assert found.variance_share == pytest.approx(1)
    assert found.agreement == 1
    np.testing.assert_array_equal(found.predicted, head_of(model, features))
    # The axes of the plane from the points themselves: points = (features - mean) @ axes.
    axes = np.linalg.lstsq(features - mean, found.points, rcond=None)[0]
    places = np.stack(np.meshgrid(found.horizontal, found.vertical), axis=-1).reshape(-1, 2)
    expected = head_of(model, places @ np.linalg.inv(axes) + mean).reshape(40, 40)
    assert len(np.unique(expected)) > 1
    assert (found.regions == expected).mean() > 0.999  # one place in a thousand may lie on a boundary
    assert found.horizontal[0] < found.points[:, 0].min()
    assert found.vertical[-1] > found.points[:, 1].max()


def test_the_share_of_the_variance_is_that_of_the_two_largest_axes(rng):
    images = rng.normal(size=(500, 5, 1, 1)) * np.array([5, 4, 3, 0, 0]).reshape(1, 5, 1, 1)
    found = decision_boundary(linear(units=5), images, resolution=5)
    variances = np.sort(np.linalg.eigvalsh(np.cov(images.reshape(500, 5).T)))[::-1]
    assert found.variance_shares == pytest.approx(tuple(variances[:2] / variances.sum()), rel=1e-4)
    assert found.variance_share < 0.9
    assert found.agreement < 1


def test_a_class_that_turns_on_what_the_plane_leaves_out_is_told_by_the_agreement(rng):
    images = rng.normal(size=(400, 3, 1, 1)) * np.array([9, 8, 1]).reshape(1, 3, 1, 1)
    model = linear(2, 3)
    model.get_layer("scores").set_weights([np.array([[0, 0], [0, 0], [-1, 1]], "float32"), np.zeros(2, "float32")])
    found = decision_boundary(model, images, resolution=5)
    assert found.variance_share > 0.98
    assert found.agreement < 0.75  # a class by chance has a half


def test_a_nested_backbone_with_dropout_and_a_residual(rng):
    inner = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1, name="conv")(inner)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU()(x + layers.Conv2D(3, 3, padding="same")(x)))
    backbone, outer = keras.Model(inner, x, name="backbone"), keras.Input((4, 4, 2))
    model = keras.Model(outer, layers.Dense(2, activation="softmax")(layers.Dropout(0.5, name="drop")(backbone(outer))))
    images = rng.normal(size=(300, 4, 4, 2)).astype("float32")
    found = decision_boundary(model, images, np.arange(300) % 2, resolution=10)
    assert found.layer == "drop"
    assert found.points.shape == (300, 2)
    np.testing.assert_array_equal(found.predicted, model.predict(images, verbose=0).argmax(axis=1))
    named = decision_boundary(model, images, layer="pool", resolution=10)
    assert named.layer == "backbone/pool"
    np.testing.assert_allclose(named.points, found.points)


def test_a_branch_that_goes_past_the_features_is_refused(rng):
    inputs = keras.Input((2, 2, 1))
    flat = layers.Flatten(name="flat")(inputs)
    x = layers.Dense(3, name="wide")(flat) + layers.Dense(3, name="deep")(layers.Dense(4, name="hidden")(flat))
    model, images = keras.Model(inputs, layers.Softmax()(x)), rng.normal(size=(20, 2, 2, 1))
    with pytest.raises(InvalidArgument, match="'hidden' alone"):
        decision_boundary(model, images, layer="hidden")
    assert decision_boundary(model, images, layer="flat", resolution=5).layer == "flat"


def test_the_picture(rng, tmp_path):
    images = rng.normal(size=(40, 2, 1, 1))
    for name, y in (("with", np.arange(40) % 3), ("without", None)):
        found = decision_boundary(linear(), images, y, labels=("a", "b", "c"), resolution=20)
        assert np.asarray(Image.open(found.save(tmp_path / f"{name}.png")).convert("L")).std() > 0
    many = decision_boundary(linear(12), images, resolution=20)
    assert many.labels[11] == "class 11"
    assert many.save(tmp_path / "many.png").exists()
    with pytest.raises(InvalidArgument, match="png"):
        many.save(tmp_path / "many.svg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((2, 2, 1, 1))}, "three samples"),
        ({"x": np.ones((9, 2, 1, 1))}, "same for all"),
        ({"layer": "scores"}, "Choose layer from: flat"),
        ({"layer": "none"}, "came layer 'none'"),
        ({"resolution": 1}, "came 1"),
        ({"labels": ("a",)}, "3 labels"),
        ({"y": [0]}, "one integer class"),
    ],
)
def test_what_is_refused(change, message, rng):
    with pytest.raises(InvalidArgument, match=message):
        decision_boundary(**{"model": linear(), "x": rng.normal(size=(9, 2, 1, 1)), **change})


def test_a_convolution_as_the_last_kernel_has_no_features_in_a_row(rng):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D()])
    with pytest.raises(InvalidArgument, match="gets something else"):
        decision_boundary(model, rng.normal(size=(9, 4, 4, 1)))


@pytest.mark.parametrize(("diverged", "message"), [("first", "finite features"), ("scores", "finite scores")])
def test_a_network_that_has_diverged_is_told_as_such(rng, diverged, message):
    model = keras.Sequential(
        [keras.Input((2, 1, 1)), layers.Flatten(), layers.Dense(2, name="first"), layers.Dense(3, name="scores")]
    )
    model.get_layer(diverged).set_weights([np.nan * weight for weight in model.get_layer(diverged).get_weights()])
    with pytest.raises(InvalidArgument, match=message):
        decision_boundary(model, rng.normal(size=(9, 2, 1, 1)), resolution=3)
