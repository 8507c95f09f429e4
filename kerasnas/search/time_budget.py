"""How much of the time that a search may take is spent."""

import math
import time
from collections.abc import Callable

from kerasnas.errors import InvalidArgument

__all__ = ["TimeBudget"]


class TimeBudget:
    """The clocks of a search and of its present trial, which earlier processes have advanced.

    Args:
        max_time: seconds for the whole search, > 0; None for no limit.
        max_trial_time: seconds for one trial, > 0; None for no limit.
    Raises:
        InvalidArgument: for a limit that is not a positive number.
    """

    def __init__(self, max_time: float | None, max_trial_time: float | None) -> None:
        for name, limit in (("max_time", max_time), ("max_trial_time", max_trial_time)):
            number = isinstance(limit, int | float) and not isinstance(limit, bool) and math.isfinite(limit)
            if limit is not None and not (number and limit > 0):
                raise InvalidArgument(f"Expected `{name}` to be a number of seconds > 0 or None, got {limit!r}.")
        self.max_time, self.max_trial_time = max_time, max_trial_time
        self._search = self._trial = _since(0.0)

    def begin_search(self, spent: float) -> None:
        """Begin, or go on after `spent` seconds."""
        self._search = _since(spent)

    def begin_trial(self, spent: float) -> None:
        """Begin a trial, or go on with one that has taken `spent` seconds."""
        self._trial = _since(spent)

    def __getstate__(self) -> dict[str, float | None]:
        return {"max": self.max_time, "max_trial": self.max_trial_time, "search": self._search(), "trial": self._trial()}

    def __setstate__(self, state: dict[str, float | None]) -> None:
        # Another process goes on with clocks of its own.
        self.max_time, self.max_trial_time = state["max"], state["max_trial"]
        self._search, self._trial = _since(state["search"] or 0.0), _since(state["trial"] or 0.0)

    @property
    def search_seconds(self) -> float:
        """Seconds that the search has taken, in all its processes."""
        return self._search()

    @property
    def trial_seconds(self) -> float:
        """Seconds that the trial has taken, in all its processes."""
        return self._trial()

    @property
    def search_is_over(self) -> bool:
        """Whether the time of the search is spent."""
        return self.max_time is not None and self.search_seconds >= self.max_time

    @property
    def trial_is_over(self) -> bool:
        """Whether the time of the trial is spent."""
        return self.max_trial_time is not None and self.trial_seconds >= self.max_trial_time

    def overrun(self) -> str | None:
        """Return which limit is reached; None if there is time left."""
        if self.search_is_over:
            return f"the search's {self.max_time:g} s are over"
        if self.trial_is_over:
            return f"the trial's {self.max_trial_time:g} s are over"
        return None


def _since(spent: float) -> Callable[[], float]:
    start = time.perf_counter()
    return lambda: spent + time.perf_counter() - start
