"""The stopping rules by the names that tuners, estimators and the command line know them by."""

from kerasnas.errors import InvalidArgument
from kerasnas.stopping.asha import ASHA
from kerasnas.stopping.base import StoppingRule
from kerasnas.stopping.learning_curve import LearningCurve

__all__ = ["BY_NAME", "by_name"]

BY_NAME: dict[str, type[StoppingRule]] = {"asha": ASHA, "learning-curve": LearningCurve}


def by_name(rule: StoppingRule | str | None) -> StoppingRule | None:
    """Return a rule with its default settings by its name; a rule and None are returned as they are.

    Raises:
        InvalidArgument: for an unknown name, or what is neither name nor rule.
    """
    if rule is None or isinstance(rule, StoppingRule):
        return rule
    if not isinstance(rule, str) or rule not in BY_NAME:
        raise InvalidArgument(f"Expected a StoppingRule, one of {sorted(BY_NAME)}, or None, got {rule!r}.")
    return BY_NAME[rule]()
