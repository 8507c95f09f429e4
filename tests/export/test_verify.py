import json
import math
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasnas.errors import ExportMismatch, InvalidArgument
from kerasnas.export import Verification, certify, to_litert, to_onnx, verify
from kerasnas.export.verify import _usual


def linear(kernel, bias=None, output_name="y"):
    kernel = np.asarray(kernel, "float32")
    inputs = keras.Input((kernel.shape[0],), name="x")
    model = keras.Model(inputs, keras.layers.Dense(kernel.shape[1], name=output_name)(inputs))
    model.set_weights([kernel, np.zeros(kernel.shape[1]) if bias is None else np.asarray(bias)])
    return model


EYE = np.eye(3)


def test_equal_networks_pass_with_no_difference(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE, [1, 2, 3])
    outcome = verify(linear(EYE, [1, 2, 3]), file, EYE)
    assert outcome.passed
    assert outcome.reason is None
    assert outcome.worst == 0.0
    assert outcome.top1_agreement == {"y": 1.0}
    assert outcome.raise_for_mismatch() is None


@settings(max_examples=25)
@given(
    delta=st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6),
    rows=st.lists(st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=2), min_size=1, max_size=9),
)
def test_difference_of_linear_maps_is_the_closed_form(delta, rows, write_linear):
    # y - z = -x @ delta for kernels that differ by delta. Sums of two products of float32 below 10: rounding < 1e-5.
    kernel, delta, x = np.ones((2, 3)), np.reshape(delta, (2, 3)), np.asarray(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = write_linear(Path(folder) / "m.onnx", kernel + delta)
        outcome = verify(linear(kernel), file, x, atol=1e-4)
    exact = np.max(np.abs(x @ delta))
    assert outcome.worst == pytest.approx(exact, abs=1e-5)
    if exact > 2e-4:
        assert not outcome.passed
    if exact < 5e-5:
        assert outcome.passed


def test_top1_agreement_counts_samples(tmp_path, write_linear):
    # The file swaps columns 0 and 1: of the three unit vectors only the third keeps its largest column.
    file = write_linear(tmp_path / "m.onnx", EYE[[1, 0, 2]])
    outcome = verify(linear(EYE), file, EYE)
    assert outcome.top1_agreement == {"y": pytest.approx(1 / 3)}
    assert outcome.max_abs_difference == {"y": 1.0}


def test_top1_agreement_only_for_more_than_one_column(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", np.ones((3, 1)))
    assert verify(linear(np.ones((3, 1))), file, EYE).top1_agreement == {}


def test_a_broken_file_fails_and_raises_with_the_difference(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE, [0, 0.25, 0])
    outcome = verify(linear(EYE), file)
    assert not outcome.passed
    with pytest.raises(ExportMismatch, match=r"within 0.0001 .* largest difference is 0.25 in 'y'"):
        outcome.raise_for_mismatch()


def test_atol_is_the_border(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE, [0, 0.25, 0])
    x = np.zeros((1, 3))
    assert verify(linear(EYE), file, x, atol=0.25).passed
    assert not verify(linear(EYE), file, x, atol=0.2499).passed


def test_of_tiny_outputs_the_difference_must_be_small_too(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", 1e-5 * EYE, [0, 5e-6, 0])
    outcome = verify(linear(1e-5 * EYE), file, EYE)
    assert outcome.worst == pytest.approx(5e-6)
    assert not outcome.passed
    assert outcome.reason == "the largest difference is 5e-06 in 'y', whose largest value is 1e-05"
    assert verify(linear(1e-5 * EYE), file, EYE, atol=1e-3).passed  # who raises the bound has looked at it
    assert verify(linear(1e-5 * EYE), write_linear(tmp_path / "m.onnx", 1.05e-5 * EYE), EYE).passed
    nothing = np.zeros((3, 3))
    assert verify(linear(nothing), write_linear(tmp_path / "m.onnx", 1e-7 * EYE), EYE).passed  # no more than float32's noise
    assert not verify(linear(nothing), write_linear(tmp_path / "m.onnx", 1e-6 * EYE), EYE).passed


@pytest.mark.parametrize(("in_keras", "in_file"), [(0, math.nan), (math.nan, 0), (math.nan, math.nan), (math.inf,) * 2])
def test_what_is_not_finite_never_passes(tmp_path, write_linear, in_keras, in_file):
    file = write_linear(tmp_path / "m.onnx", EYE, [0, in_file, 0])
    outcome = verify(linear(EYE, [0, in_keras, 0]), file, EYE, atol=1e6)
    assert not outcome.passed
    assert math.isnan(outcome.worst)
    assert outcome.to_dict()["max_abs_difference"] == {"y": None}
    with pytest.raises(ExportMismatch):
        outcome.raise_for_mismatch()


def test_a_file_of_fixed_batch_fails_at_the_other(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE, batch=1)
    assert verify(linear(EYE), file, EYE, batch_sizes=(1,)).passed
    outcome = verify(linear(EYE), file, EYE)
    assert not outcome.passed
    assert "does not run at batch size 7" in outcome.reason


def test_a_file_of_another_width_fails(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", np.ones((3, 2)))
    outcome = verify(linear(EYE), file, EYE)
    assert not outcome.passed
    assert "shape ('batch', 2), in Keras ('batch', 3)" in outcome.reason


def test_tensors_of_other_names_are_matched_by_order(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE, input_name="serving_x", output_name="Identity")
    assert verify(linear(EYE), file, EYE).passed


def test_keras_runs_at_inference(tmp_path, write_linear):
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dropout(0.9, name="y")(inputs))
    assert verify(model, write_linear(tmp_path / "m.onnx", EYE), EYE).passed


def test_few_samples_are_tiled_and_all_samples_are_compared(tmp_path, write_linear):
    # Only the last of 10 samples shows the difference: neither 10 = 7 + 3 nor the tiling may lose it.
    x = np.zeros((10, 3))
    x[9, 0] = 1
    file = write_linear(tmp_path / "m.onnx", np.diag([1.5, 1, 1]))
    for sizes in [(7,), (1,), (16,)]:
        assert verify(linear(EYE), file, x, batch_sizes=sizes).worst == 0.5
        assert verify(linear(EYE), file, x[:9], batch_sizes=sizes).worst == 0


def test_random_samples_are_the_same_each_time(tmp_path, write_linear):
    file = write_linear(tmp_path / "m.onnx", EYE * 1.1)
    model = linear(EYE)
    first, second = verify(model, file), verify(model, file)
    assert first == second
    assert 0.05 < first.worst <= 0.1 + 1e-6  # uniform in [0, 1]
    assert first.data == "uniform in [0, 1], seed 0"


def test_record_is_frozen_and_goes_through_json(tmp_path, write_linear):
    outcome = verify(linear(EYE), write_linear(tmp_path / "m.onnx", EYE), EYE)
    content = json.loads(json.dumps(outcome.to_dict(), allow_nan=False))
    assert content["passed"] is True
    assert content["batch_sizes"] == [1, 7]
    assert content["provider"] == "CPUExecutionProvider"
    assert content["runtime"].startswith("onnxruntime ")
    restored = Verification(**{**content, "batch_sizes": tuple(content["batch_sizes"])})
    assert restored == outcome
    assert "passed" in str(outcome)
    with pytest.raises(AttributeError):
        outcome.passed = False


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 4)), r"shape \('samples', 3\) for input 'x', got \(2, 4\)"),
        (np.zeros(3), r"got \(3,\)"),
        (np.zeros((0, 3)), "at least one sample"),
        (np.full((2, 3), np.nan), "finite"),
        (np.array([["a", "b", "c"]]), "numbers"),
        ({"z": EYE}, r"inputs \['x'\], got \['z'\]"),
    ],
)
def test_wrong_samples_are_refused(tmp_path, write_linear, x, message):
    file = write_linear(tmp_path / "m.onnx", EYE)
    with pytest.raises(InvalidArgument, match=message):
        verify(linear(EYE), file, x)


