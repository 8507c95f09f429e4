"""Quantised files of a single column: a class where it is one, else a number."""

import dataclasses
import importlib

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.export import quantize, to_onnx

MODULE = importlib.import_module("kerasnas.export.quantize")  # the package holds the function under this name


def run(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.fixture(scope="module")
def column(tmp_path_factory):
    """Return the files of one number, the sum of four, and of its sigmoid, with samples on both sides of 0."""
    folder, start = tmp_path_factory.mktemp("column"), layers.Input((4,), name="x")
    summed = layers.Dense(1, kernel_initializer="ones")(start)
    files = {"score": summed, "probability": layers.Activation("sigmoid")(summed)}
    x = np.random.default_rng(0).normal(size=(400, 4)).astype("float32")
    return {name: to_onnx(keras.Model(start, end), folder / f"{name}.onnx") for name, end in files.items()}, x


LOSSY = {"formats": ["S8S8"], "goal": "size", "max_loss": 1, "min_agreement": 0, "rounds": 1}


@pytest.fixture
def larger(monkeypatch):
    """Let files so small that 8 bits make them larger be 9 MB: what is picked is the file of fewer bits."""
    plain = MODULE.measure

    def measure(name, *arguments, **more):
        found = plain(name, *arguments, **more)
        return dataclasses.replace(found, size_bytes=9_000_000) if name == "float32" else found

    monkeypatch.setattr(MODULE, "measure", measure)


def test_what_is_no_class_is_not_told_of_as_one(tmp_path, column, larger):
    files, x = column
    found = quantize(files["score"], x, path=tmp_path / "s.onnx", **LOSSY)
    before, after = run(files["score"], x[1::2]), run(found, x[1::2])
    differs = np.sqrt(np.mean((before - after) ** 2)) / before.std()
    assert found.chosen.agreement == pytest.approx(1 - differs, abs=1e-3)
    assert "the same class" not in found.reason
    assert f"outputs that differ by {differs:.1%} of their standard deviation (root mean square) on the 200" in found.reason


@pytest.mark.parametrize(
    ("name", "threshold", "labelled"), [("probability", 0.5, False), ("probability", 0.5, True), ("score", 0, True)]
)
def test_one_column_has_two_classes(tmp_path, column, larger, name, threshold, labelled):
    files, x = column
    y = (x.sum(axis=1) + np.random.default_rng(1).normal(size=400) > 0).astype(int)
    found = quantize(files[name], x, y=y if labelled else None, path=tmp_path / "m.onnx", **LOSSY)
    expected, came = (run(file, x[1::2])[:, 0] > threshold for file in (files[name], found))
    assert 0.9 < (share := np.mean(came == expected)) < 1
    assert found.chosen.agreement == pytest.approx(share, abs=1e-9)
    assert f"the same class for {share:.1%} of the 200 samples" in found.reason
    assert found.candidates[0].accuracy == (pytest.approx(np.mean(expected == y[1::2])) if labelled else None)
    assert found.chosen.accuracy == (pytest.approx(np.mean(came == y[1::2])) if labelled else None)
    if labelled:
        upright = quantize(files[name], x, y=y[:, None], path=tmp_path / "m.onnx", **LOSSY)
        assert upright.chosen.accuracy == found.chosen.accuracy
        with pytest.raises(InvalidArgument, match="y from 0 to 1"):
            quantize(files[name], x, y=y + 1, path=tmp_path / "m.onnx", **LOSSY)
