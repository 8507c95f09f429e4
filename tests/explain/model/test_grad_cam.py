import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

from kerasnas.errors import InvalidArgument
from kerasnas.explain import grad_cam
from kerasnas.explain.model.score_view import ScoreView

layers = keras.layers


def cam_model(shape=(9, 6, 2), head="linear", **kwargs):
    """Global average pooling and a linear head: Grad-CAM is CAM here, up to the number of positions."""
    inputs = keras.Input(shape)
    features = layers.Conv2D(5, 3, padding="same", activation="relu", name="features", **kwargs)(inputs)
    return keras.Model(inputs, layers.Dense(3, activation=head, name="scores")(layers.GlobalAveragePooling2D()(features)))


def features_of(model, layer, images):
    return keras.ops.convert_to_numpy(keras.Model(model.inputs[0], model.get_layer(layer).output)(images))


def test_equals_cam_on_average_pooling_and_a_linear_head(rng):
    model, images = cam_model(), rng.normal(size=(4, 9, 6, 2)).astype("float32")
    weights = model.get_layer("scores").get_weights()[0]
    features = features_of(model, "features", images)
    for target in range(3):
        expected = np.maximum(features @ weights[:, target], 0) / (9 * 6)
        np.testing.assert_allclose(grad_cam(model, images, target=target).values, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 2), (4, 16, 1)])
def test_equals_cam_to_1e_8_where_float32_is_exact(shape, rng):
    """Small multiples of powers of two, at 64 positions: nothing is rounded, so that both must agree to the last bit."""
    model, images = cam_model(shape), rng.integers(-4, 5, (3, *shape)).astype("float32")
    conv, head = model.get_layer("features"), model.get_layer("scores")
    conv.set_weights([rng.integers(-4, 5, (3, 3, shape[2], 5)) / 4, rng.integers(-4, 5, 5) / 4])
    head.set_weights([rng.integers(-3, 9, (5, 3)) / 8, np.zeros(3)])
    features = features_of(model, "features", images).astype("float64")
    for target in range(3):
        expected = np.maximum(features @ head.get_weights()[0][:, target].astype("float64"), 0) / 64
        assert expected.max() > 0
        np.testing.assert_allclose(grad_cam(model, images, target=target).values, expected, rtol=0, atol=1e-8)


def test_negative_gradients_count_and_the_map_is_rectified(rng):
    # tf-explain's default gates the gradients by > 0 and does not rectify the map.
    model, images = cam_model(), np.abs(rng.normal(size=(1, 9, 6, 2))).astype("float32")
    model.get_layer("scores").set_weights([-np.ones((5, 3), "float32"), np.zeros(3, "float32")])
    assert not grad_cam(model, images, target=0).values.any()
    weights = np.array([2, -1, 1, -3, 0.5], "float32")
    model.get_layer("scores").set_weights([np.tile(weights[:, None], 3), np.zeros(3, "float32")])
    expected = np.maximum(features_of(model, "features", images) @ weights, 0) / 54
    assert (expected == 0).any()
    np.testing.assert_allclose(grad_cam(model, images, target=0).values, expected, atol=1e-6)


