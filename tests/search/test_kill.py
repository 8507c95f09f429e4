"""A search that is killed, again and again, and finished: real processes and a real SIGKILL."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash_safety.py"


@pytest.mark.slow
def test_kill_9_loses_and_repeats_nothing(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'kerasnas[jax]'")
    spec = importlib.util.spec_from_file_location("crash_safety", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.crash_safety(tmp_path, kills=3, trials=5, span=0.2, pause=0.3)
    assert result["within a trial"] >= 1
    assert result["epochs"] >= 5
