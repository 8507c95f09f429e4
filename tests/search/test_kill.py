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
    result = module.crash_safety(tmp_path, kills=3, trials=5, span=3.0, pause=0.3)
    assert result["epochs"] >= 5
