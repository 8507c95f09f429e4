"""Formats of fewer bits: what is measured is what the files do, and what hurts is found."""

import gzip
import importlib
import json
import math
import os
from types import SimpleNamespace

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from kerasnas.errors import InvalidArgument
from kerasnas.export import quantize, to_onnx
from kerasnas.export.in_batches import at_once, run_in_batches
from kerasnas.export.instruction_set import instruction_set
from kerasnas.export.quantization import QuantizationCandidate
from kerasnas.export.quantization_formats import FORMATS, QuantizationFormat
from kerasnas.export.sensitive_nodes import sensitive_nodes
from kerasnas.export.session import open_session
from kerasnas.export_checks import is_within

MODULE = importlib.import_module("kerasnas.export.quantize")  # the package holds the function under this name


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1).astype("float32"), y


@pytest.fixture(scope="module")
def file(digits, tmp_path_factory):
    """Return a conv net that tells digits apart: drawn filters under a trained head."""
    x, y = digits
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), name="image")
    features = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.Rescaling(1 / 16)(inputs))
    features = layers.Conv2D(16, 3, activation="relu")(layers.MaxPooling2D()(features))
    features = layers.Flatten()(features)
    head = layers.Dense(10, activation="softmax", name="digit")
    model = keras.Model(inputs, head(features))
    trained = LogisticRegression(max_iter=300, C=100).fit(keras.Model(inputs, features)(x[:900]), y[:900])
    head.set_weights([trained.coef_.T, trained.intercept_])
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    return to_onnx(model, path, labels=range(10), preprocessing={"range": [0, 16]})


def run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.fixture
def by_size(monkeypatch):
    """Let a file's latency be its size: what is picked must not hang on what else this machine does."""

    def benchmark(file, **_):
        return SimpleNamespace(median_ms=os.path.getsize(file) / 1e6)

    monkeypatch.setattr(MODULE, "benchmark", benchmark)


def test_the_figures_are_those_of_the_files(tmp_path, digits, file):
    x, y = digits[0][900:1300], digits[1][900:1300]
    found = quantize(file, x, y=y, goal="size", path=tmp_path / "small.onnx", rounds=1)
    assert [c.name for c in found.candidates[: 1 + len(FORMATS)]] == ["float32", *FORMATS]
    assert (found.n_calibration, found.n_measured) == (200, 200)
    plain = found.candidates[0]
    held, labels = x[1::2], y[1::2]
    expected = run(file, held).argmax(axis=1)
    assert (plain.agreement, plain.loss, plain.relative_difference) == (1.0, 0.0, pytest.approx(0, abs=1e-5))
    assert plain.accuracy == pytest.approx(np.mean(expected == labels))
    assert plain.accuracy > 0.9, "the net must tell digits apart for its loss to say anything"
    came = run(found, held).argmax(axis=1)
    assert found.chosen.agreement == pytest.approx(np.mean(came == expected), abs=1e-12)
    assert found.chosen.accuracy == pytest.approx(np.mean(came == labels), abs=1e-12)
    assert found.chosen.loss == pytest.approx(max(0, plain.accuracy - found.chosen.accuracy), abs=1e-12)
    content = found.path.read_bytes()  # with what it tells of itself
    assert (found.chosen.size_bytes, found.chosen.gzip_bytes) == (len(content), len(gzip.compress(content, 9, mtime=0)))
    assert f"{len(content) / 1000:.1f} kB against" in found.reason
    assert all(c.failure is None and c.latency_ms > 0 for c in found.candidates)
    accepted = [c for c in found.candidates if c.loss <= 0.01 and c.agreement >= 0.9]
    assert found.chosen.size_bytes == min(c.size_bytes for c in accepted)
    # 8-bit arithmetic exists where it is claimed.
    kernels = {c.name: c.kernels for c in found.candidates}
    assert kernels["U8U8"]["QLinearConv"] == 2
    assert "QLinearConv" not in kernels["float32"]
    assert next(c for c in found.candidates if c.name == "U8U8").fused == "3 of 3"


