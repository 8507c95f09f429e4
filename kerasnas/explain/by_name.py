"""The methods that make maps, by the names that people give them."""

import difflib
from collections.abc import Callable
from typing import Any

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.grad_cam import grad_cam
from kerasnas.explain.model.grad_cam_plus_plus import grad_cam_plus_plus
from kerasnas.explain.model.gradient_x_input import gradient_x_input
from kerasnas.explain.model.integrated_gradients import integrated_gradients
from kerasnas.explain.model.lime_weights import lime_weights
from kerasnas.explain.model.occlusion import occlusion
from kerasnas.explain.model.rise import rise
from kerasnas.explain.model.shap_values import shap_values
from kerasnas.explain.model.smooth_grad import smooth_grad
from kerasnas.explain.model.vanilla_gradients import vanilla_gradients

__all__ = ["METHODS", "map_method"]

METHODS: tuple[Callable[..., Attribution], ...] = (
    grad_cam,
    grad_cam_plus_plus,
    occlusion,
    rise,
    integrated_gradients,
    smooth_grad,
    gradient_x_input,
    vanilla_gradients,
    shap_values,
    lime_weights,
)


def map_method(name: str | None) -> Callable[..., Attribution]:
    """Return the method of a name, or, without one, Grad-CAM or what stands in for it.

    Raises:
        InvalidArgument: for an unknown name.
    """
    if name is None:
        return _usual
    known = {method.__name__: method for method in METHODS}
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidArgument(f"Expected `method` to be one of {', '.join(known)}; came {name!r}.{meant}")
    return known[name]


def _usual(model: Any, images: Any, *, target: Any = None, **kwargs: Any) -> Attribution:
    """Explain by Grad-CAM, or by integrated gradients where there is no feature map, or one too small to mark anything."""
    try:
        maps = grad_cam(model, images, target=target, **kwargs)
    except InvalidArgument:
        if kwargs:
            raise
        return integrated_gradients(model, images, target=target)
    return integrated_gradients(model, images, target=target) if maps.blank.mean() > 0.5 and not kwargs else maps
