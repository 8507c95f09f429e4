"""What the file says about itself, what stays untouched, and what is refused."""

import json
import logging
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from keras import layers

import kerasnas
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export import OnnxFile, benchmark, to_onnx, verify
from kerasnas.export.convert import convert


@pytest.fixture
def model(scramble):
    inputs = keras.Input((6, 6, 1), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return scramble(keras.Model(inputs, layers.Dense(3, activation="softmax", name="probabilities")(x), name="tiny"))


def names_and_dims(values):
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_plain_onnx_reads_names_batch_and_metadata(tmp_path, model):
    facts = {"input": "raw pixels", "range": [0, 16]}
    file = to_onnx(model, tmp_path / "m.onnx", labels=["cat", "dog", "ünit"], preprocessing=facts)
    proto = onnx.load(tmp_path / "m.onnx")
    assert names_and_dims(proto.graph.input) == {"image": ["batch", 6, 6, 1]}
    assert names_and_dims(proto.graph.output) == {"probabilities": ["batch", 3]}
    metadata = {p.key: p.value for p in proto.metadata_props}
    assert json.loads(metadata["labels"]) == ["cat", "dog", "ünit"]
    assert json.loads(metadata["preprocessing"]) == facts
    assert metadata["model_name"] == "tiny"
    assert metadata["kerasnas_version"] == proto.producer_version == kerasnas.__version__
    assert metadata["keras_version"] == keras.__version__
    assert proto.producer_name == "kerasnas"
    assert file == OnnxFile(
        path=tmp_path / "m.onnx",
        opset=17,
        inputs={"image": ("batch", 6, 6, 1)},
        outputs={"probabilities": ("batch", 3)},
        size_bytes=os.path.getsize(tmp_path / "m.onnx"),
        labels=("cat", "dog", "ünit"),
        verification=file.verification,
    )
    assert file.verification.batch_sizes == (1, 7)
    assert file.verification.data == "uniform in [0, 16], seed 0"
    json.dumps(file.to_dict(), allow_nan=False)


def test_metadata_is_only_what_was_given(tmp_path, model):
    file = to_onnx(model, tmp_path / "m.onnx", preprocessing="scale to [0, 1]")
    metadata = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert "labels" not in metadata
    assert file.labels is None
    assert json.loads(metadata["preprocessing"]) == "scale to [0, 1]"


def test_numbers_become_labels(tmp_path, model):
    assert to_onnx(model, tmp_path / "m.onnx", labels=range(3)).labels == ("0", "1", "2")


def test_the_record_stands_for_the_path(tmp_path, model):
    file = to_onnx(model, tmp_path / "new folder" / "m.onnx")
    assert verify(model, file).passed
    assert benchmark(file, repeats=3).size_bytes == file.size_bytes


def test_names_are_made_unique(tmp_path, scramble):
    inputs = keras.Input((4,), name="head_1")
    head = layers.Dense(4, name="head")
    model = scramble(keras.Model(inputs, [head(inputs), head(head(inputs))]))
    file = to_onnx(model, tmp_path / "m.onnx")
    assert list(file.inputs) == ["head_1"]
    assert list(file.outputs) == ["head", "head_2"]


def test_free_sizes_stay_free(tmp_path):
    inputs = keras.Input((None, None, 1), name="image")
    outputs = layers.GlobalMaxPooling2D(name="peak")(layers.Conv2D(2, 3)(inputs))
    file = to_onnx(keras.Model(inputs, outputs), tmp_path / "m.onnx")
    assert file.inputs == {"image": ("batch", "image_dim1", "image_dim2", 1)}


def test_the_model_is_left_as_it_was(tmp_path, model):
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.random.default_rng(0).uniform(size=(8, 6, 6, 1)), np.arange(8) % 3
    config, weights, before = model.get_config(), model.get_weights(), model.predict(x, verbose=0)
    to_onnx(model, tmp_path / "m.onnx")
    assert model.get_config() == config
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    assert model.name == "tiny"
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")


def test_a_corrupt_conversion_leaves_no_file(tmp_path, model, monkeypatch, perturb):
    monkeypatch.setattr("kerasnas.export.onnx.convert", lambda view, opset: perturb(convert(view, opset=opset), 1.0))
    with pytest.raises(ExportMismatch, match=r"largest difference is [\d.e-]+ in 'probabilities'"):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_older_file(tmp_path, model, monkeypatch, perturb):
    path = to_onnx(model, tmp_path / "m.onnx").path
    good = path.read_bytes()
    monkeypatch.setattr("kerasnas.export.onnx.convert", lambda view, opset: perturb(convert(view, opset=opset), 1.0))
    with pytest.raises(ExportMismatch):
        to_onnx(model, path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_verify_sees_a_changed_weight_in_a_written_file(tmp_path, model, perturb):
    file = to_onnx(model, tmp_path / "m.onnx")
    onnx.save(perturb(onnx.load(file), 0.5), tmp_path / "broken.onnx")
    outcome = verify(model, tmp_path / "broken.onnx")
    assert not outcome.passed
    with pytest.raises(ExportMismatch):
        outcome.raise_for_mismatch()


def process_state():
    loggers = [logging.getLogger(name).level for name in ("tf2onnx", "tensorflow")]
    filters = list(warnings.filters)
    return tf.config.functions_run_eagerly(), loggers, filters, os.environ.get("TF_CPP_MIN_LOG_LEVEL")


@pytest.mark.parametrize("eagerly", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_switches_of_the_process_are_put_back(tmp_path, model, monkeypatch, fails, eagerly):
    import tf2onnx.convert

    def stop(*_args, **_kwargs):
        assert tf.config.functions_run_eagerly()
        raise ValueError("stopped on purpose")

    if fails:
        monkeypatch.setattr(tf2onnx.convert, "from_keras", stop)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    tf.config.run_functions_eagerly(eagerly)
    try:
        before = process_state()
        if fails:
            with pytest.raises(KerasNASError, match="ValueError: stopped on purpose"):
                to_onnx(model, tmp_path / "m.onnx")
        else:
            to_onnx(model, tmp_path / "m.onnx")
        assert process_state() == before
    finally:
        tf.config.run_functions_eagerly(False)


def test_an_operator_without_counterpart_is_named_with_its_layer(tmp_path):
    inputs = keras.Input((4,), name="x")
    square = layers.Reshape((2, 2))(inputs)
    model = keras.Model(inputs, layers.Lambda(keras.ops.cholesky, output_shape=(2, 2), name="factor")(square))
    with pytest.raises(KerasNASError, match=r"Cholesky \(layer 'factor'\)"):
        to_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_models_without_a_graph_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match=r"model.build\(\(None, \.\.\.\)\) or fit"):
        to_onnx(keras.Sequential([layers.Dense(2)]), tmp_path / "m.onnx")
    subclassed = Subclassed()
    subclassed(np.zeros((1, 3)))
    with pytest.raises(InvalidArgument, match=r"subclassed model Subclassed"):
        to_onnx(subclassed, tmp_path / "m.onnx")
    with pytest.raises(InvalidArgument, match=r"Expected a Keras 3 model .* got builtins.str"):
        to_onnx("model.keras", tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "m.h5"}, r"ends in .onnx, got 'm.h5'"),
        ({"opset": 21}, "from 13 to 18, got 21"),
        ({"labels": ["a", "b"]}, "Expected 3 labels, one per output column, got 2"),
        ({"labels": "abc"}, "the string 'abc'"),
        ({"preprocessing": {"mean": np.zeros(3)}}, "JSON can hold"),
        ({"preprocessing": {"range": [1, 0]}}, r"\[lowest, highest\], got \[1, 0\]"),
        ({"preprocessing": {"range": 255}}, r"\[lowest, highest\], got 255"),
        ({"x": np.zeros((2, 5, 5, 1))}, r"\('samples', 6, 6, 1\) for input 'image', got \(2, 5, 5, 1\)"),
        ({"atol": 0}, "atol > 0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, model, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument, match=message):
        to_onnx(model, **{"path": "m.onnx", **arguments})
    assert list(tmp_path.iterdir()) == []


def build_under(policy):
    inputs = keras.Input((4,), name="x")
    scaled = layers.Normalization(dtype=policy, name="scale")(inputs)
    hidden = layers.Dense(5, activation="relu", dtype=policy)(scaled)
    return keras.Model(inputs, layers.Dense(2, dtype="float32", name="y")(hidden))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_refused_and_its_advice_works(tmp_path, scramble, policy):
    mixed = scramble(build_under(policy))
    mixed.get_layer("scale").adapt(np.random.default_rng(0).normal(5, 3, (50, 4)))
    with pytest.raises(InvalidArgument, match=f"policy '{policy}'.*under float32.*save_weights.*load_weights"):
        to_onnx(mixed, tmp_path / "m.onnx")
    plain = build_under("float32")
    mixed.save_weights(tmp_path / "w.weights.h5")
    plain.load_weights(tmp_path / "w.weights.h5")
    file = to_onnx(plain, tmp_path / "m.onnx")
    # The mixed model rounds its activations to 8 to 11 bits: the same network, but not within 1e-4.
    assert 0 < verify(mixed, file).worst < 0.1


def test_other_backends_are_sent_to_tensorflow(tmp_path, model, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(InvalidArgument, match=r"\.keras file .* KERAS_BACKEND=tensorflow"):
        to_onnx(model, tmp_path / "m.onnx")


@pytest.mark.slow
def test_verify_runs_on_jax_and_imports_neither_explain_nor_compress(tmp_path, model):
    pytest.importorskip("jax")
    file = to_onnx(model, tmp_path / "m.onnx")
    model.save(tmp_path / "m.keras")
    script = (
        "import sys, keras, kerasnas.export as export\n"
        "assert not {'tf2onnx', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
        f"model = keras.models.load_model({str(tmp_path / 'm.keras')!r})\n"
        f"outcome = export.verify(model, {str(file.path)!r})\n"
        "assert keras.config.backend() == 'jax' and outcome.passed, outcome\n"
        "assert not [m for m in sys.modules if m.startswith(('kerasnas.explain', 'kerasnas.compress'))]\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
