"""Q-learning as a KerasTuner oracle."""

from typing import Any

from kerasnas.oracles.strategy_oracle import StrategyOracle
from kerasnas.strategies import QLearning

__all__ = ["QLearningOracle"]


class QLearningOracle(StrategyOracle):
    """Proposes trials by the learned value of each choice; the arguments are those of `StrategyOracle`, without `strategy`.

    Example:
        >>> oracle = QLearningOracle(objective="val_accuracy", max_trials=20, seed=0)
        >>> oracle.max_trials
        20

    Source:
        Baker et al. 2017; see `kerasnas.strategies.QLearning`.
    """

    def __init__(self, objective: Any = None, max_trials: int | None = 10, **kwargs: Any) -> None:
        super().__init__(QLearning(), objective=objective, max_trials=max_trials, **kwargs)
