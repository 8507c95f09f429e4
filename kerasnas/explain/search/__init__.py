"""What a search found out, and how sure that is: explanations of a `SearchRecord`."""

from kerasnas.explain.search.ablation_path import AblationPath, AblationStep, ablation_path
from kerasnas.explain.search.account import Account, Sentence, account
from kerasnas.explain.search.beliefs import BeliefHistory, TrialBeliefs, beliefs
from kerasnas.explain.search.counterfactuals import Counterfactual, Counterfactuals, counterfactuals
from kerasnas.explain.search.importance import Importance, ParameterImportance, importance
from kerasnas.explain.search.measured_path import measured_path
from kerasnas.explain.search.reward_posterior import ModelCheck
from kerasnas.explain.search.shapley_ablation import ShapleyAblation, shapley_ablation

__all__ = [
    "AblationPath",
    "AblationStep",
    "Account",
    "BeliefHistory",
    "Counterfactual",
    "Counterfactuals",
    "Importance",
    "ModelCheck",
    "ParameterImportance",
    "Sentence",
    "ShapleyAblation",
    "TrialBeliefs",
    "ablation_path",
    "account",
    "beliefs",
    "counterfactuals",
    "importance",
    "measured_path",
    "shapley_ablation",
]
