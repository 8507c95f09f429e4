"""Training for 8 bits: the file computes what was trained, zeros stay, and layers that tfmot does not take are named."""

import json
import sys
import zipfile

import keras
import numpy as np
import pytest

from kerasnas.compress import prune, quantize_aware
from kerasnas.compress.quantize_aware import _split
from kerasnas.compress.translate import translate
from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.litert import open_litert

layers = keras.layers


def accuracy_of(path, x, y):
    session = open_litert(path)
    (name,) = [name for name, _, _ in session.inputs]
    return float(np.mean(session.run({name: x})[0].argmax(axis=1) == y))


@pytest.mark.slow
def test_the_file_computes_what_was_trained_and_keeps_the_accuracy(trained, digits, tmp_path):
    (x, y), (x_test, y_test) = digits
    before = [weight.copy() for weight in trained.get_weights()]
    labels = [f"digit {i}" for i in range(10)]
    file = quantize_aware(trained, x, y, tmp_path / "m.tflite", validation_data=(x_test, y_test), labels=labels, seed=0)
    assert file.twin_agreement > 0.99, "bit by bit what was simulated, but for ties"
    assert file.accuracy == pytest.approx(accuracy_of(file.path, x_test, y_test), abs=1e-9)
    assert file.keras_accuracy == pytest.approx(trained.evaluate(x_test, y_test, verbose=0)[1])
    # 497 images: a standard error is 0.011.
    assert file.accuracy > file.keras_accuracy - 0.03
    assert set(file.operators) == {"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}
    session = open_litert(file.path)
    assert {str(np.dtype(tensor["dtype"])) for tensor in session.tensors} == {"int8"}
    assert all(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True))
    with zipfile.ZipFile(file.path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == labels
        assert json.loads(archive.read("kerasnas.json"))["quantization"]["quantization_aware_training"]


def zeros_of(path):
    """Return the share of zeros in each integer kernel of a file, read from the file itself."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph, shares = model.Subgraphs(0), []
    for i in range(graph.TensorsLength()):
        data = model.Buffers(graph.Tensors(i).Buffer()).DataAsNumpy()
        if graph.Tensors(i).Type() == schema.TensorType.INT8 and isinstance(data, np.ndarray) and data.size > 20:
            shares.append(float(np.mean(data == 0)))
    return shares


@pytest.mark.slow
def test_zeros_stay_zero_where_asked_to(trained, digits, tmp_path):
    pruned = prune(trained, *digits[0], sparsity=0.7, epochs=2, seed=0)
    settings = {"validation_data": digits[1], "epochs": 1, "seed": 0, "max_loss": 1.0}
    kept = quantize_aware(pruned, *digits[0], tmp_path / "kept.tflite", preserve_sparsity=True, **settings)
    plain = quantize_aware(pruned, *digits[0], tmp_path / "plain.tflite", **settings)
    assert sum(share >= 0.7 for share in zeros_of(kept.path)) == 4
    assert sum(share >= 0.7 for share in zeros_of(plain.path)) < 4


def scaled(shape, *first):
    return keras.Sequential([layers.Input(shape), *first, layers.Flatten(), layers.Dense(3, activation="softmax")])


def takes_all(layer, before):
    return True


STARTS = {
    "rescaling": ((4, 4, 2), layers.Rescaling(0.5, -1.0)),
    "rescaling by channel": ((4, 4, 2), layers.Rescaling([0.5, 2.0], [1.0, -3.0])),
    "normalization by channel": ((4, 4, 2), layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])),
    "rescaling of a table": ((5,), layers.Rescaling(0.5, 2.0)),
    "normalization of one number": ((5, 2), layers.Normalization(mean=3.0, variance=4.0, axis=None)),
}


@pytest.mark.parametrize("case", STARTS)
def test_scaling_layers_are_translated(case):
    shape, layer = STARTS[case]
    model = scaled(shape, layer)
    x = np.random.default_rng(0).uniform(-3, 9, (6, *shape)).astype("float32")
    np.testing.assert_allclose(translate(model, takes_all)(x), model(x), atol=1e-5)


def test_nested_models_come_out_flat():
    inner_input = layers.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(inner_input))))
    inputs = layers.Input((8, 8, 1))
    x = layers.Conv2D(4, 1)(inputs)
    y = layers.Concatenate()([inner(x), layers.Cropping2D(1)(x)])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.SeparableConv2D(5, 3)(y))))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.3, 1.2, weight.shape))
    images = rng.random((3, 8, 8, 1)).astype("float32")
    twin = translate(model, takes_all)
    assert not any(hasattr(layer, "layers") for layer in twin.layers)
    np.testing.assert_allclose(twin(images), model(images, training=False), rtol=1e-5)


def test_layers_that_tfmot_does_not_take_are_all_named(tmp_path):
    inputs = layers.Input((8, 8, 1))
    conv = layers.Conv2D(4, 3, padding="same", name="shared")
    x = conv(layers.Conv2D(1, 1)(conv(inputs)))
    x = layers.BatchNormalization(name="after add")(layers.Add()([x, x]))
    x = layers.LayerNormalization(name="layer norm")(layers.Multiply(name="gate")([x, x]))
    x = keras.ops.tanh(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    x, y = np.ones((20, 8, 8, 1)), np.arange(20) % 3
    with pytest.raises(InvalidArgument) as raised:
        quantize_aware(model, x, y, tmp_path / "m.tflite")
    text = str(raised.value)
    for name in (
        "'shared' (Conv2D) is used twice",
        "'after add' (BatchN",
        "'gate' (Mult",
        "'layer norm' (LayerN",
        "(Tanh) is unk",
    ):
        assert name in text
    assert "'dense" not in text
    assert "to_litert(format='int8')" in text
    assert list(tmp_path.iterdir()) == []


def test_activations_that_tfmot_does_not_take_are_all_named(tmp_path):
    known = [layers.Conv2D(2, 1, activation="gelu", name="fine before"), layers.Activation("relu6", name="fine, too")]
    stack = [layers.Conv2D(2, 1, activation="hard_silu", name="a"), layers.Activation("softplus", name="b"), layers.Flatten()]
    last = [
        layers.Dense(4, "elu", name="c"),
        layers.Activation("celu", name="d"),
        layers.Dense(3, "softmax", name="fine"),
    ]
    model = keras.Sequential([layers.Input((4, 4, 1)), *known, *stack, *last])
    with pytest.raises(InvalidArgument) as raised:
        quantize_aware(model, np.ones((20, 4, 4, 1)), np.arange(20) % 3, tmp_path / "m.tflite")
    for name in (
        "'a' (Conv2D with hard_silu) is unknown",
        "'b' (Activation with softplus) is not supported",
        "'c' (Dense with elu) is not supported",
        "'d' (Activation with celu) is unknown",
    ):
        assert name in str(raised.value)
    assert "fine" not in str(raised.value)


@pytest.mark.parametrize("kind", [layers.Conv2D, layers.SeparableConv2D])
def test_a_batch_normalization_that_cannot_be_folded_is_named(kind, tmp_path):
    stack = [layers.Conv2D(2, 1, name="c"), layers.BatchNormalization(name="fine"), layers.ReLU()]
    late = [kind(2, 1, activation="relu", name="d"), layers.BatchNormalization(name="late"), layers.Flatten()]
    start = layers.Input((4, 4, 1))
    both = kind(1, 1, name="e")(start)  # is needed beside the normalisation, too
    value = layers.Add()([layers.BatchNormalization(name="beside")(both), both])
    for layer in (*stack, *late, layers.Dense(3, "softmax")):
        value = layer(value)
    model = keras.Model(start, value)
    with pytest.raises(InvalidArgument, match=r"'late' \(BatchNormalization\).* not all that follows a convol") as raised:
        quantize_aware(model, np.ones((20, 4, 4, 1)), np.arange(20) % 3, tmp_path / "m.tflite")
    assert "'fine'" not in str(raised.value)
    assert "'d'" not in str(raised.value)
    assert "'beside' (BatchNormalization) is not supported there" in str(raised.value)


def test_a_lambda_is_named_and_a_penalty_on_activities_passes():
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    model = keras.Sequential([layers.Input((6,)), layers.Lambda(lambda x: 2 * x, name="own"), layers.Dense(3)])
    with pytest.raises(InvalidArgument, match=r"'own' \(Lambda\) is unknown there"):
        translate(model, takes_all)
    model = keras.Sequential([layers.Input((6,)), layers.ActivityRegularization(l1=0.1, l2=0.1), layers.Dense(3)])
    twin = translate(model, takes_all)
    np.testing.assert_allclose(twin(x), model(x), rtol=1e-5)
    assert not np.any(twin.losses)


@pytest.mark.parametrize("held", [True, False])
def test_several_classes_at_once_are_refused_before_training(held, dense_model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["kerasnas.compress.quantize_aware"], "_fit", lambda *_: pytest.fail("trained"))
    model, x, _ = dense_model
    several = np.ones((len(x), 3)) * [1, 0, 1]
    validation = (x, several) if held else None
    with pytest.raises(InvalidArgument, match=r"rows that sum to 2 to 2\. Accuracy .* \(multi-label\)"):
        quantize_aware(model, x, several, tmp_path / "m.tflite", validation_data=validation)


def test_of_soft_labels_the_likeliest_class_counts(dense_model):
    split = sys.modules["kerasnas.compress.quantize_aware"]._split
    model, x, y = dense_model
    hard = keras.utils.to_categorical(y, 3)
    *_, told = split(model, x, 0.9 * hard + 0.1 / 3, None, 0)
    *_, classes = split(model, x, hard, None, 0)
    assert np.array_equal(told, classes)


@pytest.mark.parametrize("scale", [0.02, 1.0, 50.0])
def test_ranges_are_those_of_the_data_from_the_first_step_on(scale, tmp_path):
    """Activations of up to 0.1, 5 and 250: tfmot's own beginning of -6 to 6 rounds the first away and cuts the last off."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(320, 8)).astype("float32")
    hidden, head = rng.normal(size=(8, 16)), rng.normal(size=(16, 3))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), layers.Dense(3, "softmax")])
    model.set_weights([scale * hidden, np.zeros(16), head / scale, np.zeros(3)])
    y = model(x).numpy().argmax(axis=1)
    file = quantize_aware(model, x, y, tmp_path / "m.tflite", epochs=1, learning_rate=1e-6, seed=0, max_loss=0.05)
    assert file.agreement >= 0.95


