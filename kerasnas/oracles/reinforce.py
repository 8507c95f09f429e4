"""REINFORCE as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import Reinforce

__all__ = ["ReinforceOracle"]


class ReinforceOracle(StrategyOracle):
    """Proposes trials by policy gradient; the arguments are those of `StrategyOracle`, without `strategy`.

    Example:
        >>> oracle = ReinforceOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.max_trials
        20

    Source:
        Zoph & Le 2017; see `kerasnas.strategies.Reinforce`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(Reinforce(), objective=objective, max_trials=max_trials, **kwargs)