@pytest.mark.parametrize(
    "arguments", [{"atol": 0}, {"atol": math.nan}, {"atol": -1}, {"batch_sizes": ()}, {"batch_sizes": (0,)}]
)
def test_wrong_arguments_are_refused(tmp_path, write_linear, arguments):
    file = write_linear(tmp_path / "m.onnx", EYE)
    with pytest.raises(InvalidArgument):
        verify(linear(EYE), file, EYE, **arguments)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InvalidArgument, match=r"nothing.onnx"):
        verify(linear(EYE), tmp_path / "nothing.onnx", EYE)
    (tmp_path / "bad.onnx").write_bytes(b"no protobuf")
    with pytest.raises(ExportMismatch, match=r"bad.onnx"):
        verify(linear(EYE), tmp_path / "bad.onnx", EYE)


def test_a_file_of_another_model_is_refused(tmp_path, write_linear):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([a, b], keras.layers.Add(name="sum")([a, b]))
    with pytest.raises(ExportMismatch, match=r"inputs \['a', 'b'\], the file has \['x'\]"):
        verify(model, write_linear(tmp_path / "m.onnx", EYE), [EYE, EYE])


def test_nothing_is_logged(tmp_path, scramble, caplog, capfd):
    # Six grouped convolutions are enough for TensorFlow to warn of retracing.
    inputs = keras.Input((4, 4, 4), name="x")
    x = inputs
    for _ in range(6):
        x = keras.layers.Conv2D(4, 1, groups=2)(x)
    model = scramble(keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="y")(x)))
    assert to_onnx(model, tmp_path / "m.onnx").verification.passed
    assert caplog.records == []
    assert "WARNING:tensorflow" not in capfd.readouterr().err


