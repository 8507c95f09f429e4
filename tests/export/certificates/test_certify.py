"""Which files get a certificate, and what it is told."""

import dataclasses
import math
import os
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.export import Certificate, certify, quantize, to_onnx
from kerasnas.export.certificate import certificate_path
from kerasnas.export.model_digest import model_sha256
from kerasnas.export.self_test import fixed_samples, record_self_test


def run(path, x):
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def held(check):
    return {finding.name: finding.held for finding in check.findings}


def test_no_certificate_where_the_file_does_not_agree(beside, model, perturb):
    path, certificate = beside
    certificate.write(certificate_path(path))
    onnx.save(perturb(onnx.load(path), 0.5), path)
    with pytest.raises(ExportMismatch, match="largest difference"):
        certify(path, model=model)
    assert Certificate.load(certificate_path(path)) == certificate  # the earlier one is left, and does not hold
    assert not certificate.check(path).passed


def test_a_record_counts_for_its_own_model_and_file_only(tmp_path, scramble):
    start = keras.Input((4,), name="x")
    model = scramble(keras.Model(start, layers.Dense(3, activation="softmax")(start)))
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    file = to_onnx(model, tmp_path / "m.onnx", x=np.ones((5, 4)))
    assert certify(file, model=model).parity["n_samples"] == 5  # as the export found
    assert certify(file, model=twin).parity["n_samples"] == 5
    twin.set_weights([w + 0.1 * np.arange(w.size).reshape(w.shape) for w in twin.get_weights()])  # as after more training
    with pytest.raises(ExportMismatch, match=r"one of them was changed.*Export the model again"):
        certify(file, model=twin)
    with pytest.raises(ExportMismatch, match="one of them was changed"):
        certify(file, model=keras.Sequential([start, layers.Dense(3, activation="softmax")]), x=np.zeros((2, 4)) + 1)
    other = keras.models.clone_model(model)
    other.layers[-1].activation = keras.activations.sigmoid  # the same weights, another function
    other.set_weights(model.get_weights())
    with pytest.raises(ExportMismatch, match="one of them was changed"):
        certify(file, model=other)
    proto = onnx.load(file.path)
    proto.doc_string = "changed"  # and computes the same
    onnx.save(proto, file.path)
    assert certify(file, model=model).parity["n_samples"] == 32  # compared again
    with pytest.raises(ExportMismatch, match=r"changed since\. Pass the model"):
        certify(file)
    to_onnx(twin, file.path)
    with pytest.raises(ExportMismatch, match="one of them was changed"):
        certify(file, model=model)


def test_the_digest_of_a_model_is_of_all_that_it_computes_by(tmp_path):
    def network(words, cutoff=6.0):
        start = keras.Input((2,), dtype="string", name="words")
        table = layers.StringLookup(name="table")
        hidden = layers.Embedding(4, 2, embeddings_initializer="ones", name="e")(table(start))
        table.adapt(words)
        return keras.Model(start, layers.ReLU(max_value=cutoff, name="r")(hidden), name="m")

    first = network(["a", "a", "b"])
    digests = [model_sha256(model) for model in (first, network(["b", "b", "a"]), network(["a", "a", "b"], 5.0))]
    assert len({*digests}) == 3
    first.save(tmp_path / "m.keras")
    assert model_sha256(keras.models.load_model(tmp_path / "m.keras")) == model_sha256(network(["a", "a", "b"])) == digests[0]

    class Mute(layers.Layer):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor()

        def call(self, x):
            return x * self.factor

    start = keras.Input((2,))
    model = keras.Model(start, Mute(lambda: 2)(start))  # a setting that no file holds
    assert model_sha256(model) is None
    file = to_onnx(model, tmp_path / "m.onnx")
    assert certify(file, model=model).parity["passed"]  # compared again
    with pytest.raises(ExportMismatch, match="one of them was changed"):
        certify(file, model=keras.Model(start, Mute(lambda: 3)(start)))


def test_a_file_of_fixed_batch_is_compared_at_that(tmp_path, write_linear):
    start = keras.Input((3,), name="x")
    model = keras.Model(start, layers.Dense(2, name="y")(start))
    path = write_linear(tmp_path / "x.onnx", *model.get_weights(), batch=4)
    assert certify(path, model=model).parity["batch_sizes"] == [4]


