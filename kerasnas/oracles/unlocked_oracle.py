"""An oracle that never leaves KerasTuner's lock held."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras_tuner as kt

__all__ = ["UnlockedOracle"]


class UnlockedOracle(kt.Oracle):  # type: ignore[misc]  # KerasTuner has no types
    """Raises what goes wrong in a call once its lock is free; kt.Oracle would keep it, and hang whoever calls next.

    Attributes:
        carried: of a chief that was killed and goes on, the trials that its workers had, by their names: they may still train.
        failure: what was raised last; None if nothing was.
        serves: whether workers are served: then whoever asks for a trial after a failure is told it, too.
    """

    carried: Mapping[str, Any] = MappingProxyType({})
    failure: Exception | None = None
    serves = False

    def _outside_lock(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `action` does under the lock."""
        result, error = self._caught(action, *args, **kwargs)
        if error is not None:
            self.failure = error
            raise error
        return result

    @kt.synchronized  # type: ignore[untyped-decorator]
    def _caught(self, action: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
        try:
            return action(*args, **kwargs), None
        except Exception as error:
            return None, error