def test_the_file_carries_the_metadata_and_is_standard(tmp_path, digits, file):
    found = quantize(file, digits[0][:200], formats=["float16"], goal="size", path=tmp_path / "f16.onnx", rounds=1)
    before = {p.key: p.value for p in onnx.load(file).metadata_props}
    proto = onnx.load(found)
    after = {p.key: p.value for p in proto.metadata_props}
    facts = json.loads(after.pop("quantization"))
    assert after == before
    assert json.loads(after["labels"]) == list("0123456789")
    assert (facts["format"], facts["calibration_samples"], facts["left_in_float"]) == ("float16", 100, [])
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx.ml"}
    assert [v.name for v in proto.graph.input] == ["image"]
    assert {t.data_type for t in proto.graph.initializer if len(t.dims) > 1} == {TensorProto.FLOAT16}
    assert found.chosen.relative_difference < 2e-3  # float16 rounds to 11 bits
    assert found.path == tmp_path / "f16.onnx"
    text = str(found)
    assert "float16" in text
    assert "the smallest" in text
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_file_no_better_than_a_guess_is_told_once_and_in_the_reason(tmp_path, digits, file):
    x, y = digits[0][900:1000], (digits[1][900:1000] + 1) % 10
    with pytest.warns(UserWarning, match="y is ordered as in training") as caught:
        found = quantize(file, x, y=y, goal="size", formats=["float16"], path=tmp_path / "m.onnx", rounds=1)
    (told,) = [str(one.message) for one in caught if "The original gets" in str(one.message)]
    assert found.reason.endswith(told)
    assert "of the 50 samples" in found.reason


def test_goals(tmp_path, digits, file, by_size):
    chosen = {}
    for goal in ("latency", "size", "accuracy"):
        found = quantize(file, digits[0][:200], goal=goal, formats=["U8U8", "float16"], path=tmp_path / "m.onnx", rounds=1)
        chosen[goal] = found.chosen
    smallest = min(found.candidates, key=lambda c: c.size_bytes)
    assert chosen["size"] == chosen["latency"] == smallest
    assert chosen["accuracy"].name == "float16"  # closer to float32 than any 8 bits


def test_nothing_better_leaves_the_file_alone(tmp_path, write_linear, by_size):
    tiny = write_linear(tmp_path / "tiny.onnx", np.eye(3))
    found = quantize(tiny, np.random.default_rng(0).uniform(size=(40, 3)), formats=["U8U8", "dynamic"])
    assert found.path == tiny
    assert found.chosen.name == "float32"
    assert "nothing was written" in found.reason
    assert list(tmp_path.iterdir()) == [tiny]


def test_weights_of_8_bits_take_a_quarter(tmp_path, write_linear):
    kernel = np.random.default_rng(0).normal(size=(256, 256))
    x = np.random.default_rng(1).uniform(-1, 1, (64, 256))
    wide = write_linear(tmp_path / "wide.onnx", kernel)
    found = quantize(wide, x, formats=["S8S8 per tensor"], goal="size", max_loss=0.5, min_agreement=0.5, rounds=1)
    assert found.path == tmp_path / "wide-quantized.onnx"
    assert 0.25 <= found.chosen.size_bytes / found.candidates[0].size_bytes < 0.28


def two_products(path, first, second):
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "w2"], ["y"], name="second"),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", first.shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", second.shape[1]])],
        [numpy_helper.from_array(w.astype("float32"), name) for name, w in (("w1", first), ("w2", second))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("culprit", ["first", "second"])
def test_a_layer_that_hurts_is_found_and_left_in_float(tmp_path, monkeypatch, culprit):
    monkeypatch.setitem(FORMATS, "U8U8 per tensor", QuantizationFormat("static", "uint8", "uint8", per_channel=False))
    # One weight is 10,000 times the others and meets only zeros: with one scale for the layer, all others round to 0.
    rng = np.random.default_rng(0)
    weights = {"first": rng.normal(size=(16, 12)), "second": rng.normal(size=(12, 5))}
    if culprit == "second":
        weights["first"][:, -1] = -1.0  # a unit that never fires
    weights[culprit][-1, 0] = 1e4
    x = rng.uniform(0, 1, (200, 16))
    x[:, -1] = 0.0
    path = two_products(tmp_path / "two.onnx", weights["first"], weights["second"])
    found = quantize(path, x, formats=["U8U8 per tensor"], goal="accuracy", max_loss=0.1, rounds=1)
    plain, broken, mended = found.candidates
    assert broken.agreement < 0.9
    assert mended.left_in_float == (culprit,)
    assert mended.agreement >= 0.9
    assert mended.relative_difference < broken.relative_difference / 5
    assert mended.fused == "1 of 2"
    assert culprit in found.reason or found.chosen is plain


@pytest.mark.parametrize(("end", "fused"), [("recurrent", "1 of 3"), ("attention", "5 of 5")])
def test_what_is_fused_is_counted_of_all_that_hold_weights_and_of_nothing_else(tmp_path, by_size, end, fused):
    start = keras.Input((6, 4), name="x")
    if end == "recurrent":  # neither runs in 8 bits
        hidden = layers.GRU(4, name="gru")(layers.LSTM(4, return_sequences=True, name="lstm")(start))
    else:  # it multiplies activations with each other, too
        hidden = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4, name="attention")(start, start))
    file = to_onnx(keras.Model(start, layers.Dense(3, name="y")(hidden)), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(16, 6, 4))
    found = quantize(file, x, formats=["U8U8", "dynamic"], max_loss=1, min_agreement=0, rounds=1)
    assert [c.fused for c in found.candidates] == ["", fused, fused]