@pytest.mark.parametrize(("spread", "lossy", "passes"), [(0.06, False, True), (0.07, False, False), (0.5, True, True)])
def test_a_float_file_that_hangs_on_the_order_of_its_sums_is_refused(spread, lossy, passes):
    def runner(shift):
        def run(arrays):
            return [np.full((len(arrays["x"]), 2), [2 + shift, -1])]

        specs = ("x", (None, 3), "float32"), ("y", (None, 2), "float32")
        return SimpleNamespace(inputs=specs[:1], output_specs=specs[1:], value_range=(0, 1), run=run)

    if passes:
        assert record_self_test(runner(0), runner(spread), lossy=lossy)["atol"] == pytest.approx(
            min(4 * spread, 1 if lossy else np.inf)
        )
    else:
        with pytest.raises(ExportMismatch, match=r"differ by 0\.07, where the largest output is 2"):
            record_self_test(runner(0), runner(spread), lossy=lossy)


def test_a_quantised_file_is_judged_by_its_classes(beside, model, data, perturb):
    path, _ = beside
    found = quantize(path, data[0], goal="size", max_loss=0.5, min_agreement=0.5, rounds=1, formats=["U8U8"])
    assert found.chosen.name == "U8U8"
    certificate = certify(found, model=model, x=data[0], y=data[1], min_agreement=0.5)
    assert certificate.file["name"] == "model-quantized.onnx"
    (step,) = certificate.compression
    assert (step["method"], step["format"], step["reason"]) == ("quantize", "U8U8", found.reason)
    same = float(np.mean(run(found, data[0]).argmax(axis=1) == model(data[0]).numpy().argmax(axis=1)))
    assert certificate.parity["top1_agreement"]["kind"] == same
    assert certificate.parity["passed"]
    assert certificate.parity["max_abs_difference"]["kind"] > 1e-4  # said as it is
    assert certificate.check(found).passed
    assert certify(found.path).compression[0]["format"] == "U8U8"  # the file itself tells
    proto = onnx.load(found.path)
    kernels = [t for t in proto.graph.initializer if t.data_type in (TensorProto.UINT8, TensorProto.INT8) and t.dims]
    for tensor in kernels:
        tensor.CopyFrom(numpy_helper.from_array(np.flip(numpy_helper.to_array(tensor)).copy(), tensor.name))
    onnx.save(proto, found.path)
    with pytest.raises(ExportMismatch, match="the same class for"):
        certify(found, model=model, x=data[0], min_agreement=0.95)


def trained_otherwise(model):
    """A model of the same kind that gives the opposite of what `model` gives."""
    twin = keras.models.clone_model(model)
    twin.set_weights([*model.get_weights()[:-2], *(-w for w in model.get_weights()[-2:])])
    return twin


@pytest.mark.parametrize(("end", "labelled"), [("sigmoid", False), (None, True), (None, False)])
def test_a_quantised_file_of_one_column_is_certified_for_its_own_model_only(tmp_path, end, labelled):
    keras.utils.set_random_seed(0)
    start = keras.Input((6,), name="x")
    model = keras.Model(start, layers.Dense(1, activation=end, name="y")(layers.Dense(400, activation="relu")(start)))
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    y = (model(x).numpy()[:, 0] > (0.5 if end else 0)).astype(int)
    told = {"y": y} if labelled else {}
    file = to_onnx(model, tmp_path / "m.onnx", x=x)
    settings = {"goal": "size", "formats": ["int8 weights"], "rounds": 1, "max_loss": 0.5}
    small = quantize(file, x, **told, **settings)
    assert small.chosen.name == "int8 weights"
    parity = certify(small, model=model, x=x, **told).parity
    assert (parity["passed"], parity["atol"], parity["min_agreement"]) == (True, None, 0.9)
    assert parity["max_abs_difference"]["y"] > 1e-4
    assert ("y" in parity["top1_agreement"]) == bool(end or labelled)
    for one in (small, small.path):
        with pytest.raises(ExportMismatch, match="the same class for" if end or labelled else "a relative difference of"):
            certify(one, model=trained_otherwise(model), x=x, **told)
    with pytest.raises(ExportMismatch, match="Pass samples as x, quantise it"):
        certify(small, model=trained_otherwise(model))
    if not (end or labelled):  # trained a little further: most scores keep their sign
        twin = keras.models.clone_model(model)
        twin.set_weights([1.3 * w for w in model.get_weights()])
        with pytest.raises(ExportMismatch, match=r"an agreement of at least 90\.0%"):
            certify(small, model=twin, x=x)
        assert certify(small, model=twin, x=x, min_agreement=0.1).parity["passed"]