def test_what_float16_allows_is_nothing_for_tiny_outputs(tmp_path, write_linear):
    def half(kernel):
        file = write_linear(tmp_path / "m.onnx", kernel)
        proto = onnx.load(file)
        onnx.helper.set_model_props(proto, {"format": '"float16"'})
        onnx.save(proto, file)
        return file

    small = linear(5e-3 * EYE)
    assert not verify(small, half(np.zeros((3, 3))), EYE, atol=1e-2).passed
    assert verify(small, half(5.01e-3 * EYE), EYE, atol=1e-2).passed
    assert verify(small, write_linear(tmp_path / "m.onnx", np.zeros((3, 3))), EYE, atol=1e-2).passed  # as was asked for


def prices(scale=1.0):
    """Return weights of outputs of 200,000, and those of outputs that are far too large by `scale` of it."""
    return np.full((3, 1), 2e5 * scale)


def test_large_outputs_may_differ_by_the_roundings_of_float32(tmp_path, write_linear):
    bound = 32 * 2.0**-23 * 2e5
    for scale, passes in [(1, True), (1 + 2**-22, True), (1 + 3e-6, True), (1 + 5e-6, False), (1.01, False)]:
        outcome = verify(linear(prices()), write_linear(tmp_path / "m.onnx", prices(scale)), EYE)
        assert outcome.passed is passes
        assert (outcome.atol, outcome.bounds) == (1e-4, {"y": pytest.approx(bound)})
    assert outcome.reason == "the largest difference is 2e+03 in 'y', whose largest value is 2e+05"
    assert f"(must be within {bound:.4g})" in str(outcome)
    given = verify(linear(prices()), write_linear(tmp_path / "m.onnx", prices(1 + 1e-6)), EYE, atol=2e-4)
    assert (given.passed, given.bounds) == (False, {"y": 2e-4})  # who gives a bound means it


def test_probabilities_beside_large_outputs_keep_their_bound(tmp_path):
    inputs = keras.Input((3,), name="x")
    price = keras.layers.Rescaling(1e5, 2e5, name="price")(keras.layers.Dense(1, name="d")(inputs))
    model = keras.Model(inputs, [price, keras.layers.Dense(2, activation="softmax", name="kind")(inputs)])
    file = to_onnx(model, tmp_path / "m.onnx")
    assert file.verification.bounds == {"price": pytest.approx(0.9, abs=0.5), "kind": 1e-4}
    assert "0.0001 in 'kind'" in str(file)
    parity = certify(file, model=model).parity
    assert (parity["bounds"], parity["atol"]) == (file.verification.bounds, 1e-4)
    assert "in 'price', 0.0001 in 'kind' is allowed" in parity["criterion"]
    model.get_layer("kind").set_weights([w + 1e-3 * np.arange(2) for w in model.get_layer("kind").get_weights()])
    with pytest.raises(ExportMismatch, match=r"difference is [0-9.e-]+ in 'kind'"):
        certify(file, model=model)  # again by the bounds of both


@pytest.mark.parametrize(
    ("kernel", "samples"),
    [
        (np.array([[1.0, 2.0, 2e5]] * 3), EYE),  # a price beside values of another size in one output
        (np.array([[1.0, 2.0, -1e9]] * 3), EYE),  # a column that is masked
        (np.array([[1.0, 2.0, 3.0]] * 3), np.vstack([EYE] * 10 + [[1e6, 0, 0]]).astype("float32")),  # a wild sample
    ],
)
def test_a_large_value_does_not_loosen_the_bound_of_the_others(kernel, samples, tmp_path, write_linear):
    wrong = kernel + np.array([0.01, 0, 0])
    assert not verify(linear(kernel), write_linear(tmp_path / "m.onnx", wrong), samples).passed


def test_the_usual_value_of_an_output_without_columns_is_that_of_its_samples():
    assert _usual(np.array([1.0, 2e5, 2e5])) == 2e5
    assert _usual(np.array([[0.1, 2e5], [0.3, 1e5], [0.2, 3e5]])) == 0.2
    assert _usual(np.zeros((0, 3))) == 0.0


def test_litert_files_of_large_outputs_pass_by_the_same_bound(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="x")
    price = keras.layers.Rescaling(1e6, 1e6)(keras.layers.Dense(1)(keras.layers.Dense(128, activation="relu")(inputs)))
    model, x = keras.Model(inputs, price), np.random.default_rng(0).normal(size=(50, 8))
    usual = np.median(np.abs(model.predict(x, verbose=0)))
    file = to_litert(model, tmp_path / "m.tflite", x=x)
    (bound,) = file.verification.bounds.values()
    assert bound == pytest.approx(32 * 2.0**-23 * usual)
    assert certify(file.path, model=model, x=x).parity["bounds"] == file.verification.bounds
