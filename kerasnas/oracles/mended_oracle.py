"""kt.Oracle without its faults: a lock that an error leaves held, files half written, and values that nobody proposed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras_tuner as kt

from kerasnas.atomic import write_text
from kerasnas.decisions import completed, entries_of

__all__ = ["MendedOracle"]


class MendedOracle(kt.Oracle):  # type: ignore[misc]  # KerasTuner has no types
    """Raises what goes wrong in a call once its lock is free, and keeps the values of a trial as they were proposed.

    kt.Oracle would keep the lock, and hang whoever calls next. Where two hyperparameters share a name, it would drop the value
    of the active one for the sake of the inactive one, and draw another at random. Files are written whole or not at all.

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

    def save(self) -> None:
        """Write `oracle.json`."""
        write_text(self._get_oracle_fname(), json.dumps(self.get_state()))

    def _save_trial(self, trial: Any) -> None:
        write_text(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    def _record_values(self, trial: Any) -> None:
        hyperparameters = trial.hyperparameters
        proposed = dict(hyperparameters.values)
        super()._record_values(trial)
        entries = entries_of(hyperparameters)
        known = {entry["name"] for entry in entries}
        others = {name: value for name, value in proposed.items() if name not in known}
        hyperparameters.values = {**others, **completed(entries, proposed)}
