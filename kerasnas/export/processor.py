"""Which processor something was measured on."""

import os
import platform
import re
from pathlib import Path
from typing import Any

from kerasnas.export.instruction_set import instruction_set

__all__ = ["processor"]

# What decides how fast a network runs, and in which order its sums are rounded.
_TELLING = (
    "sse4_1 avx avx2 fma f16c avx_vnni avx512f avx512bw avx512_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16 "
    "asimd asimdhp asimddp i8mm bf16 sve"
).split()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return this machine's processor as plain values.

    Args:
        cpuinfo: Linux's list of the processor's facts; elsewhere Python's own words are all that is known.

    Returns:
        `cpu`, its name; `architecture`; `system`; `cores` that this machine has; `instructions`, those of its vector and matrix
        instructions that matter here; `int8`, the best that it has for 8-bit arithmetic.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(\S.*)$", text, flags=re.MULTILINE)
    flags = set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE)).split())
    return {
        "cpu": named[1].strip() if named else platform.processor() or platform.machine() or "unknown",
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count() or 1,
        "instructions": [name for name in _TELLING if name in flags],
        "int8": instruction_set(cpuinfo)[0],
    }
