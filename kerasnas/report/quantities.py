"""Numbers as a reader wants them."""

import math
from typing import Any

__all__ = ["COSTS", "compact", "cost", "number"]

# What a network costs, by the name of the metric, and the heading of its column.
COSTS = {"parameters": "parameters", "macs": "MACs", "activation_bytes": "activations", "latency_ms": "latency ms"}


def number(value: Any, digits: int = 4) -> str:
    """Write a number with its thousands separated and no trailing noise."""
    if value is None:
        return "n/a"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}" if abs(value) < 1 or abs(value) >= 1e5 else f"{value:.{digits}f}".rstrip("0").rstrip(".")


def compact(value: float) -> str:
    """Write a number in at most three digits and a letter: 834, 12.3k, 4.56M."""
    return _scaled(value, ("", "k", "M", "G", "T"))


def cost(name: str, value: float | None) -> str:
    """Write a cost of `COSTS` with its unit, where its heading has none."""
    if value is None:
        return "n/a"
    if name == "parameters" and float(value).is_integer():
        return f"{int(value):,}"
    if name == "activation_bytes":
        return _scaled(value, (" B", " kB", " MB", " GB", " TB"))
    return number(value, 3) if name == "latency_ms" else compact(value)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    if not math.isfinite(value):
        return str(value)
    power = 0
    # 999.9 would be written as 1000 of its unit.
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return (f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}") + units[power]
