"""Rules that stop trials which are not worth their remaining epochs."""

from kerasnas.stopping.asha import ASHA
from kerasnas.stopping.base import Stop, StoppingRule
from kerasnas.stopping.learning_curve import LearningCurve, expected_final

__all__ = ["ASHA", "LearningCurve", "Stop", "StoppingRule", "expected_final"]
