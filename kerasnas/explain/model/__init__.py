"""Explanations of one trained model, one file per method; each returns an `Attribution`."""

from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.grad_cam import grad_cam
from kerasnas.explain.model.occlusion import occlusion

__all__ = ["Attribution", "grad_cam", "occlusion"]