def candidate(difference, left=()):
    return QuantizationCandidate("f", 1, 1, math.nan, 1.0, difference, None, difference, {}, "", tuple(left))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(0, 4))
def test_the_most_harmful_nodes_go_first_and_no_more_than_needed(harms, bound):
    names = [f"n{i}" for i in range(len(harms))]

    def attempt(left):
        return candidate(sum(h for n, h in zip(names, harms, strict=True) if n not in left), left)

    found = sensitive_nodes(attempt([]), names, attempt, lambda c: c.loss <= bound)
    falling = sorted(harms, reverse=True)
    rests = {count: sum(falling[count:]) for count in range(1, len(harms) // 2 + 1)}
    if found is None:
        assert all(rest > bound - 1e-9 for rest in rests.values())
    else:
        assert found.loss <= bound
        count = len(found.left_in_float)
        assert count == 1 or rests[count - 1] > bound - 1e-9


def test_a_format_that_cannot_be_made_is_a_row(tmp_path, digits, file, monkeypatch):
    def stop(*_, **__):
        raise ValueError("stopped on purpose")

    monkeypatch.setattr(MODULE, "write_quantized", stop)
    found = quantize(file, digits[0][:40], path=tmp_path / "m.onnx", rounds=1)
    assert {c.failure for c in found.candidates[1:]} == {"ValueError: stopped on purpose"}
    assert found.chosen.name == "float32"
    assert "stopped on purpose" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_older_file(tmp_path, digits, file, monkeypatch):
    target = tmp_path / "m.onnx"
    target.write_bytes(b"older")

    def full(made, draft):
        draft.write_bytes(made.read_bytes()[:100])
        raise OSError("disk full")

    monkeypatch.setattr(MODULE.shutil, "copyfile", full)
    with pytest.raises(OSError, match="disk full"):
        quantize(file, digits[0][:40], formats=["float16"], goal="size", path=target, rounds=1)
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.filterwarnings("ignore:The original gets:UserWarning")
def test_agreement_is_asked_for_even_where_accuracy_does_not_suffer(tmp_path, digits, file):
    x, y = digits[0][:200], (digits[1][:200] + 5) % 10  # hardly any is right: nothing can be lost
    settings = {"formats": ["float16"], "goal": "size", "path": tmp_path / "m.onnx", "rounds": 1}
    assert quantize(file, x, y=y, **settings).chosen.name == "float16"

    def other(name, *arguments, **more):
        size, agreement = (1, 0.5) if name == "float16" else (9_000_000, 1.0)
        return QuantizationCandidate(name, size, size, math.nan, agreement, 0.5, 1.0, 0.0, {}, "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "measure", other)
        refused = quantize(file, x, y=y, **settings)
        assert refused.chosen.name == "float32"
        assert "none of 1 formats lose at most 0.01 and agree for at least 90%; nothing" in refused.reason
        accepted = quantize(file, x, y=y, min_agreement=0.5, **settings)
        assert accepted.chosen.name == "float16"
        assert "the smallest of 1 of 1 formats that lose at most 0.01 and agree for at least 50%:" in accepted.reason
        accepted = quantize(file, x, y=y, min_agreement=0.0, **settings)
        assert "of 1 formats that lose at most 0.01: " in accepted.reason


FLAGS = {
    "flags\t: fma avx2 avx_vnni": ("AVX_VNNI", True),
    "flags\t: fma avx2 avx512bw avx512_vnni amx_int8": ("AMX_INT8", True),
    "flags\t: fma avx avx2": ("AVX2", False),
    "Features\t: fp asimd asimddp": ("ASIMDDP", True),
}


@pytest.mark.parametrize("text", FLAGS)
def test_instruction_set(tmp_path, text):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{text}\nbugs\t: avx512_vnni\n")
    assert instruction_set(tmp_path / "cpuinfo") == FLAGS[text]


def test_an_unknown_processor_is_not_guessed_at(tmp_path):
    assert instruction_set(tmp_path / "none")[1] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"goal": "speed"}, "latency, size, accuracy, got 'speed'"),
        ({"formats": ["int4"]}, r"got \['int4'\]"),
        ({"formats": "U8U8"}, "got 'U8U8'"),
        ({"formats": []}, r"got \[\]"),
        ({"max_loss": 2}, r"max_loss within \[0, 1\], got 2"),
        ({"min_agreement": -0.1}, "min_agreement within"),
        ({"rounds": 0}, "rounds to be a whole number >= 1, got 0"),
        ({"path": "m.int8"}, "ends in .onnx"),
        ({"y": [0.5] * 40}, "40 whole numbers"),
        ({"y": [1, 2]}, "40 whole numbers"),
        ({"calibration": np.zeros((40, 8, 8))}, r"\('samples', 8, 8, 1\)"),
        ({"calibration": np.zeros((3, 8, 8, 1))}, "at least 4 samples, got 3"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, file, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = {"calibration": np.zeros((40, 8, 8, 1)), "path": "m.onnx", **arguments}
    with pytest.raises(InvalidArgument, match=message):
        quantize(file, **given)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path, digits, file, write_linear):
    with pytest.raises(InvalidArgument, match="another path than that of the float file"):
        quantize(file, digits[0][:40], path=file)
    with pytest.raises(InvalidArgument, match="'x' is fixed"):
        quantize(write_linear(tmp_path / "one.onnx", np.eye(3), batch=1), np.zeros((8, 3)))
    small = quantize(file, digits[0][:40], formats=["float16"], goal="size", path=tmp_path / "f16.onnx", rounds=1)
    with pytest.raises(InvalidArgument, match=r"float32 file, got weights of .*FLOAT16"):
        quantize(small, digits[0][:40])


def test_accuracy_is_not_judged_by_an_output_that_may_be_another(tmp_path):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, name="embedding")(inputs)
    path = tmp_path / "two.onnx"
    to_onnx(keras.Model(inputs, [layers.Dense(3, activation="softmax")(hidden), hidden]), path)
    x = np.random.default_rng(0).random((20, 6)).astype("float32")
    with pytest.raises(InvalidArgument, match=r"one output of shape \(batch, classes\) .* got 2\. Leave out y"):
        quantize(path, x, y=np.arange(20) % 3, formats=["float16"], rounds=1)
    assert quantize(path, x, formats=["float16"], rounds=1).candidates[1].accuracy is None


