"""Evolution as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import Evolution

__all__ = ["EvolutionOracle"]


class EvolutionOracle(StrategyOracle):
    """Proposes crossed and mutated trials; the arguments are those of `StrategyOracle`, without `strategy`.

    Other settings than the default ones: `StrategyOracle(Evolution(...), ...)`.

    Example:
        >>> oracle = EvolutionOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.strategy.crossover
        'uniform'

    Source:
        Real et al. 2019; see `kerasnas.strategies.Evolution`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(Evolution(), objective=objective, max_trials=max_trials, **kwargs)
