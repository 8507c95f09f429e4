"""What handlers of operators do with tf2onnx's graph: put nodes in the place of others, and add constants."""

from typing import Any

import numpy as np

__all__ = ["constant", "dtype_of", "like", "replace", "scalar"]


def replace(ctx: Any, node: Any, operator: str, inputs: list[str], *, domain: str = "", **attributes: Any) -> None:
    """Put an ONNX operator in the place of a node: under its name, with its outputs, their shapes and dtypes."""
    name, outputs, described = node.name, node.output, like(ctx, node)
    ctx.remove_node(name)
    ctx.make_node(operator, inputs, attr=attributes, name=name, outputs=outputs, domain=domain, **described)


def like(ctx: Any, node: Any) -> dict[str, Any]:
    """Return the shape and dtype of a node's output, as `make_node` takes them."""
    return {"shapes": [ctx.get_shape(node.output[0])], "dtypes": [dtype_of(ctx, node)]}


def dtype_of(ctx: Any, node: Any) -> int:
    """Return ONNX's number of the dtype of a node's output."""
    dtype: int = ctx.get_dtype(node.output[0])
    return dtype


def constant(ctx: Any, values: np.ndarray) -> str:
    """Add a constant and return its name."""
    from tf2onnx import utils

    name: str = ctx.make_const(utils.make_name("constant"), values).output[0]
    return name


def scalar(ctx: Any, node: Any, value: Any) -> str:
    """Add a constant without axes, of the dtype of a node's output, and return its name."""
    from tf2onnx import utils

    return constant(ctx, np.array(value, utils.map_onnx_to_numpy_type(dtype_of(ctx, node))))
