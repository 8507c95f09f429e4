"""Proximal policy optimisation as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import PPO

__all__ = ["PPOOracle"]


class PPOOracle(StrategyOracle):
    """Proposes trials by policy gradient in clipped steps; the arguments are those of `StrategyOracle`, without `strategy`.

    Example:
        >>> oracle = PPOOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.max_trials
        20

    Source:
        Schulman et al. 2017; see `kerasnas.strategies.PPO`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(PPO(), objective=objective, max_trials=max_trials, **kwargs)