def test_units_that_never_fire_have_no_range(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(320, 8)).astype("float32")
    inputs = keras.Input((8,))
    dead = layers.Dense(16, "relu", bias_initializer=keras.initializers.Constant(-100.0))(inputs)
    both = layers.Add()([layers.Dense(16, "relu")(inputs), dead])
    model = keras.Model(inputs, layers.Dense(3, "softmax")(both))
    y = model(x).numpy().argmax(axis=1)
    file = quantize_aware(model, x, y, tmp_path / "m.tflite", epochs=1, learning_rate=1e-6, seed=0, max_loss=0.1)
    assert file.twin_agreement > 0.95


@pytest.mark.slow
def test_augmentation_is_left_out_of_the_training(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6, 6, 1)).astype("float32"), np.arange(40) % 2
    body = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")]
    plain = keras.Sequential([keras.Input((6, 6, 1)), *body])
    varied = keras.Sequential([keras.Input((6, 6, 1)), layers.RandomFlip(), *body[:1], layers.RandomRotation(0.1), *body[1:]])
    loose = {"validation_data": (x, y), "epochs": 1, "seed": 3, "max_loss": 1.0, "min_agreement": 0.0}
    files = [
        quantize_aware(model, x, y, tmp_path / f"{name}.tflite", **loose)
        for name, model in (("plain", plain), ("varied", varied))
    ]
    runs = [open_litert(file.path) for file in files]
    answers = [run.run({run.inputs[0][0]: x})[0] for run in runs]
    np.testing.assert_array_equal(*answers)


