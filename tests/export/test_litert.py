"""LiteRT files: what is written does what the Keras model does, and what does not is not written."""

import dataclasses
import importlib
import json
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import layers, ops
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import kerasnas
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export import Certificate, benchmark, certify, quantize, to_litert, to_onnx, verify
from kerasnas.litert import open_litert

MODULE = importlib.import_module("kerasnas.export.litert")


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1).astype("float32"), y


@pytest.fixture(scope="module")
def model(digits):
    """Return a conv net that tells digits apart: drawn filters under a trained head."""
    x, y = digits
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), name="image")
    features = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 16)(inputs))
    features = layers.Flatten()(layers.Conv2D(16, 3, activation="relu")(layers.MaxPooling2D()(features)))
    head = layers.Dense(10, activation="softmax", name="digit")
    net = keras.Model(inputs, head(features), name="net")
    trained = LogisticRegression(max_iter=300, C=100).fit(keras.Model(inputs, features)(x[:900]), y[:900])
    head.set_weights([trained.coef_.T, trained.intercept_])
    return net


def plain_interpreter(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return interpreter


def run_plainly(path, x):
    """Run a file as somebody would who has never heard of kerasnas, sample by sample, integers quantised by hand."""
    interpreter = plain_interpreter(path)
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for row in x:
        (scale, zero), (out_scale, out_zero) = given["quantization"], taken["quantization"]
        quantised = np.round(row / scale + zero) if scale else row
        interpreter.set_tensor(given["index"], quantised[None].astype(given["dtype"]))
        interpreter.invoke()
        values = interpreter.get_tensor(taken["index"]).astype("float32")
        rows.append((values - out_zero) * out_scale if out_scale else values)
    return np.concatenate(rows)


def test_a_model_no_better_than_a_guess_is_told(tmp_path, digits, model):
    x, y = digits[0][1300:1400], (digits[1][1300:1400] + 1) % 10
    with pytest.warns(UserWarning, match="of the 100 samples .* always guessing the commonest class"):
        to_litert(model, tmp_path / "m.tflite", x=x, y=y)


@pytest.mark.parametrize("format", ["float32", "float16", "int8", "int16"])
def test_the_file_computes_what_keras_does(tmp_path, digits, model, format):
    x, y = digits
    path = tmp_path / "m.tflite"
    calibration = x[900:1200] if format.startswith("int") else None
    file = to_litert(model, path, format=format, calibration=calibration, x=x[1300:1500], y=y[1300:1500])
    expected, came = model(x[1300:1500]).numpy(), run_plainly(path, x[1300:1500])
    bound = {"float32": 1e-5, "float16": 1e-2, "int8": 0.35, "int16": 0.05}[format]
    assert np.abs(came - expected).max() < bound
    assert file.verification.worst == pytest.approx(np.abs(came - expected).max(), abs=2 / 256)
    assert file.verification.top1_agreement["digit"] == np.mean(came.argmax(1) == expected.argmax(1))
    assert file.accuracy == pytest.approx(np.mean(came.argmax(1) == y[1300:1500]))
    assert file.keras_accuracy == pytest.approx(np.mean(expected.argmax(1) == y[1300:1500]))
    assert file.keras_accuracy > 0.8, "the net must tell digits apart for its accuracy to say anything"
    assert file.size_bytes == path.stat().st_size
    assert file.operators["CONV_2D"] == 2
    assert verify(model, file, x[:20], atol=None, min_agreement=0.9, batch_sizes=(1, 3)).passed
    json.dumps(file.to_dict(), allow_nan=False)


def test_sizes_fall_with_the_bits(tmp_path, scramble):
    inputs = keras.Input((64,), name="x")
    model = scramble(keras.Model(inputs, layers.Dense(64)(layers.Dense(1024)(inputs))))
    x = np.random.default_rng(0).uniform(-1, 1, (40, 64))
    sizes = {
        f: to_litert(model, tmp_path / "m.tflite", format=f, calibration=x, x=x, atol=1).size_bytes
        for f in ("float32", "float16", "int8", "int16")
    }
    assert sizes["float16"] / sizes["float32"] == pytest.approx(0.5, abs=0.03)
    assert sizes["int8"] / sizes["float32"] == pytest.approx(0.25, abs=0.05)
    assert sizes["int16"] / sizes["float32"] == pytest.approx(0.25, abs=0.05)


def test_calibration_alone_is_split_into_what_is_seen_and_what_is_measured(tmp_path, digits, model):
    x, y = digits[0][:100], digits[1][:100]
    file = to_litert(model, tmp_path / "m.tflite", format="int8", calibration=x, y=y)
    assert file.verification.n_samples == 50
    assert file.accuracy == pytest.approx(np.mean(run_plainly(file.path, x[1::2]).argmax(1) == y[1::2]))


@pytest.mark.parametrize("ending", ["sigmoid", None])
def test_one_column_has_two_classes(tmp_path, ending):
    start = keras.Input((4,))
    column = layers.Dense(1, ending, kernel_initializer="ones")(start)
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = (x.sum(axis=1) + np.random.default_rng(1).normal(size=200) > 0).astype(int)
    settings = {"format": "int8", "calibration": x, "x": x, "max_loss": 0.05}
    file = to_litert(keras.Model(start, column), tmp_path / "m.tflite", y=y[:, None], **settings)
    expected = x.sum(axis=1) > 0
    assert file.keras_accuracy == pytest.approx(np.mean(expected == y))
    came = run_plainly(file.path, x)[:, 0] > (0.5 if ending else 0)
    assert file.accuracy == pytest.approx(np.mean(came == y))
    assert list(file.verification.top1_agreement.values()) == pytest.approx([np.mean(came == expected)])
    unlabelled = to_litert(keras.Model(start, column), tmp_path / "m.tflite", **settings).verification
    assert bool(unlabelled.top1_agreement) == (ending == "sigmoid")  # else it may be a number
    for more in ([column, layers.Dense(2)(start)], layers.Reshape((1, 1))(column)):
        with pytest.raises(InvalidArgument, match=r"of shape \(batch, classes\) .* Leave out y"):
            to_litert(keras.Model(start, more), tmp_path / "m.tflite", y=y, **settings)


def test_the_file_says_what_it_is_to_plain_tools(tmp_path, model):
    facts = {"input": "raw pixels", "range": [0, 16]}
    file = to_litert(model, tmp_path / "m.tflite", labels=[*"012345678", "neün"], preprocessing=facts)
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == [*"012345678", "neün"]
        told = json.loads(archive.read("kerasnas.json"))
    assert told["preprocessing"] == facts
    assert (told["model_name"], told["format"], told["kerasnas_version"]) == ("net", "float32", kerasnas.__version__)
    assert file.verification.data == "uniform in [0, 16], seed 0"
    assert file.inputs == {"image": (None, 8, 8, 1)}
    assert file.outputs == ("digit",)
    again = to_litert(model, tmp_path / "again.tflite", labels=[*"012345678", "neün"], preprocessing=facts)
    assert again.path.read_bytes() == file.path.read_bytes()


def test_several_inputs_and_outputs_of_any_name(tmp_path, scramble):
    a, b = keras.Input((3,), name="größe"), keras.Input((2,), name="a b")
    both = layers.Concatenate()([a, b])
    model = scramble(keras.Model([a, b], [layers.Dense(4, name="z 1")(both), layers.Dense(2, name="a")(b)], name="two things"))
    file = to_litert(model, tmp_path / "m.tflite")
    assert list(file.inputs) == ["größe", "a b"]
    assert file.outputs == ("z 1", "a")
    assert file.verification.max_abs_difference.keys() == {"z 1", "a"}
    assert {layer.name for layer in model.layers} >= {"größe", "a b", "z 1", "a"}
    assert any(weight.value.name.startswith("z 1") for weight in model.weights)


@pytest.mark.parametrize("format", ["int8", "int16"])
def test_each_input_has_the_range_of_its_own_samples(tmp_path, format):
    # With the ranges of the other input one of them would be lost or saturated.
    small, large = keras.Input((4,), name="z_small"), keras.Input((4,), name="a_large")
    model = keras.Model([small, large], layers.Concatenate()([layers.Dense(2)(small), layers.Dense(2)(large)]))
    rng = np.random.default_rng(0)
    x = [rng.uniform(-0.01, 0.01, (40, 4)), rng.uniform(-100, 100, (40, 4))]
    file = to_litert(model, tmp_path / "m.tflite", format=format, calibration=x, x=x, min_agreement=0)
    session = open_litert(file.path)
    top = 2 ** (int(format[3:]) - 1) - 1
    scales = {name: tensor["quantization"][0] for (name, _, _), tensor in zip(session.inputs, session.tensors, strict=False)}
    assert scales["z_small"] * top == pytest.approx(0.01, rel=0.1)
    assert scales["a_large"] * top == pytest.approx(100, rel=0.1)


def test_whole_numbers_go_in_as_they_are(tmp_path):
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Dense(3)(layers.Flatten()(layers.Embedding(7, 4)(tokens))))
    x = np.random.default_rng(0).integers(0, 7, (60, 5))
    file = to_litert(model, tmp_path / "m.tflite", format="int8", calibration=x)
    assert [dtype for _, _, dtype in open_litert(file.path).inputs] == ["int32"]
    assert min(file.verification.top1_agreement.values()) >= 0.9


