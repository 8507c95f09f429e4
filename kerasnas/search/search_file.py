"""A search's `search.json`: what is searched for, for whoever reads the project folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasnas.atomic import write_json
from kerasnas.errors import InvalidArgument
from kerasnas.search.trial_history import TrialHistory

__all__ = ["write_search_file"]


def write_search_file(tuner: Any, oracle_name: str) -> bool:
    """Write the file, whole or not at all; return whether the limits differ from those that stood there.

    Args:
        tuner: the `NASTuner`.
        oracle_name: class of the oracle, of which a worker has a proxy.
    Raises:
        InvalidArgument: if the folder holds trials that were scored by another objective.
    """
    path, objective, limits = Path(tuner.project_dir) / "search.json", tuner.oracle.objective, tuner.limits.as_json()
    known = TrialHistory.read(path)
    told = {
        "objectives": [{"name": o.name, "direction": o.direction} for o in getattr(objective, "objectives", [objective])],
        "reward": objective.get_config() if hasattr(objective, "get_config") else None,
    }
    before, now = _in_words({**told, **known}), _in_words(told)
    if before != now and any(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values()):
        raise InvalidArgument(
            f"The trials in {path.parent} were scored by {before}, this search by {now}. Choose another project_name, or begin "
            "anew with overwrite=True."
        )
    changed = known.get("limits", limits) != limits
    write_json(
        path,
        {
            "limits": limits,
            "objective": objective.name,
            "direction": objective.direction,
            **told,
            "max_trials": tuner.oracle.max_trials,
            "oracle": oracle_name,
            "hypermodel": getattr(tuner.hypermodel, "name", None) or type(tuner.hypermodel).__name__,
        },
    )
    return bool(changed)


def _in_words(told: Mapping[str, Any]) -> str:
    """Name what scores the trials, whatever the order of several objectives."""
    parts = sorted(f"{one['name']} ({one['direction']})" for one in told["objectives"])
    return ", ".join(parts + [f"{told['reward']}"] * bool(told["reward"]))
