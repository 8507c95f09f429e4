"""What cannot be exported is refused with the name of the layer that it is."""

import os
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export import to_onnx, verify
from kerasnas.export.convert import convert
from kerasnas.export.culprit import culprits
from kerasnas.export.functional_view import functional_view
from kerasnas.export.session import open_session


def cholesky(name):
    return layers.Lambda(lambda x: ops.cholesky(ops.matmul(x, x) * 0 + ops.eye(2)), output_shape=(2, 2), name=name)


@keras.saving.register_keras_serializable("tests")
class OtherInGraphs(layers.Layer):
    """Computes one thing when it is called and another when it is traced, as a faulty conversion would."""

    def call(self, x):
        import tensorflow as tf

        return x + (1.0 if tf.executing_eagerly() else 1.5)


def test_a_layer_of_a_nested_model_is_named(tmp_path):
    inner_input = keras.Input((2, 2))
    inner = keras.Model(inner_input, layers.ReLU()(cholesky("deep inside")(inner_input)), name="inner")
    inputs = keras.Input((2, 2), name="x")
    model = keras.Model(inputs, layers.Flatten()(inner(layers.Dense(2)(inputs))))
    with pytest.raises(KerasNASError, match=r"Cholesky \(layer 'deep inside'\)"):
        to_onnx(model, tmp_path / "m.onnx")
    assert culprits(model, lambda alone: convert(functional_view(alone), opset=17)) == ["'deep inside' (Lambda)"]


def test_a_layer_that_computes_otherwise_is_named_with_the_difference(tmp_path):
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, layers.Dense(2)(OtherInGraphs(name="odd")(layers.ReLU()(inputs))))
    with pytest.raises(
        ExportMismatch, match=r"largest difference is [\d.e-]+ in 'dense\w*'.*It is the layer 'odd' \(OtherInGraphs\)\."
    ):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_operation_without_a_layer_is_named(tmp_path):
    inputs = keras.Input((2, 2), name="x")
    with pytest.raises(KerasNASError, match=r"Qr .*It is the layer 'qr\w*' \(Qr\)\."):
        to_onnx(keras.Model(inputs, ops.qr(inputs)[1]), tmp_path / "m.onnx")


def test_no_layer_is_blamed_that_can_be_exported_alone(tmp_path, monkeypatch, perturb):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, layers.Dense(3)(layers.ReLU()(inputs)))
    monkeypatch.setattr("kerasnas.export.onnx.convert", lambda view, opset: perturb(convert(view, opset=opset), 1.0))
    with pytest.raises(ExportMismatch, match="Each layer alone can be exported"):
        to_onnx(model, tmp_path / "m.onnx")


def test_what_keras_cannot_run_is_refused_with_its_words(tmp_path):
    inputs = keras.Input((2,), dtype="int32", name="tokens")
    model = keras.Model(inputs, layers.Embedding(3, 2, name="embedding")(inputs))
    file = to_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(KerasNASError, match=r"Keras can run on the CPU, but .* stopped with InvalidArgumentError") as caught:
        verify(model, file, np.full((1, 2), 7))
    assert "\x1b" not in str(caught.value)


@pytest.mark.slow
def test_what_tensorflow_can_run_through_onednn_only_says_so(tmp_path):
    code = (
        "import keras\nfrom kerasnas.errors import KerasNASError\nfrom kerasnas.export import to_onnx\n"
        "model = keras.Sequential([keras.Input((9, 8, 4)), keras.layers.Conv2DTranspose(3, 3, dilation_rate=2, name='far')])\n"
        f"try:\n    print(to_onnx(model, {str(tmp_path / 'm.onnx')!r}).verification.passed)\n"
        "except KerasNASError as error:\n    print(error)\n"
    )
    said = {}
    for setting in ("0", "1"):
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": setting}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        said[setting] = done.stdout
    assert "Start Python with TF_ENABLE_ONEDNN_OPTS=1" in said["0"]
    assert "'far'" in said["0"]
    assert said["1"] == "True\n"


def test_texts_that_no_table_of_onnx_holds_are_refused_by_every_door(tmp_path):
    inputs = keras.Input((1,), dtype="string", name="words")
    model = keras.Model(inputs, layers.StringLookup(vocabulary=["a"], name="lookup", num_oov_indices=2)(inputs))
    message = r"the input 'words' holds texts, which go to the layer 'lookup' \(StringLookup\).*at most one index for unknown"
    for door in (lambda: to_onnx(model, tmp_path / "m.onnx"), lambda: verify(model, tmp_path / "m.onnx")):
        with pytest.raises(InvalidArgument, match=message):
            door()


def test_any_name_reaches_the_file(tmp_path, scramble):
    inputs = [keras.Input((3,), name=name) for name in ("left eye", "right-eye", "_hidden")]
    total = layers.Add(name="größer als 1")(inputs)
    outputs = [layers.Dense(2, name="klasse %")(total), layers.ReLU(name="plain")(total)]
    model = scramble(keras.Model(inputs, outputs, name="mein Modell"))
    file = to_onnx(model, tmp_path / "m.onnx")
    proto = onnx.load(file)
    assert [v.name for v in proto.graph.input] == ["left eye", "right-eye", "_hidden"]
    assert [v.name for v in proto.graph.output] == ["klasse %", "plain"]
    assert proto.graph.name == model.name == "mein Modell"
    assert {p.key: p.value for p in proto.metadata_props}["model_name"] == "mein Modell"


