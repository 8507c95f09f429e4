"""Local search as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import LocalSearch

__all__ = ["LocalSearchOracle"]


class LocalSearchOracle(StrategyOracle):
    """Proposes neighbours of the best trial; the arguments are those of `StrategyOracle`, without `strategy`.

    Example:
        >>> oracle = LocalSearchOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.strategy.starts
        10

    Source:
        White et al. 2020; see `kerasnas.strategies.LocalSearch`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(LocalSearch(), objective=objective, max_trials=max_trials, **kwargs)