def loops(inputs):
    nested = keras.Sequential([layers.Input((6, 4)), layers.Bidirectional(layers.LSTM(2, name="inside"))])
    plain = layers.RNN(layers.SimpleRNNCell(2), name="cells")(inputs)
    return layers.Concatenate()([nested(inputs), plain, layers.GRU(2, unroll=True, name="fine")(inputs)])


@pytest.mark.parametrize("format", ["int8", "int16"])
@pytest.mark.parametrize("batch_size", [None, 1])
def test_loops_over_time_are_refused_for_integers_and_end_no_process(format, batch_size, tmp_path):
    inputs = layers.Input((6, 4))
    model = keras.Model(inputs, layers.Dense(3)(loops(inputs)))
    x = np.ones((8, 6, 4), "float32")
    with pytest.raises(InvalidArgument, match=r"unroll=True") as raised:
        to_litert(model, tmp_path / "m.tflite", format=format, calibration=x, batch_size=batch_size)
    for name in ("'forward_inside' (LSTM)", "'backward_inside' (LSTM)", "'cells' (RNN)"):
        assert name in str(raised.value)
    assert "fine" not in str(raised.value)


def test_a_fixed_batch_needs_fewer_operators_and_recurrent_layers_need_it(tmp_path, model):
    free, fixed = (to_litert(model, tmp_path / "m.tflite", batch_size=size).operators for size in (None, 1))
    assert set(free) - set(fixed) == {"SHAPE", "STRIDED_SLICE", "PACK"}
    inputs = keras.Input((5, 3))
    recurrent = keras.Model(inputs, layers.LSTM(4, name="memory")(inputs))
    file = to_litert(recurrent, tmp_path / "m.tflite", batch_size=1)
    assert file.verification.batch_sizes == (1,)
    with pytest.raises(KerasNASError, match=r"pass batch_size=1.*'memory' \(LSTM\)"):
        to_litert(recurrent, tmp_path / "other.tflite")