def test_a_scope_of_a_layer_with_an_odd_name_still_names_it(tmp_path):
    inputs = keras.Input((2, 2), name="x")
    with pytest.raises(KerasNASError, match=r"layer 'größter Faktor'"):
        to_onnx(keras.Model(inputs, cholesky("größter Faktor")(inputs)), tmp_path / "m.onnx")


def test_name_scopes_are_put_back(tmp_path):
    import tensorflow as tf

    before = tf.name_scope
    inputs = keras.Input((2,), name="x")
    to_onnx(keras.Model(inputs, layers.Dense(1, name="a b")(inputs)), tmp_path / "m.onnx")
    assert tf.name_scope is before


def test_the_shape_is_that_of_inference(tmp_path):
    # RandomCrop states the size that it cuts in training; at inference it cuts nothing.
    inputs = keras.Input((12, 10, 1), name="x")
    model = keras.Model(inputs, layers.RandomCrop(8, 8, name="crop")(inputs))
    assert model.output_shape == (None, 8, 8, 1)
    came = model(np.zeros((1, 12, 10, 1)), training=False).shape
    assert to_onnx(model, tmp_path / "m.onnx").outputs["crop"] == ("batch", *came[1:])


def test_repaired_operators_follow_their_formulas(tmp_path):
    x = np.array([[-1.5, -0.5, -0.0, 0.0, 0.25, 0.5, 3.0]], "float32")
    inputs = keras.Input((7,), name="x")
    edges = [-0.5, 0.0, 0.5]
    outputs = [
        layers.Discretization(bin_boundaries=edges, name="bucket")(inputs),
        layers.Lambda(lambda v: ops.log1p(ops.abs(v)), name="log1p")(inputs),
        layers.Lambda(lambda v: ops.cast(ops.argmax(v[:, 2:4], axis=-1), "int32"), output_shape=(), name="first")(inputs),
    ]
    file = to_onnx(keras.Model(inputs, outputs), tmp_path / "m.onnx", x=x)
    import onnxruntime

    bucket, log1p, first = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_array_equal(bucket[0], np.digitize(x[0], edges))
    np.testing.assert_allclose(log1p, np.log1p(np.abs(x)), atol=1e-6)
    assert first[0] == 1  # Keras puts -0.0 below 0.0


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize(("side", "size"), [(12, 7), (7, 12), (49, 13)])
def test_resizing_to_any_size(tmp_path, interpolation, side, size):
    inputs = keras.Input((side, side, 2), name="x")
    model = keras.Model(inputs, layers.Resizing(size, size, interpolation=interpolation)(inputs))
    assert to_onnx(model, tmp_path / "m.onnx", atol=2e-5).verification.worst < 2e-5


def test_nearest_pictures_of_any_size_are_resized_as_by_tensorflow(tmp_path):
    x = keras.Input((None, None, 1))
    model = keras.Model(x, keras.layers.Resizing(24, 48, interpolation="nearest")(x))
    session = open_session(to_onnx(model, tmp_path / "m.onnx").path)
    for height, width in ((80, 160), (32, 32), (7, 1920), (24, 5)):  # a scale of onnxruntime takes other rows
        picture = np.random.default_rng(0).random((1, height, width, 1)).astype("float32")
        (found,) = session.run({session.inputs[0][0]: picture})
        np.testing.assert_array_equal(found, model(picture))


def test_a_model_with_a_call_of_its_own_is_no_graph(tmp_path):
    class Times(keras.Model):
        def call(self, x, training=None):
            return super().call(x, training=training) * 10

    class Trains(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    x = keras.Input((3,))
    with pytest.raises(InvalidArgument, match="Times has its own `call`"):
        to_onnx(Times(x, keras.layers.Dense(1)(x)), tmp_path / "m.onnx")
    assert to_onnx(Trains(x, keras.layers.Dense(1)(x)), tmp_path / "m.onnx").verification.passed


def test_a_layer_that_is_given_one_tensor_twice_is_looked_into():
    x = keras.Input((4, 8))
    hidden = keras.layers.Dense(8)(x)
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden)
    model = keras.Model(x, keras.layers.Add(name="twice")([attended, attended]))
    seen = []
    assert culprits(model, lambda alone: seen.append(alone.output_shape)) == []
    assert len(seen) == 3


def test_a_layer_that_is_applied_to_its_own_output_is_named_by_its_first_call():
    x = keras.Input((2, 2))
    again = cholesky("again")
    model = keras.Model(x, layers.ReLU()(again(again(layers.Dense(2)(x)))))
    assert culprits(model, lambda alone: convert(functional_view(alone), opset=17)) == ["'again' (Lambda)"]
