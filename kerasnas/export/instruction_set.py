"""What the processor has for 8-bit arithmetic."""

import platform
import re
from pathlib import Path

__all__ = ["instruction_set"]

# Best first: what multiplies 8-bit numbers without rounding the sums to 16 bits, then what does not.
_EXACT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
_OTHER = ("avx512bw", "avx2", "asimd", "sse4_1")


def instruction_set(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, bool | None]:
    """Return the best instructions for 8-bit arithmetic, and whether they sum products without saturating.

    Without VNNI, x86 sums two products of unsigned and signed bytes in 16 bits, which saturate; U8S8 is then exact only
    with weights of 7 bits (reduce_range).

    Args:
        cpuinfo: Linux's list of the processor's flags.

    Returns:
        A name such as "AVX_VNNI", and True, False, or None where it cannot be known.
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return platform.machine() or "unknown", None
    flags = set(re.findall(r"\w+", " ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", text, flags=re.MULTILINE))))
    for name in (*_EXACT, *_OTHER):
        if name in flags:
            return name.upper(), name in _EXACT or name == "asimd"
    return platform.machine() or "unknown", None