def test_an_operator_that_litert_lacks_is_named_with_its_layer(tmp_path):
    inputs = keras.Input((2, 4), name="x")
    culprit = layers.Lambda(lambda x: ops.svd(x)[1], output_shape=(2,), name="culprit")
    model = keras.Model(inputs, layers.Dense(2)(culprit(layers.Dense(4)(inputs))))
    with pytest.raises(KerasNASError, match=r"Svd .*It is the layer 'culprit' \(Lambda\)"):
        to_litert(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def broken(monkeypatch, model):
    """Let the converter be given another model than the one that was asked for."""
    original = MODULE.save_for_litert

    def save(view, folder, *, batch_size):
        weights = [weight.numpy() for weight in view.model.weights]
        if len(weights) > 2:  # only the model as a whole, not a layer that is looked at alone
            view.model.weights[-2].assign(-weights[-2])
        original(view, folder, batch_size=batch_size)
        view.model.set_weights(weights)

    monkeypatch.setattr(MODULE, "save_for_litert", save)


def test_a_file_that_computes_otherwise_is_not_written(tmp_path, digits, model, broken):
    target = tmp_path / "m.tflite"
    target.write_bytes(b"older")
    with pytest.raises(ExportMismatch, match=r"largest difference is [\d.]+ in 'digit'"):
        to_litert(model, target)
    with pytest.raises(ExportMismatch, match=r"an agreement of 0.9 .*the agreement is 0\S* in 'digit'"):
        to_litert(model, target, format="int8", calibration=digits[0][:100])
    with pytest.raises(ExportMismatch, match=r"loses at most 0.01 of accuracy, but on 50 samples it has 0\.\d+ where Keras"):
        to_litert(model, target, format="int8", calibration=digits[0][:100], y=digits[1][:100], min_agreement=0)
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_benchmark_tells_the_runtime(tmp_path, model):
    file = to_litert(model, tmp_path / "m.tflite")
    latency = benchmark(file, repeats=20)
    assert 0 < latency.median_ms < 1000
    assert latency.runtime.startswith("LiteRT ")
    assert latency.size_bytes == file.size_bytes
    onnx = to_onnx(model, tmp_path / "m.onnx")
    assert benchmark(onnx, repeats=3).runtime.startswith("onnxruntime ")


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_what_is_timed_is_the_network_alone(tmp_path, digits, model, format, monkeypatch):
    settings = {"calibration": digits[0][:100]} if format == "int8" else {}
    file = to_litert(model, tmp_path / "m.tflite", format=format, **settings)
    session = open_litert(file.path)
    for x in (digits[0][:5], digits[0][5:7]):
        expected = session.run({"image": x})
        (held,) = session.prepare({"image": x})()
        scale, zero_point = session.tensors[1]["quantization"]
        np.testing.assert_allclose((held.astype("float32") - zero_point) * (scale or 1), expected[0], atol=1e-6)
        assert (held.dtype == np.int8) == (format == "int8")
    asked = []
    module = importlib.import_module("kerasnas.litert.session")
    for owner, name in (
        (importlib.import_module("ai_edge_litert.interpreter").Interpreter, "get_input_details"),
        (module, "_to_tensor"),
        (module, "_to_reals"),
    ):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, original=original: [asked.append(original), original(*given)][1])
    work = []
    for repeats in (1, 30):
        benchmark(file, repeats=repeats)
        work.append(len(asked))
        asked.clear()
    assert work[0] == work[1], "work beside the network is done anew at each call"