def test_a_number_beside_the_classes_of_a_quantised_file_is_compared_too(tmp_path):
    keras.utils.set_random_seed(0)
    start = keras.Input((6,), name="x")
    hidden = layers.Dense(400, activation="relu")(start)
    model = keras.Model(start, [layers.Dense(3, name="kind")(hidden), layers.Dense(1, name="size")(hidden)])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    file = to_onnx(model, tmp_path / "m.onnx", x=x)
    small = quantize(file, x, goal="size", formats=["int8 weights"], rounds=1, max_loss=0.5)
    assert certify(small, model=model, x=x).parity["passed"]
    with pytest.raises(ExportMismatch, match=r"the same class for 100.*in 'size'"):
        certify(small, model=trained_otherwise(model), x=x)


def test_quantisation_that_kept_the_float_file_adds_nothing(beside, data):
    found = quantize(beside[0], data[0], formats=["float16"], rounds=1)
    kept = certify(dataclasses.replace(found, chosen=found.candidates[0], path=beside[0]))
    assert kept.file["name"] == "model.onnx"
    assert kept.compression == ()
    assert kept.parity is None
    assert kept.accuracy is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0]}, "got y alone"),
        ({"x": np.zeros((2, 5, 6, 1))}, "shape"),
        ({"x": np.zeros((2, 6, 6, 1)), "y": [0]}, "2 whole numbers"),
        ({"min_agreement": 2}, "within"),
        ({"provenance": {"score": math.nan}}, "JSON can hold"),
        ({"provenance": ["x"]}, "mapping"),
        ({"compression": [{"sparsity": 0.5}]}, "name its method"),
    ],
)
def test_mistakes(arguments, message, beside):
    with pytest.raises(InvalidArgument, match=message):
        certify(beside[0], **arguments)
    assert not certificate_path(beside[0]).exists()


def test_another_file_is_not_overwritten(beside):
    other = beside[0].with_suffix(".json")
    other.write_text('{"mine": 1}')
    with pytest.raises(InvalidArgument, match="not overwritten"):
        certify(beside[0])
    assert other.read_text() == '{"mine": 1}'


def test_weights_in_another_file_are_refused(tmp_path, write_linear):
    path = write_linear(tmp_path / "x.onnx", np.eye(3))
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="x.bin", size_threshold=0)
    with pytest.raises(InvalidArgument, match="holds its weights"):
        certify(path)


def test_a_fixed_batch_and_large_outputs(tmp_path, write_linear):
    kernel = np.random.default_rng(0).normal(0, 1000, (5, 100))
    path = write_linear(tmp_path / "x.onnx", kernel, batch=4)
    certificate = certify(path, x=np.ones((6, 5)), y=np.full(6, kernel.sum(axis=0).argmax()))
    assert (certificate.self_test["samples"], certificate.self_test["batch_size"]) == (4, 4)
    assert certificate.accuracy == {"file": 1.0, "model": None, "samples": 6}
    assert certificate.self_test["atol"] > 0.1  # of outputs in the thousands
    output = certificate.self_test["outputs"]["y"]
    (x,) = fixed_samples([("x", (4, 5), "float32")], 4, value_range=(0, 1))
    expected = x.astype("float64") @ kernel
    np.testing.assert_allclose(output["values"], expected.reshape(-1)[output["places"]], rtol=1e-5, atol=1e-2)
    assert len(output["places"]) == 64
    assert output["mean"] == pytest.approx(expected.mean(), rel=1e-3)
    assert certificate.check(path).passed


def test_several_inputs_and_outputs(tmp_path, scramble):
    tokens, sizes = keras.Input((4,), name="tokens", dtype="int32"), keras.Input((2,), name="sizes")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(2, 3)(tokens)), sizes])
    heads = [layers.Dense(1, activation="sigmoid", name="yes")(joined), layers.Dense(3, name="scores")(joined)]
    model = scramble(keras.Model([tokens, sizes], heads))
    file = to_onnx(model, tmp_path / "m.onnx")
    certificate = certify(file, model=model)
    assert [row["dtype"] for row in certificate.inputs] == ["int32", "float32"]
    assert set(certificate.self_test["outputs"]) == {"yes", "scores"}
    assert certificate.check(file).passed
    with pytest.raises(InvalidArgument, match="one output"):
        certify(file, x=[np.zeros((3, 4)), np.zeros((3, 2))], y=[0, 1, 0])


def test_a_file_that_gives_nan_is_not_certified(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Log", ["x"], ["y"])], "log",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(proto, {"preprocessing": '{"range": [-2, -1]}'})
    onnx.save(proto, tmp_path / "log.onnx")
    with pytest.raises(ExportMismatch, match="finite"):
        certify(tmp_path / "log.onnx")


# -- the command --
