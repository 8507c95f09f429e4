import keras
import numpy as np
import pytest

from kerasnas.compress import prune_channels
from kerasnas.errors import InvalidArgument
from kerasnas.explain import Attribution, drift, grad_cam, grad_cam_plus_plus, integrated_gradients, occlusion, rise
from kerasnas.explain.model.black_box import scores_of
from kerasnas.export import quantize, to_litert, to_onnx

layers = keras.layers


def linear(weights):
    """A model whose score of class 0 is the sum of weights * image."""
    model = keras.Sequential([keras.Input((*weights.shape, 1)), layers.Flatten(), layers.Dense(2)])
    kernel = np.stack([weights.reshape(-1), np.zeros(weights.size)], axis=1)
    model.layers[-1].set_weights([kernel, np.zeros(2)])
    return model


@pytest.fixture
def maps():
    weights = np.arange(1.0, 101.0).reshape(10, 10)
    return weights, occlusion(linear(weights), np.ones((2, 10, 10, 1)), target=0, patch=1, stride=1, baseline=0.0)


def test_the_same_model_and_one_of_twice_the_scores_have_not_drifted(maps):
    weights, attribution = maps
    for factor in (1, 2):
        found = drift(attribution, linear(factor * weights))
        assert found.to_dict() == pytest.approx(
            {"rank_correlation": 1, "overlap": 1, "pointing_change": 0, "same_class": 1, "blank": 0}
        )
    np.testing.assert_allclose(found.attribution.values, 2 * attribution.values, rtol=1e-5)


def test_a_model_that_looks_at_the_opposite_corner(maps):
    weights, attribution = maps
    found = drift(attribution, linear(weights[::-1, ::-1]))
    np.testing.assert_allclose(found.rank_correlation, -1)
    np.testing.assert_allclose(found.overlap, 0, atol=1e-12)
    np.testing.assert_allclose(found.pointing_change, 1)  # from one corner to the other: the diagonal
    assert found.same_class.all()
    assert not drift(attribution, linear(-weights)).same_class.any()


def test_a_method_of_gradients_cannot_ask_a_file_or_a_function(maps):
    weights, _ = maps
    attribution = integrated_gradients(linear(weights), np.ones((1, 10, 10, 1)), target=0)
    for other in ("model.onnx", lambda x: x):
        with pytest.raises(InvalidArgument, match=r"integrated_gradients needs gradients.*explain\.occlusion or explain\.rise"):
            drift(attribution, other)


def test_half_of_the_highest_tenth(maps):
    weights, attribution = maps
    other = weights.copy()
    other[9, 5:], other[0, :5] = weights[0, :5], weights[9, 5:]  # the five highest change places with five of the lowest
    found = drift(attribution, linear(other))
    np.testing.assert_allclose(found.overlap, 0.5)
    assert "share 50% of the highest tenth" in str(found)


def test_what_fills_up_the_tenth_of_sparse_maps_is_not_what_they_share(rng):
    images = rng.random((2, 20, 20, 1))

    def looks_at(*places):
        weights = np.zeros((20, 20))
        for row, column in places:
            weights[row : row + 2, column : column + 2] = 1
        return linear(weights)

    def overlap(one, other):
        return drift(occlusion(one, images, target=0, patch=1, stride=1, baseline=0.0), other).overlap

    one = looks_at((2, 3), (15, 12))
    assert overlap(one, looks_at((8, 5), (15, 2))).max() < 0.1  # by chance: 0.1
    np.testing.assert_allclose(overlap(one, one), 1)
    half = overlap(one, looks_at((2, 3), (15, 2)))
    assert 0.5 < half.min() <= half.max() < 0.6
    everything = linear(np.ones((20, 20)))  # as bright as the noise of the picture
    np.testing.assert_allclose(overlap(everything, looks_at((2, 3))), 0.1, atol=0.1)


def test_a_black_box_of_the_same_model_has_not_drifted(cnn, rng):
    model, images = cnn(), rng.random((3, 12, 12, 3)).astype("float32")
    for one, other in ((model, lambda x: model.predict(x, verbose=0)), (lambda x: model.predict(x, verbose=0), model)):
        found = drift(occlusion(one, images), other)
        assert found.rank_correlation.min() > 0.999
        assert found.same_class.all()
    with pytest.raises(InvalidArgument, match="grad_cam needs gradients or feature maps"):
        drift(grad_cam(model, images), lambda x: model.predict(x, verbose=0))