@pytest.mark.parametrize("format", ["float16", "int8"])
def test_a_certificate_tells_of_it_and_checks_it(tmp_path, digits, model, format):
    calibration = digits[0][:100] if format == "int8" else None
    facts = {"range": [0, 16]}
    file = to_litert(
        model, tmp_path / "m.tflite", format=format, calibration=calibration, labels=range(10), preprocessing=facts
    )
    certify(file, model=model, x=digits[0][1300:1400], y=digits[1][1300:1400])
    told = Certificate.load(tmp_path / "m.tflite.json")
    assert told.file["format"] == "litert"
    assert told.file["operators"]["CONV_2D"] == 2
    assert told.labels == tuple("0123456789")
    assert told.preprocessing == facts
    assert told.machine["runtime"].startswith("LiteRT ")
    assert [step["format"] for step in told.compression] == (["int8"] if format == "int8" else [])
    assert told.check(file.path).passed
    interpreter = plain_interpreter(file.path)
    details = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
    for (row,), plain in zip((told.inputs, told.outputs), details, strict=True):
        assert row["dtype"] == np.dtype(plain["dtype"]).name == ("int8" if format == "int8" else "float32")
        assert (row.get("scale", 0.0), row.get("zero_point", 0)) == plain["quantization"]
        assert row.get("real_dtype") == ("float32" if format == "int8" else None)
    if format == "int8":
        assert "(batch, 8, 8, 1) int8, each for" in str(told)
        (row,) = told.inputs
        other = dataclasses.replace(told, inputs=({**row, "zero_point": row["zero_point"] + 1},))
        assert [finding.held for finding in other.check(file.path).findings] == [True, True, False, True]
    data = bytearray(file.path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.path.write_bytes(data)
    assert not told.check(file.path).passed


def test_without_ai_edge_litert_tensorflow_runs_the_file(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    file = to_litert(model, tmp_path / "m.tflite")  # its deprecation warning would be an error here
    assert open_litert(file.path).runtime.startswith("TensorFlow Lite ")


def test_nothing_is_printed(tmp_path, digits, model, capfd):
    to_litert(model, tmp_path / "m.tflite", format="int8", calibration=digits[0][:40])
    assert capfd.readouterr() == ("", "")


MISTAKES = [
    ({"path": "m.onnx"}, "ends in .tflite"),
    ({"format": "int4"}, "format of float32, float16, int8, int16, got 'int4'"),
    ({"format": "int8"}, "at least 4 samples as calibration for int8, got none"),
    ({"format": "int8", "calibration": np.ones((3, 8, 8, 1))}, "at least 4 samples .* got 3"),
    ({"calibration": np.ones((9, 8, 8))}, "samples of shape"),
    ({"x": np.full((9, 8, 8, 1), np.nan)}, "finite"),
    ({"x": np.ones((9, 8, 8, 1)), "y": np.ones(8, int)}, "y as 9 whole numbers"),
    ({"y": np.ones(8, int)}, "y as 0 whole numbers"),
    ({"batch_size": 0}, "batch_size"),
    ({"max_loss": 2}, "max_loss within"),
    ({"labels": ["a"]}, "Expected 10 labels"),
    ({"atol": -1.0}, "atol > 0"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(tmp_path, model, arguments, message):
    path = tmp_path / arguments.pop("path", "m.tflite")
    with pytest.raises(InvalidArgument, match=message):
        to_litert(model, path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_is_refused(tmp_path, model):
    with pytest.raises(InvalidArgument, match="Expected a LiteRT file"):
        verify(model, tmp_path / "none.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    with pytest.raises(ExportMismatch, match=r"LiteRT .* can load, but bad.tflite"):
        benchmark(tmp_path / "bad.tflite")


def test_half_precision_is_certified_by_the_bound_that_it_was_written_with(tmp_path, digits, model):
    wide = keras.Model(model.inputs, layers.Rescaling(1000.0)(model.outputs[0]))  # differences far beyond those of float32
    with pytest.raises(ExportMismatch):
        to_litert(wide, tmp_path / "no.tflite", format="float16", x=digits[0][:50])
    path = to_litert(wide, tmp_path / "m.tflite", format="float16", x=digits[0][:50], atol=5.0).path
    with pytest.raises(ExportMismatch):
        certify(path, model=wide, x=digits[0][:50])
    assert certify(path, model=wide, x=digits[0][:50], atol=5.0).parity["atol"] == 5.0
    path = to_litert(model, tmp_path / "half.tflite", format="float16").path
    assert certify(path, model=model).parity["atol"] == 1e-2


@pytest.mark.parametrize("y", [np.arange(1, 11), np.arange(-1, 9)])
def test_a_class_without_a_column_is_refused(y, tmp_path, digits, model):
    with pytest.raises(InvalidArgument, match=f"y from 0 to 9, the columns of the output, got {y.min()} to {y.max()}"):
        to_litert(model, tmp_path / "m.tflite", format="int8", calibration=digits[0][:10], y=y)
    file = to_onnx(model, tmp_path / "m.onnx")
    with pytest.raises(InvalidArgument, match="y from 0 to 9"):
        quantize(file, digits[0][:10], y=y)
    with pytest.raises(InvalidArgument, match="y from 0 to 9"):
        certify(file, x=digits[0][:10], y=y)


@pytest.mark.slow
def test_eight_bits_at_a_fixed_batch(tmp_path):
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *hidden])
    x = np.random.default_rng(0).random((50, 8, 8, 1)).astype("float32")
    file = to_litert(model, tmp_path / "m.tflite", format="int8", calibration=x, batch_size=4, min_agreement=0.0)
    assert file.verification.batch_sizes == (4,)
    assert [shape for shape in file.inputs.values()] == [(4, 8, 8, 1)]