def test_one_batch_of_a_dataset_does_not_stand_for_all(dense_model, tmp_path):
    import tensorflow as tf

    model, x, y = dense_model
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    for given in ((batches, None, None), (x, y, (batches, None)), (batches, None, (x, y))):
        with pytest.raises(InvalidArgument, match=r"arrays .* got a tf\.data\.Dataset"):
            quantize_aware(model, *given[:2], tmp_path / "m.tflite", validation_data=given[2])
    advised = map(np.concatenate, zip(*batches.as_numpy_iterator(), strict=True))
    assert all(map(np.array_equal, advised, (x, y)))


def test_what_loses_too_much_is_not_written(dense_model, tmp_path):
    model, x, y = dense_model
    y = model(x).numpy().argmax(axis=1)  # so that Keras is always right
    with pytest.raises(
        ExportMismatch, match=r"on 8 samples it agrees for 0.\d+ and has an accuracy of 0.\d+ where Keras has 1.0"
    ):
        quantize_aware(
            model, x, (y + 1) % 3, tmp_path / "m.tflite", validation_data=(x[:8], y[:8]), learning_rate=0.3, epochs=5
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "m.onnx"}, "ends in .tflite"),
        ({"epochs": 0}, "epochs"),
        ({"x": np.ones((4, 5))}, "inputs of shape"),
        ({"x": np.ones((4, 6)), "y": np.arange(4) % 3}, "at least 5 samples"),
        ({"labels": ["a", "b"]}, "3 labels, one per output column, got 2"),
        ({"labels": "abc"}, "sequence of labels"),
        ({"preprocessing": {"range": [1, 0]}}, r"\[lowest, highest\]"),
        ({"preprocessing": {1j}}, "preprocessing that JSON can hold"),
        ({"max_loss": float("nan")}, r"max_loss within \[0, 1\], got nan"),
        ({"min_agreement": float("nan")}, r"min_agreement within \[0, 1\], got nan"),
        ({"max_loss": -0.1}, "max_loss within"),
    ],
)
def test_mistakes_are_told_before_training(dense_model, tmp_path, options, message, monkeypatch):
    monkeypatch.setattr(sys.modules["kerasnas.compress.quantize_aware"], "_fit", lambda *_: pytest.fail("trained"))
    model, x, y = dense_model
    given = {"x": x, "y": y, "path": "m.tflite", **options}
    path = tmp_path / given.pop("path")
    with pytest.raises(InvalidArgument, match=message):
        quantize_aware(model, given.pop("x"), given.pop("y"), path, **given)


