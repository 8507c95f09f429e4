"""Model-based reinforcement learning as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import Dyna

__all__ = ["DynaOracle"]


class DynaOracle(StrategyOracle):
    """Proposes the best that a policy finds in imagination; the arguments are those of `StrategyOracle`, without `strategy`.

    Example:
        >>> oracle = DynaOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.max_trials
        20

    Source:
        Angermueller et al. 2020; see `kerasnas.strategies.Dyna`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(Dyna(), objective=objective, max_trials=max_trials, **kwargs)
