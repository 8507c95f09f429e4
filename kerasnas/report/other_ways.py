"""What other measures of importance say, beside our own."""

import importlib.util
from typing import Any

from kerasnas.explain.search import Importance, ParameterImportance, ShapleyAblation, importance
from kerasnas.record import SearchRecord

__all__ = ["has_optuna", "other_ways"]

_LISTED = 10
_NAMES = {"reward_model": "this page", "ped_anova": "PED-ANOVA", "fanova": "fANOVA"}
_RESAMPLES = 20  # the fewest with which anything can be told from chance


def has_optuna() -> bool:
    """Tell whether PED-ANOVA and fANOVA can be asked."""
    return importlib.util.find_spec("optuna") is not None


def other_ways(record: SearchRecord, ours: Importance, gains: ShapleyAblation | None) -> dict[str, Any]:
    """Return a table of the most important hyperparameters by each measure, and the gains of those that the winner changed.

    Args:
        record: the search.
        ours: its importance by the model of the reward.
        gains: how the gain over the default is shared; None where no model of the score can be trusted.

    Returns:
        `methods`, the headings; `rows` with `name`, `shares` (text, and whether it is told apart from chance) and `gain`;
        `conditional`, whether a hyperparameter is not always active; `optuna`, whether it could be asked; `sure`, by how many
        measures anything is told apart.
    """
    asked = [ours]
    if has_optuna():
        asked += [importance(record, method=method, resamples=_RESAMPLES) for method in ("ped_anova", "fanova")]
    shared = {row["name"]: f"{row['gain']:+.2g} ± {row['std']:.1g}" for row in gains.rows} if gains else {}
    varied = [p.name for p in ours.parameters if p.verdict != "fixed"]
    weight = {name: max(one[name].share for one in asked) for name in varied}
    listed = sorted(sorted(varied, key=lambda name: -weight[name])[:_LISTED], key=varied.index)
    listed += [name for name in shared if name not in listed]
    return {
        "methods": [_NAMES[one.method] for one in asked],
        "rows": [
            {
                "name": name,
                "shares": [_share(one[name]) for one in asked],
                "gain": shared.get(name),
            }
            for name in listed
        ],
        "gains": bool(shared),
        "conditional": any(p.active < ours.trials for p in ours.parameters),
        "optuna": has_optuna(),
        "sure": sum(any(p.verdict == "matters" for p in one.parameters) for one in asked),
    }


def _share(p: ParameterImportance) -> tuple[str, bool]:
    """Write a share, or how much it may be, and tell whether it is told apart from chance."""
    sure = p.verdict == "matters"
    return f"{100 * p.share:.0f} %" if sure else f"0 to {100 * p.high:.0f} %", sure