def test_a_single_unit_is_refused(tmp_path):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(1, activation="sigmoid")])
    with pytest.raises(InvalidArgument, match=r"shape \(batch, classes\)"):
        quantize_aware(model, np.ones((9, 4)), np.ones(9, int), tmp_path / "m.tflite")


def test_a_model_of_mixed_precision_is_refused_for_that(dense_model, tmp_path):
    _, x, y = dense_model
    hidden = layers.Dense(7, activation="relu", name="half", dtype="mixed_float16")
    model = keras.Sequential([layers.Input((6,)), hidden, layers.Dense(3, activation="softmax")])
    with pytest.raises(InvalidArgument, match="float32, but 'half' has the dtype policy 'mixed_float16'"):
        quantize_aware(model, x, y, tmp_path / "m.tflite")


def test_a_slope_of_ones_own_is_carried_over():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4), layers.LeakyReLU(negative_slope=0.1), layers.Dense(3, "softmax")]
    )
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    np.testing.assert_allclose(translate(model, takes_all)(x), model(x), atol=1e-5)


def test_what_is_held_out_has_each_class_alike():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(10, "softmax")])
    x, y = np.random.default_rng(0).normal(size=(1000, 2)), np.arange(1000) % 10  # classes take turns
    _, y_train, _, y_test = _split(model, x, y, None, 0)
    assert np.bincount(y_test).tolist() == [20] * 10
    assert np.bincount(y_train).tolist() == [80] * 10