def test_is_enlarged_by_cubic_convolution_to_an_image_that_is_not_square(rng):
    model, images = cam_model((12, 8, 2), strides=2), rng.normal(size=(2, 12, 8, 2)).astype("float32")
    cam = np.maximum(features_of(model, "features", images) @ model.get_layer("scores").get_weights()[0][:, 1], 0) / 24
    found = grad_cam(model, images, target=1).values
    expected = np.maximum(tf.image.resize(cam[..., None], (12, 8), method="bicubic").numpy()[..., 0], 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Keys' kernel with a = -0.5, a quarter and three quarters of the way between two rows; the ends are not looked at.
    near = np.array([-0.0703125, 0.8671875, 0.2265625, -0.0234375])
    far = near[::-1]
    down = np.stack([kernel @ cam[0, start : start + 4] for start in range(3) for kernel in (near, far)])
    wide = np.stack([down[:, 0:4] @ kernel for kernel in (near, far)], axis=1)
    np.testing.assert_allclose(found[0, 3:9, 3:5], np.maximum(wide, 0), atol=1e-6)


@pytest.mark.parametrize("tail", ["dense", "activation", "softmax layer", "ops", "dense + linear activation"])
def test_a_softmax_that_is_sure_changes_nothing(tail, rng):
    # Differentiating the softmax itself gives maps of exact zeros here.
    model, images = cam_model(), rng.normal(size=(3, 9, 6, 2)).astype("float32")
    weights, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([weights * 3000, bias * 3000])
    pooled = model.layers[-2].output
    if tail.startswith("dense"):
        sure = layers.Dense(3, activation="softmax", name="sure")
        outputs = sure(pooled)
        sure.set_weights(model.get_layer("scores").get_weights())
        outputs = layers.Activation("linear")(outputs) if "linear" in tail else outputs
    else:
        squash = {"activation": layers.Activation("softmax"), "softmax layer": layers.Softmax(), "ops": keras.ops.softmax}
        outputs = squash[tail](model.output)
    sure_model = keras.Model(model.inputs[0], outputs)
    assert sure_model.predict(images, verbose=0).max() == 1.0
    explained, plain = grad_cam(sure_model, images, target=1), grad_cam(model, images, target=1)
    assert explained.details["score"] == "logit"
    assert plain.details["score"] == "output"
    assert explained.values.max() > 0
    np.testing.assert_allclose(explained.values, plain.values, rtol=1e-5)


def test_scaling_the_logits_scales_the_map(cnn, rng):
    model, images = cnn(), rng.normal(size=(3, 12, 12, 3))
    before = grad_cam(model, images, target=2).values
    weights, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([weights * 30, bias * 30])
    np.testing.assert_allclose(grad_cam(model, images, target=2).values, 30 * before, rtol=1e-4, atol=1e-6)


def test_a_softmax_used_twice_is_left_in_and_undone(rng):
    inputs, softmax = keras.Input((6, 6, 1)), layers.Softmax()
    x = softmax(layers.Conv2D(3, 3)(inputs))
    model = keras.Model(inputs, softmax(layers.GlobalAveragePooling2D()(x)))
    images = rng.normal(size=(3, 6, 6, 1)).astype("float32")
    assert grad_cam(model, images).details["score"] == "log-probability"
    scores = ScoreView(model, images).evaluate(images)
    np.testing.assert_allclose(np.exp(scores), model.predict(images, verbose=0), atol=1e-6)


def test_one_sigmoid_unit_has_two_opposite_classes(rng):
    inputs = keras.Input((6, 6, 1))
    features = layers.Conv2D(4, 3, name="features")(inputs)
    outputs = layers.Dense(1, activation="sigmoid", name="scores")(layers.GlobalAveragePooling2D()(features))
    model, images = keras.Model(inputs, outputs), rng.normal(size=(4, 6, 6, 1)).astype("float32")
    cam = features_of(model, "features", images) @ model.get_layer("scores").get_weights()[0][:, 0] / 16
    for target, signed in ((1, cam), (0, -cam)):
        large = tf.image.resize(np.maximum(signed, 0)[..., None], (6, 6), method="bicubic").numpy()[..., 0]
        expected = np.maximum(large, 0)
        np.testing.assert_allclose(grad_cam(model, images, target=target).values, expected, atol=1e-6)
    predicted = (model.predict(images, verbose=0)[:, 0] > 0.5).astype(int)
    np.testing.assert_array_equal(grad_cam(model, images).targets, predicted)


def test_finds_the_layer_after_what_follows_the_last_convolution(cnn, rng):
    images = rng.normal(size=(1, 12, 12, 3))
    model = cnn()
    assert grad_cam(model, images).details["layer"] == "relu"
    np.testing.assert_array_equal(grad_cam(model, images).values, grad_cam(model, images, layer="relu").values)
    assert grad_cam(model, images, layer="last").details["layer"] == "last"


def test_finds_the_merge_of_branches_and_skips_squeezed_maps(rng):
    inputs = keras.Input((8, 8, 2))
    branches = [layers.Conv2D(3, size, padding="same")(inputs) for size in (1, 3)]
    x = layers.Concatenate(name="merged")(branches)
    gate = layers.Conv2D(6, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply(name="gated")([x, gate])
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert grad_cam(model, rng.normal(size=(1, 8, 8, 2))).details["layer"] == "gated"


@pytest.mark.parametrize("pooled", [False, True])
def test_a_nested_backbone_is_explained_like_the_flat_model(pooled, rng):
    images = rng.normal(size=(3, 10, 10, 1)).astype("float32")
    inner = keras.Input((10, 10, 1))
    features = layers.Conv2D(4, 3, activation="relu", name="conv")(inner)
    pool, dense = layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")
    backbone = keras.Model(inner, pool(features) if pooled else features, name="backbone")
    outer = keras.Input((10, 10, 1))
    x = backbone(layers.Rescaling(2.0)(outer))
    head = keras.Sequential([dense], name="head")
    nested = keras.Model(outer, head(x if pooled else pool(x)))
    flat = keras.Model(inner, dense(pool(features)))
    got = grad_cam(nested, images, target=1)
    assert got.details == {"layer": "backbone/conv" if pooled else "backbone", "score": "logit"}
    assert got.values.max() > 0
    np.testing.assert_allclose(got.values, grad_cam(flat, 2 * images, target=1).values, rtol=1e-5, atol=1e-7)
    for name in ("conv", "backbone/conv"):
        np.testing.assert_array_equal(grad_cam(nested, images, target=1, layer=name).values, got.values)


def test_sequential_equals_functional(cnn, rng):
    model, images = cnn(), rng.normal(size=(2, 12, 12, 3))
    functional = keras.Model(model.inputs, model.outputs[0])
    np.testing.assert_array_equal(grad_cam(model, images).values, grad_cam(functional, images).values)


def test_a_sequential_backbone_inside_a_sequential_model(cnn, rng):
    got = grad_cam(cnn(nested=[]), rng.normal(size=(2, 12, 12, 3)), target=0)
    assert got.details["layer"] == "backbone"
    assert np.ptp(got.values) > 0


def test_the_pool_that_a_nested_backbone_ends_in_is_not_taken_for_its_convolution(rng):
    backbone = [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, padding="same", name="conv"), layers.MaxPooling2D(name="pool")]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    images = rng.normal(size=(1, 8, 8, 1))
    nested = keras.Sequential([keras.Input((8, 8, 1)), keras.Sequential(backbone, name="backbone"), *head])
    assert grad_cam(nested, images).details["layer"] == "backbone/conv"
    assert grad_cam(keras.Sequential([*backbone, *head]), images).details["layer"] == "conv"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_computed_in_float32(policy, cnn, rng):
    half, full, images = cnn(dtype=policy), cnn(), rng.normal(size=(2, 12, 12, 3))
    full.set_weights(half.get_weights())
    np.testing.assert_allclose(
        grad_cam(half, images, target=1).values, grad_cam(full, images, target=1).values, rtol=1e-5, atol=1e-7
    )
    assert half.compute_dtype == "float32" or half.layers[0].compute_dtype != "float32"


def test_a_global_mixed_policy_is_computed_in_float32(cnn, rng):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half, images = cnn(dtype=None, nested=[]), rng.normal(size=(2, 12, 12, 3))
        got = grad_cam(half, images, target=1).values
    finally:
        keras.mixed_precision.set_global_policy("float32")
    full = cnn(nested=[])
    full.set_weights(half.get_weights())
    np.testing.assert_allclose(got, grad_cam(full, images, target=1).values, rtol=1e-5, atol=1e-7)


def test_targets_for_each_image_equal_separate_calls(cnn, rng):
    model, images, targets = cnn(), rng.normal(size=(6, 12, 12, 3)), np.array([3, 0, 2, 0, 1, 3])
    together = grad_cam(model, images, target=targets)
    np.testing.assert_array_equal(together.targets, targets)
    for row, target in enumerate(targets):
        alone = grad_cam(model, images[row : row + 1], target=int(target)).values[0]
        np.testing.assert_allclose(together.values[row], alone, rtol=1e-4, atol=1e-6)


def test_the_default_target_is_the_predicted_class(cnn, rng):
    model, images = cnn(), rng.normal(size=(300, 12, 12, 3)).astype("float32")  # more than one chunk
    got = grad_cam(model, images)
    np.testing.assert_array_equal(got.targets, model.predict(images, verbose=0).argmax(axis=1))
    np.testing.assert_allclose(got.values[280:], grad_cam(model, images[280:]).values, rtol=1e-4, atol=1e-6)


def test_a_flipped_image_has_the_flipped_map(rng):
    model, images = cam_model((8, 8, 1), strides=2), rng.normal(size=(2, 8, 8, 1)).astype("float32")
    conv = model.get_layer("features")
    kernel, bias = conv.get_weights()
    kernel[2] = 0  # with "same" padding and stride 2 the window is 2 wide and centred only without its last row and column
    kernel[:, 2] = 0
    kernel[:2, :2] += kernel[:2, :2][:, ::-1].copy()
    conv.set_weights([kernel, bias])
    flipped = grad_cam(model, images[:, :, ::-1], target=1).values
    np.testing.assert_allclose(flipped, grad_cam(model, images, target=1).values[:, :, ::-1], atol=1e-6)


def test_uint8_equals_float_images(cnn, rng):
    model, images = cnn(), rng.integers(0, 256, (2, 12, 12, 3)).astype("uint8")
    byte = grad_cam(model, images, target=1)
    assert byte.images.dtype == np.uint8
    np.testing.assert_array_equal(byte.values, grad_cam(model, images.astype("float32"), target=1).values)


def test_a_model_with_a_uint8_input(rng):
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    x = layers.Conv2D(3, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    assert np.isfinite(grad_cam(model, rng.integers(0, 256, (2, 6, 6, 1)).astype("uint8")).values).all()


def planted(rng, count=8, side=16):
    """Return noise with a bright cross of 4 x 4 pixels, and where its upper left corner is."""
    cross = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], "float32")
    images, corners = 0.1 * rng.random((count, side, side, 1), "float32"), rng.integers(0, side - 3, (count, 2))
    for image, (top, left) in zip(images, corners, strict=True):
        image[top : top + 4, left : left + 4, 0] += cross
    return images, corners, cross


