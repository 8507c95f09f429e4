"""Small matrices on one thread."""

from collections.abc import Callable
from typing import TypeVar, cast

from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]

F = TypeVar("F", bound=Callable[..., object])


def one_thread(function: F) -> F:
    """Run a function with one thread of BLAS.

    The matrices of a search have some dozens of rows. More threads wait for each other longer than they work: of 12 trials the
    importance took 0.7 s of CPU instead of 3.8 on two busy cores.
    """
    return cast(F, threadpool_limits.wrap(limits=1, user_api="blas")(function))
