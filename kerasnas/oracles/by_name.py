"""The oracles by the names that `ImageClassifier` and the command line know them by."""

import keras_tuner as kt

from kerasnas.oracles.dyna import DynaOracle
from kerasnas.oracles.evolution import EvolutionOracle
from kerasnas.oracles.local_search import LocalSearchOracle
from kerasnas.oracles.ppo import PPOOracle
from kerasnas.oracles.q_learning import QLearningOracle
from kerasnas.oracles.random_search import RandomOracle
from kerasnas.oracles.reinforce import ReinforceOracle

__all__ = ["BY_NAME"]

BY_NAME: dict[str, type[kt.Oracle]] = {
    "auto": DynaOracle,
    "dyna": DynaOracle,
    "evolution": EvolutionOracle,
    "local-search": LocalSearchOracle,
    "ppo": PPOOracle,
    "q-learning": QLearningOracle,
    "random": RandomOracle,
    "reinforce": ReinforceOracle,
}
