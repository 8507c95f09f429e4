"""Small matrices on one thread."""

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]

P = ParamSpec("P")
R = TypeVar("R")


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with one thread of BLAS.

    The matrices of a search have some dozens of rows. More threads wait for each other longer than they work: on two busy cores
    a proposal of `Dyna` took 17 ms of CPU instead of 270 (benchmarks/proposal_cost.py --trials 80 --decisions 12).
    """

    @wraps(function)
    def on_one_thread(*args: P.args, **kwargs: P.kwargs) -> R:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return on_one_thread


@cache
def _controller() -> ThreadpoolController:
    """Return what knows the BLAS of NumPy and SciPy, which are loaded by now; looking for them takes longer than a product."""
    return ThreadpoolController()