def test_the_map_depends_on_the_weights(rng):
    # Adebayo et al. 2018: a map that survives random weights shows edges, not the model.
    images, corners, _ = planted(rng, count=300)
    targets = (corners[:, 0] > 6).astype(int)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images, targets, epochs=6, verbose=0)
    trained = grad_cam(model, images[:40], target=targets[:40]).values
    similar = []
    for seed in range(5):
        for weight in model.trainable_variables:
            weight.assign(keras.random.normal(weight.shape, stddev=0.3, seed=seed))
        random = grad_cam(model, images[:40], target=targets[:40]).values
        pairs = [(a, b) for a, b in zip(trained, random, strict=True) if np.ptp(a) > 0 and np.ptp(b) > 0]
        similar.append(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]))
    assert abs(np.mean(similar)) < 0.35  # an unchanged map has 1


def test_the_model_is_left_as_it_was(cnn, rng):
    model, images = cnn(nested=[]), rng.normal(size=(2, 12, 12, 3)).astype("float32")

    def nodes(layer):
        inner = layer.layers if isinstance(layer, keras.Model) else []
        return [len(layer._inbound_nodes), len(layer._outbound_nodes), *(nodes(x) for x in inner)]

    before = (model.get_config(), nodes(model), [w.copy() for w in model.get_weights()], model(images).numpy())
    grad_cam(model, images)
    assert model.get_config() == before[0]
    assert nodes(model) == before[1]
    for old, new in zip(before[2], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model(images).numpy(), before[3])


