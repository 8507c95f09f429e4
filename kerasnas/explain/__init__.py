"""What a model looks at, what goes on inside it, and how far that can be believed."""

from kerasnas.explain.callback import ExplainCallback
from kerasnas.explain.measure_callback import MeasureCallback
from kerasnas.explain.model.activation_maps import ActivationMaps, activation_maps
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.confusion import Confusion, confusion
from kerasnas.explain.model.decision_boundary import DecisionBoundary, decision_boundary
from kerasnas.explain.model.drift import Drift, drift
from kerasnas.explain.model.feature_images import FeatureImages
from kerasnas.explain.model.feature_visualisation import feature_visualisation
from kerasnas.explain.model.filters import Filters, filters
from kerasnas.explain.model.grad_cam import grad_cam
from kerasnas.explain.model.grad_cam_plus_plus import grad_cam_plus_plus
from kerasnas.explain.model.gradient_x_input import gradient_x_input
from kerasnas.explain.model.integrated_gradients import integrated_gradients
from kerasnas.explain.model.interpretability import Interpretability, interpretability
from kerasnas.explain.model.layer_importance import LayerImportance, layer_importance
from kerasnas.explain.model.layer_latency import layer_latency
from kerasnas.explain.model.lime_weights import lime_weights
from kerasnas.explain.model.occlusion import occlusion
from kerasnas.explain.model.permutation_importance import PermutationImportance, permutation_importance
from kerasnas.explain.model.randomisation import randomisation_cascade
from kerasnas.explain.model.rise import rise
from kerasnas.explain.model.shap_values import shap_values
from kerasnas.explain.model.smooth_grad import smooth_grad
from kerasnas.explain.model.structure import Structure, structure
from kerasnas.explain.model.trust import Trust, trust
from kerasnas.explain.model.vanilla_gradients import vanilla_gradients
from kerasnas.explain.model.weight_statistics import WeightStatistics, weight_statistics

__all__ = [
    "ActivationMaps",
    "Attribution",
    "Confusion",
    "DecisionBoundary",
    "Drift",
    "ExplainCallback",
    "FeatureImages",
    "Filters",
    "Interpretability",
    "LayerImportance",
    "MeasureCallback",
    "PermutationImportance",
    "Structure",
    "Trust",
    "WeightStatistics",
    "activation_maps",
    "confusion",
    "decision_boundary",
    "drift",
    "feature_visualisation",
    "filters",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient_x_input",
    "integrated_gradients",
    "interpretability",
    "layer_importance",
    "layer_latency",
    "lime_weights",
    "occlusion",
    "permutation_importance",
    "randomisation_cascade",
    "rise",
    "shap_values",
    "smooth_grad",
    "structure",
    "trust",
    "vanilla_gradients",
    "weight_statistics",
]