@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus])
def test_a_layer_that_nobody_named_is_chosen_in_each_model(method, rng):
    def net():
        stack = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")]
        return keras.Sequential([keras.Input((8, 8, 1)), *stack])

    one, other, images = net(), net(), rng.random((2, 8, 8, 1))  # Keras counts up: conv2d and conv2d_1
    other.set_weights(one.get_weights())
    maps = method(one, images)
    found = drift(maps, other)
    np.testing.assert_array_equal(found.rank_correlation[~found.blank], 1)
    assert (maps.details["layer"], found.attribution.details["layer"]) == (one.layers[0].name, other.layers[0].name)
    assert drift(maps, prune_channels(one, ratio=0.5)).attribution.details["layer"] == one.layers[0].name
    with pytest.raises(InvalidArgument, match=f"came '{one.layers[0].name}'"):
        drift(method(one, images, layer=one.layers[0].name), other)


def test_a_file_of_several_sigmoids_has_not_drifted(cnn, rng, tmp_path):
    model, images = cnn(head="sigmoid"), rng.random((3, 12, 12, 3)).astype("float32")
    maps = occlusion(model, images)
    found = drift(maps, to_onnx(model, tmp_path / "sigmoids.onnx"))
    assert found.rank_correlation.min() > 0.999
    np.testing.assert_allclose(found.attribution.values, maps.values, atol=1e-3)


@pytest.mark.parametrize("write", [to_onnx, to_litert])
@pytest.mark.parametrize("end", ["hard_sigmoid", "sigmoid of each place"])
def test_sigmoids_that_hide_in_a_file_are_known_there_too(end, write, rng, tmp_path):
    start = keras.Input((12, 12, 3))
    places = layers.Conv2D(4, 3, activation="relu" if end == "hard_sigmoid" else "sigmoid")(start)
    mean = layers.GlobalAveragePooling2D()(places)
    model = keras.Model(start, layers.Dense(4, end)(mean) if end == "hard_sigmoid" else mean)
    images = rng.random((3, 12, 12, 3)).astype("float32")
    file = write(model, tmp_path / ("m.onnx" if write is to_onnx else "m.tflite"))
    assert scores_of(file, images).score_kind == "log-odds"
    found = drift(occlusion(file, images), model)
    assert found.rank_correlation.min() > 0.99
    np.testing.assert_allclose(found.attribution.values, occlusion(file, images).values, atol=1e-3)


def test_blank_maps_of_either_model_are_left_out_and_counted():
    images = np.zeros((5, 6, 6, 1))
    images[1:, 1, 1] = images[:3, 4, 4] = images[3, 3, 3] = 1

    def looks_at(*place):
        weights = np.zeros((6, 6))
        weights[place] = 1
        return linear(weights)

    def maps_of(model, images):
        return occlusion(model, images, target=0, patch=1, stride=1, baseline=0.0)

    first = maps_of(looks_at(1, 1), images)
    np.testing.assert_array_equal(first.blank, [True, False, False, False, False])
    found = drift(first, looks_at(4, 4))
    np.testing.assert_array_equal(found.blank, [True, False, False, True, True])
    assert str(found).endswith(" 1 for the first model alone, 2 for the other model alone.")
    for figure in ("rank_correlation", "overlap", "pointing_change"):
        np.testing.assert_array_equal(np.isnan(getattr(found, figure)), found.blank)
        assert found.to_dict()[figure] == pytest.approx(getattr(found, figure)[1:3].mean())
    assert found.to_dict()["pointing_change"] == pytest.approx(3 / 5)

    none = drift(maps_of(looks_at(0, 0), images), looks_at(5, 5))
    assert "there is nothing to compare. Images whose maps are blank are left out of this: 5 for both." in str(none)
    same = none.to_dict().pop("same_class")
    assert none.to_dict() == {
        "rank_correlation": None, "overlap": None, "pointing_change": None, "same_class": same, "blank": 1.0,
    }  # fmt: skip


def test_maps_from_elsewhere():
    with pytest.raises(InvalidArgument, match="do not tell how"):
        drift(Attribution(np.ones((1, 2, 2)), np.ones((1, 2, 2, 1)), np.zeros(1, int), "mine"), linear(np.ones((2, 2))))


