import functools

import keras
import numpy as np
import pytest
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain import Attribution, grad_cam, occlusion
from kerasnas.explain.model.confusion import confusion

layers = keras.layers


def by_brightness(head="softmax"):
    """The score of class k is k * z - k**2 / 2 with z the only pixel: the class is z, rounded."""
    model = keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), layers.Dense(3, activation=head)])
    model.layers[-1].set_weights([np.array([[0, 1, 2]], "float32"), np.array([0, -0.5, -2], "float32")])
    return model


PIXELS = np.array([0.0, 1.0, 2.0, 9.0, 0.2, 5.0, 1.9]).reshape(7, 1, 1, 1)
TRUE = np.array([0, 1, 2, 0, 1, 1, 2])


@pytest.mark.parametrize("head", ["softmax", "linear"])
def test_counts_and_orders_the_mistakes_by_their_probability(head):
    found = confusion(by_brightness(head), PIXELS, TRUE)
    np.testing.assert_array_equal(found.matrix, [[1, 0, 1], [1, 1, 1], [0, 0, 2]])
    assert found.accuracy == 4 / 7
    assert found.wrong == 3
    assert [(m.index, m.true, m.predicted) for m in found.mistakes] == [(3, 0, 2), (5, 1, 2), (4, 1, 0)]
    for mistake in found.mistakes:
        scores = np.arange(3) * PIXELS[mistake.index, 0, 0, 0] - np.array([0, 0.5, 2])
        assert mistake.probability == pytest.approx(np.exp(scores[mistake.predicted]) / np.exp(scores).sum(), rel=1e-5)
    np.testing.assert_array_equal(found.images, PIXELS[[3, 5, 4]])
    assert found.to_dataframe()["index"].tolist() == [3, 5, 4]
    assert len(confusion(by_brightness(), PIXELS, TRUE, mistakes=2).mistakes) == 2


def test_one_sigmoid_unit():
    model = keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), layers.Dense(1, activation="sigmoid")])
    model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
    found = confusion(model, np.array([-3.0, 3.0, 1.0, -2.0]).reshape(4, 1, 1, 1), [0, 1, 0, 1])
    np.testing.assert_array_equal(found.matrix, [[1, 1], [1, 1]])
    assert [m.probability for m in found.mistakes] == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))])


def test_a_sigmoid_for_each_class_keeps_its_own_probability():
    found = confusion(by_brightness("sigmoid"), PIXELS, TRUE)
    scores = {m.index: m.predicted * PIXELS[m.index].item() - m.predicted**2 / 2 for m in found.mistakes}
    assert set(scores) == {3, 4, 5}
    expected = [1 / (1 + np.exp(-scores[mistake.index])) for mistake in found.mistakes]
    assert [mistake.probability for mistake in found.mistakes] == pytest.approx(expected, rel=1e-5)


def test_the_maps_are_of_the_mistakes_and_their_predicted_classes(cnn, rng, tmp_path):
    model, images = cnn(nested=[]), rng.normal(size=(300, 12, 12, 3))
    predicted = model.predict(images, verbose=0).argmax(axis=1)
    true = predicted.copy()
    true[[5, 280]] = (predicted[[5, 280]] + 1) % 4
    found = confusion(model, images, true, explain=functools.partial(grad_cam, model))
    assert sorted(m.index for m in found.mistakes) == [5, 280]
    rows = [m.index for m in found.mistakes]
    expected = grad_cam(model, images[rows], target=predicted[rows])
    np.testing.assert_array_equal(found.attribution.values, expected.values)
    np.testing.assert_array_equal(found.attribution.targets, predicted[rows])
    path = found.save(tmp_path / "confusion.png")
    assert np.asarray(Image.open(path).convert("L")).std() > 0


def test_without_mistakes_nothing_is_explained(tmp_path):
    def explain(images, target):
        raise AssertionError("there is nothing to explain")

    found = confusion(by_brightness(), PIXELS[:3], TRUE[:3], explain=explain)
    assert found.mistakes == ()
    assert found.attribution is None
    assert found.accuracy == 1
    assert found.to_dataframe().shape == (0, 4)
    assert found.save(tmp_path / "none.png").exists()


def test_a_class_that_is_never_seen_and_long_names(tmp_path):
    found = confusion(by_brightness(), PIXELS[3:4], TRUE[3:4], labels=["a very long name of a class", "b", "c"])
    assert found.matrix.sum() == 1
    assert found.labels[0] == "a very long name of a class"
    assert found.save(tmp_path / "one.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mistakes": -1}, "came -1"),
        ({"labels": ["a"]}, "3 labels"),
        ({"y": TRUE[:3]}, "7 samples"),
        ({"explain": lambda images, target: 3}, "return an Attribution of 3 images"),
        ({"explain": lambda images, target: occlusion(by_brightness(), images[:1], patch=1)}, "of 3 images"),
    ],
)
def test_what_is_refused(change, message, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        confusion(**{"model": by_brightness(), "x": PIXELS, "y": TRUE, **change})
    with pytest.raises(InvalidArgument, match="png"):
        confusion(by_brightness(), PIXELS, TRUE).save(tmp_path / "a.gif")


def test_the_result_of_a_method_is_what_explain_returns():
    found = confusion(
        by_brightness(), PIXELS, TRUE, explain=functools.partial(occlusion, by_brightness(), patch=1, baseline=0.0)
    )
    assert isinstance(found.attribution, Attribution)
    np.testing.assert_allclose(found.attribution.values[:, 0, 0], [18, 10, 0], atol=1e-5)  # k * z
