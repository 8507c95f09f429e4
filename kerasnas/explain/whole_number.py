"""Whole numbers and seeds, checked at the door."""

from typing import Any

import numpy as np

from kerasnas.errors import InvalidArgument

__all__ = ["require_seed", "require_whole_number"]


def require_whole_number(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check that an argument is a whole number, and none of True and False.

    Raises:
        InvalidArgument: if `value` is not a whole number from `least` to `most`.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        upto = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidArgument(f"Expected {name} to be a whole number {upto}; came {value!r}.")


def require_seed(seed: Any) -> None:
    """Check that an argument is None or a whole number of at least 0.

    Raises:
        InvalidArgument: if it is neither.
    """
    if seed is not None:
        require_whole_number("seed", seed, 0)
