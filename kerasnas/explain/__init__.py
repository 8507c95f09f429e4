"""What a model looks at: attribution maps of a trained Keras 3 image classifier."""

from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.grad_cam import grad_cam
from kerasnas.explain.model.occlusion import occlusion

__all__ = ["Attribution", "grad_cam", "occlusion"]
