"""Which models can lose channels."""

from typing import Any

import keras

from kerasnas.compress.channels.replay import is_described
from kerasnas.cost.graph import graph_of
from kerasnas.derived_state import check_derived
from kerasnas.errors import InvalidArgument

__all__ = ["check_model"]


def check_model(model: Any) -> None:
    """Check that a model has a graph that can be followed and rebuilt.

    Raises:
        InvalidArgument: if it is not a built Functional or Sequential model that computes with its weights.
    """
    if not isinstance(model, keras.Model):
        hint = " Load it with keras 3 (keras.saving.load_model)." if "keras" in type(model).__module__ else ""
        raise InvalidArgument(f"Expected a keras.Model of Keras 3, got {type(model).__module__}.{type(model).__name__}.{hint}")
    graph_of(model)
    if not is_described(model):
        raise InvalidArgument(
            f"Expected a model that is rebuilt from its layers, but {type(model).__name__} has a get_config() of its own. Pass "
            "keras.Model(model.inputs, model.outputs)."
        )
    check_derived(model)
