"""Every example runs as a user would run it: as a script, in a folder of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, folder):
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=folder, env=environment, capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_no_example_is_forgotten():
    assert {file.name for file in EXAMPLES.glob("*.py")} == {
        "custom_hypermodel.py",
        "digits.py",
        "image_folder.py",
        "jax_search.py",
    }


@pytest.mark.slow
def test_digits(tmp_path):
    output = run("digits.py", tmp_path)
    accuracy = float(output.split("accuracy on held-out digits: ")[1].split()[0])
    assert accuracy > 0.9
    assert "passed: largest difference" in output
    with Image.open(tmp_path / "digits-occlusion.png") as picture:
        assert picture.width > 100
    onnx.checker.check_model(onnx.load(tmp_path / "digits.onnx"), full_check=True)


@pytest.mark.slow
def test_custom_hypermodel(tmp_path):
    output = run("custom_hypermodel.py", tmp_path)
    assert float(output.split("best: ")[1].split()[0]) > 0.8
    assert len(list((tmp_path / "searches" / "wine").glob("trial_*/trial.json"))) == 5


@pytest.mark.slow
def test_image_folder(tmp_path):
    output = run("image_folder.py", tmp_path)
    assert "zero" in output
    assert (tmp_path / "searches" / "pictures" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_jax_search(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: pip install 'kerasnas[jax]'")
    output = run("jax_search.py", tmp_path)
    assert "searched on jax" in output
    under_jax, under_tensorflow = (float(line.split(": ")[1]) for line in output.splitlines() if line.startswith("accuracy"))
    assert under_jax == pytest.approx(under_tensorflow, abs=1 / 360 + 1e-9)  # the same weights; one tie may fall otherwise
    assert under_jax > 0.9
    assert output.count("passed: largest difference") == 2
    assert (tmp_path / "jax-digits-maps.png").exists()
