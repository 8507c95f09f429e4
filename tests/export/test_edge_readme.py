"""The lines that the edge kit's page tells people to copy run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasnas.export import to_litert, to_onnx

PAGES = Path(__file__).parents[2] / "export"


def test_the_snippet_names_the_classes_without_tensorflow(tmp_path):
    inputs = keras.Input((2, 2, 1), name="image")
    model = keras.Model(inputs, keras.layers.Flatten(name="scores")(inputs))  # the brightest pixel is the class
    to_onnx(model, tmp_path / "model.onnx", labels=["a", "b", "c", "d"])
    np.save(tmp_path / "images.npy", np.eye(4)[[2, 0, 3]].reshape(3, 2, 2, 1))
    (snippet,) = re.findall(r"```python\n(.*?)```", (PAGES / "README.md").read_text(), flags=re.DOTALL)
    snippet += "\nimport sys; assert not {'tensorflow', 'keras', 'kerasnas'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['c', 'a', 'd']"


@pytest.mark.parametrize("format", ["float32", "int8"])
def test_the_snippet_for_litert_too(tmp_path, format):
    inputs = keras.Input((2, 2, 1), name="image")
    model = keras.Model(inputs, keras.layers.Flatten(name="scores")(inputs))
    x = np.random.default_rng(0).uniform(0, 1, (50, 2, 2, 1))
    settings = {"format": format, "calibration": x, "labels": ["a", "b", "c", "d"]}
    to_litert(model, tmp_path / "model.tflite", **settings)
    np.save(tmp_path / "images.npy", np.eye(4)[[2, 0, 3]].reshape(3, 2, 2, 1))
    snippet = re.findall(r"```python\n(.*?)```", (PAGES / "LITERT.md").read_text(), flags=re.DOTALL)[0]
    snippet += "\nimport sys; assert not {'tensorflow', 'keras', 'kerasnas'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['c', 'a', 'd']"
