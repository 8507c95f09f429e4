"""What an import brings with it."""

import importlib.util
import os
import subprocess
import sys

import pytest

import kerasnas


def _python(code: str, **environment: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_kerasnas_imports_nothing_heavy():
    heavy = ["tensorflow", "keras", "keras_tuner", "numpy", "sklearn", "onnx"]
    assert _python(f"import sys, kerasnas; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_everything_is_reachable_after_it():
    code = (
        "import kerasnas\n"
        "print(kerasnas.explain.grad_cam.__name__, kerasnas.compress.prune.__name__, kerasnas.export.to_onnx.__name__)\n"
        "print(kerasnas.ImageClassifier.__name__, kerasnas.datasets.load.__name__)"
    )
    assert _python(code).splitlines() == ["grad_cam prune to_onnx", "ImageClassifier load"]


def test_dir_and_unknown_names():
    for name in kerasnas.__all__:
        assert name in dir(kerasnas)
        assert getattr(kerasnas, name) is not None
    with pytest.raises(AttributeError, match="module 'kerasnas' has no attribute 'prune'"):
        _ = kerasnas.prune


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
@pytest.mark.slow
def test_a_search_on_jax_needs_no_tensorflow():
    code = (
        "import sys\n"
        "import kerasnas.strategies, kerasnas.oracles, kerasnas.spaces, kerasnas.search.tuner, kerasnas.record\n"
        "import keras\n"
        "assert keras.backend.backend() == 'jax'\n"
        "print('tensorflow' in sys.modules)\n"
        "import kerasnas.estimators\n"
        "print('tensorflow' in sys.modules)"
    )
    assert _python(code, KERAS_BACKEND="jax").splitlines()[-2:] == ["False", "False"]
