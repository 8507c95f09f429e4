"""Running a search and reading what it left on disk."""

from typing import TYPE_CHECKING, Any

from kerasnas.record import SearchRecord, TrialRecord

if TYPE_CHECKING:
    from kerasnas.search.tuner import NASTuner

__all__ = ["NASTuner", "SearchRecord", "TrialRecord"]


def __getattr__(name: str) -> Any:
    # Reading a record must not load the tuner.
    if name == "NASTuner":
        from kerasnas.search.tuner import NASTuner

        return NASTuner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
