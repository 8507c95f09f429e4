"""Search algorithms on plain decisions: ask for choices, tell the score."""

from kerasnas.strategies.base import Beliefs, Observation, Proposal, Strategy
from kerasnas.strategies.decision import Choices, Condition, Decision, Discrete, Range, Scalar
from kerasnas.strategies.dyna import Dyna
from kerasnas.strategies.evolution import Evolution
from kerasnas.strategies.local_search import LocalSearch
from kerasnas.strategies.ppo import PPO
from kerasnas.strategies.q_learning import QLearning
from kerasnas.strategies.random_search import RandomSearch
from kerasnas.strategies.reinforce import Reinforce

__all__ = [
    "Beliefs",
    "Choices",
    "Condition",
    "Decision",
    "Discrete",
    "Dyna",
    "Evolution",
    "LocalSearch",
    "Observation",
    "PPO",
    "Proposal",
    "QLearning",
    "RandomSearch",
    "Range",
    "Reinforce",
    "Scalar",
    "Strategy",
]