@pytest.fixture(scope="module")
def half_empty():
    """A network that finds a bright spot; half of the filters of its first two convolutions do nothing."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="first"),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    x, y = 0.1 * rng.standard_normal((400, 12, 12, 1)), np.arange(400) % 2
    for image, label in zip(x, y, strict=True):
        top, left = rng.integers(0, 9, 2)
        image[top : top + 4, left : left + 4] += 1 if label else -1
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=4, verbose=0)
    for name in ("first", "second"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., 16:], bias[16:] = 0, 0
        model.get_layer(name).set_weights([kernel, bias])
    return model, x.astype("float32"), y


def test_channels_that_do_nothing_may_go_and_others_may_not(half_empty):
    model, x, y = half_empty
    maps = occlusion(model, x[:4], target=y[:4])
    kept = drift(maps, prune_channels(model, ratio=0.5))
    assert kept.attribution.explained.model.count_params() < 0.5 * model.count_params()
    np.testing.assert_allclose(kept.attribution.values, maps.values, rtol=1e-4, atol=1e-5)
    assert kept.rank_correlation.min() > 0.999
    assert kept.same_class.all()
    one_left = drift(maps, prune_channels(model, ratio=0.95))
    assert one_left.rank_correlation.mean() < kept.rank_correlation.mean() - 0.01


def test_litert_files_are_explained_as_they_run(half_empty, tmp_path):
    model, x, _ = half_empty
    maps = occlusion(model, x[:8])
    exact = drift(maps, to_litert(model, tmp_path / "exact.tflite"))
    assert exact.rank_correlation.min() > 0.999
    found = drift(maps, to_litert(model, tmp_path / "small.tflite", format="int8", calibration=x[:100]))
    assert found.same_class.all()
    assert scores_of(tmp_path / "small.tflite", x[:8]).score_kind == "log-odds"
    assert 0.9 < np.median(found.rank_correlation[~found.blank]) < np.median(exact.rank_correlation)
    one = to_litert(model, tmp_path / "one.tflite", batch_size=1)
    np.testing.assert_allclose(drift(maps, one).attribution.values, exact.attribution.values, atol=1e-4)


def test_a_quantised_file_is_judged_like_any_other(half_empty, tmp_path):
    model, x, _ = half_empty
    file = to_onnx(model, tmp_path / "whole.onnx")
    small = quantize(file, x[:100], formats=["S8S8"], goal="size", path=tmp_path / "small.onnx", rounds=1)
    assert small.path.name == "small.onnx"  # otherwise nothing was quantised
    maps = occlusion(model, x[:8])
    exact, found = drift(maps, file), drift(maps, small.path)
    assert exact.rank_correlation.min() > 0.999
    assert not exact.blank.any()
    # Where 8 bits make a probability 1 and keep it there, nothing is known of where the file looks; elsewhere it is the same.
    assert 0 < found.blank.sum() < 8
    np.testing.assert_array_equal(found.blank, np.ptp(found.attribution.values, axis=(1, 2)) == 0)
    assert np.median(found.rank_correlation[~found.blank]) > 0.9  # of one or another only a step or two is left
    assert found.to_dict()["rank_correlation"] == pytest.approx(found.rank_correlation[~found.blank].mean())
    assert found.to_dict()["rank_correlation"] < exact.to_dict()["rank_correlation"]
    assert f"left out of this: {found.blank.sum()} for the other model alone." in str(found)
    assert found.same_class.all()
    again = drift(occlusion(small.path, x[:8]), small.path)
    np.testing.assert_array_equal(again.attribution.values, found.attribution.values)
    np.testing.assert_array_equal(again.rank_correlation[~found.blank], 1)
    np.testing.assert_array_equal(again.blank, found.blank)
    assert f"left out of this: {found.blank.sum()} for both." in str(again)


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_a_network_of_whole_numbers_and_its_file_are_given_the_same_ones(kind, tmp_path):
    keras.utils.set_random_seed(0)
    stack = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((8, 8, 1), dtype=kind), keras.layers.Rescaling(1.0), *stack])
    images = np.random.default_rng(0).integers(0, 2, (6, 8, 8, 1)).astype(kind)
    file = to_onnx(model, tmp_path / "m.onnx")
    for maps in (occlusion(model, images, patch=2), rise(model, images, masks=64, seed=0)):
        told = drift(maps, file)
        assert told.rank_correlation.min() > 0.999
        assert told.overlap.min() > 0.9
    between, whole = (occlusion(model, images, patch=2, baseline=value).values for value in (0.6, 1.0))
    np.testing.assert_array_equal(between, whole)