@pytest.mark.parametrize(("name", "size"), [("dynamic", 1), ("U8U8", 64), (None, 64)])
def test_a_file_whose_scales_come_of_the_batch_is_judged_sample_by_sample(name, size, tmp_path, digits, file):
    path = file.path
    if name is not None:
        path = quantize(file, digits[0][:40], formats=[name], goal="size", path=tmp_path / "m.onnx", max_loss=1, rounds=1).path
    session = open_session(path)
    assert at_once(session.metadata, 64) == size
    batches = []
    watched = SimpleNamespace(inputs=session.inputs, run=lambda arrays: batches.append(arrays) or session.run(arrays))
    (scores,) = run_in_batches(watched, [digits[0][:10]], at_once(session.metadata, 5))
    assert len(batches) == (10 if size == 1 else 2)
    alone = np.concatenate([session.run({session.inputs[0][0]: digits[0][i : i + 1]})[0] for i in range(10)])
    np.testing.assert_allclose(scores, alone, atol=1e-5)


@given(st.integers(1, 20000), st.data())
def test_what_loses_exactly_as_much_as_it_may_is_accepted(number, data):
    wrong = data.draw(st.integers(1, number))
    loss = 1.0 - (number - wrong) / number  # often a little more than wrong / number
    assert is_within(loss, wrong / number)
    assert not is_within(loss, (wrong - 1) / number)
    assert not is_within(float("nan"), 1.0)
