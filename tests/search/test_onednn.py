import platform

import keras
import pytest

from kerasnas.search.onednn import onednn_hint


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """A CPU with these flags, and TensorFlow as it comes."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    def make(flags):
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t\t: none\n")
        return file

    return make


def test_the_hint_is_given_where_tensorflow_needs_to_be_told(cpu):
    assert "TF_ENABLE_ONEDNN_OPTS=1" in onednn_hint(cpu("avx2 fma"))


@pytest.mark.parametrize("flags", ["sse4_2", "avx2 avx512_vnni", "avx2 amx_bf16"])
def test_not_where_it_does_so_by_itself_or_would_gain_nothing(flags, cpu):
    assert onednn_hint(cpu(flags)) is None


def test_not_where_somebody_decided_or_elsewhere(cpu, monkeypatch, tmp_path):
    file = cpu("avx2")
    assert onednn_hint(tmp_path / "none") is None
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert onednn_hint(file) is None
    monkeypatch.undo()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert onednn_hint(file) is None
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert onednn_hint(file) is None
