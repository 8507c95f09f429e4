"""Random search as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import RandomSearch

__all__ = ["RandomOracle"]


class RandomOracle(StrategyOracle):
    """Proposes uniformly drawn trials; the arguments are those of `StrategyOracle`, without `strategy`."""

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(RandomSearch(), objective=objective, max_trials=max_trials, **kwargs)
