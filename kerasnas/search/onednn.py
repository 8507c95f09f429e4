"""Whether TensorFlow leaves out, on this CPU, the library that makes its convolutions fast."""

import os
import platform
from pathlib import Path

import keras

__all__ = ["onednn_hint"]

# TensorFlow uses oneDNN by itself only on CPUs with one of these.
_BY_ITSELF = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


def onednn_hint(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return what to do so that TensorFlow trains with oneDNN; None where it does, or does not run on an x86 CPU.

    Args:
        cpuinfo: where Linux tells of the CPU.
    Source:
        benchmarks/onednn.py.
    """
    if keras.backend.backend() != "tensorflow" or "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        return None
    if platform.machine() != "x86_64" or not cpuinfo.exists() or keras.distribution.list_devices("gpu"):
        return None
    flags = next((line for line in cpuinfo.read_text("utf-8").splitlines() if line.startswith("flags")), "").split()
    if "avx2" not in flags or _BY_ITSELF & set(flags):
        return None
    return (
        "Convolutions may train several times as fast on this CPU with TF_ENABLE_ONEDNN_OPTS=1 in the environment, set before "
        "TensorFlow is imported."
    )
