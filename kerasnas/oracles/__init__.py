"""KerasTuner oracles: one for each strategy, and the adapter for a strategy of your own."""

from kerasnas.oracles.dyna import DynaOracle
from kerasnas.oracles.evolution import EvolutionOracle
from kerasnas.oracles.local_search import LocalSearchOracle
from kerasnas.oracles.ppo import PPOOracle
from kerasnas.oracles.q_learning import QLearningOracle
from kerasnas.oracles.random_search import RandomOracle
from kerasnas.oracles.reinforce import ReinforceOracle
from kerasnas.oracles.strategy_oracle import StrategyOracle

__all__ = [
    "DynaOracle",
    "EvolutionOracle",
    "LocalSearchOracle",
    "PPOOracle",
    "QLearningOracle",
    "RandomOracle",
    "ReinforceOracle",
    "StrategyOracle",
]