def test_an_unknown_layer_is_answered_with_the_candidates(cnn, rng):
    with pytest.raises(InvalidArgument, match=r"came 'nowhere'.*first.*relu"):
        grad_cam(cnn(), rng.normal(size=(1, 12, 12, 3)), layer="nowhere")


def test_a_model_without_feature_maps_is_sent_to_occlusion(rng):
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(InvalidArgument, match="use occlusion"):
        grad_cam(model, rng.normal(size=(1, 4, 4, 1)))


def test_a_layer_without_a_gradient_is_named(rng):
    inputs = keras.Input((6, 6, 1))
    features = layers.Conv2D(2, 3, name="cut")(inputs)
    x = layers.Lambda(lambda t: tf.stop_gradient(t), output_shape=(4, 4, 2))(features)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(InvalidArgument, match="'cut'"):
        grad_cam(model, rng.normal(size=(1, 6, 6, 1)), layer="cut")


def test_a_copy_in_float32_normalises_as_the_model_does(rng):
    """`set_weights` leaves an adapted Normalization with mean 0 and variance 1."""
    images = rng.integers(0, 256, (6, 12, 12, 3)).astype("float32")

    def net(dtype):
        keras.utils.set_random_seed(2)
        adapted = keras.layers.Normalization(dtype=dtype)
        adapted.adapt(images)
        conv = keras.layers.Conv2D(8, 3, activation="relu", dtype=dtype)
        head = [keras.layers.GlobalAveragePooling2D(dtype=dtype), keras.layers.Dense(4, "softmax", dtype=dtype)]
        return keras.Sequential([keras.Input((12, 12, 3)), adapted, conv, *head])

    half, full = grad_cam(net("mixed_float16"), images), grad_cam(net("float32"), images)
    np.testing.assert_array_equal(half.targets, full.targets)
    np.testing.assert_allclose(half.values, full.values, rtol=0.02, atol=0.02 * np.abs(full.values).max())
