"""What tf2onnx 1.17 leaves out or gets wrong on Keras 3 models, and its mending; nothing here outlives a conversion."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["op_handlers", "optimizers", "plain_functions"]


def op_handlers() -> dict[str, tuple[Any, list[Any]]]:
    """Return handlers of TensorFlow operators that tf2onnx does not know: Erfc (exact GELU) and Expm1 (CELU)."""
    return {"Erfc": (_convert_erfc, []), "Expm1": (_convert_expm1, [])}


def optimizers() -> dict[str, Any]:
    """Return tf2onnx's graph optimisers, with a transpose optimiser that survives adding a scalar to a convolution.

    The original takes the maximum of the constant's empty shape, fails as a whole, and leaves every convolution between
    two transposes (a Conv2D without bias followed by hard_sigmoid, for one).
    """
    from tf2onnx.optimizer import _get_optimizers
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    def scalar_safe() -> Any:
        optimizer = TransposeOptimizer()
        add = optimizer._handler_map["Add"]

        def add_unless_scalar(transpose: Any, node: Any) -> Any:
            constant = node.inputs[1]
            if constant.is_const() and constant.get_tensor_value(as_list=False).ndim == 0:
                return optimizer._handle_node_having_branches(transpose, node)
            return add(transpose, node)

        optimizer._handler_map["Add"] = add_unless_scalar
        return optimizer

    return {**_get_optimizers(), "optimize_transpose": scalar_safe}


@contextmanager
def plain_functions() -> Iterator[None]:
    """Let inner `tf.function`s be traced into the graph around them instead of becoming calls.

    Keras runs a grouped convolution through a `tf.function(jit_compile=True)`, which tf2onnx leaves behind as a
    StatefulPartitionedCall (https://github.com/onnx/tensorflow-onnx/issues/2099). The graph itself is made by
    `get_concrete_function`, which this switch does not touch. The switch is one for the process and is put back.
    """
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _convert_erfc(ctx: Any, node: Any, name: str, _args: Any) -> None:
    """erfc(x) = 1 - erf(x)."""
    source, outputs, shape, dtype, one = _take_out(ctx, node)
    erf = ctx.make_node("Erf", [source], shapes=[shape], dtypes=[dtype])
    ctx.make_node("Sub", [one, erf.output[0]], name=name, outputs=outputs, shapes=[shape], dtypes=[dtype])


def _convert_expm1(ctx: Any, node: Any, name: str, _args: Any) -> None:
    """expm1(x) = exp(x) - 1; near 0 this rounds to about 1e-7, absolute."""
    source, outputs, shape, dtype, one = _take_out(ctx, node)
    exp = ctx.make_node("Exp", [source], shapes=[shape], dtypes=[dtype])
    ctx.make_node("Sub", [exp.output[0], one], name=name, outputs=outputs, shapes=[shape], dtypes=[dtype])


def _take_out(ctx: Any, node: Any) -> tuple[str, list[str], Any, int, str]:
    from tf2onnx import utils

    source, outputs = node.input[0], node.output
    shape, dtype = ctx.get_shape(outputs[0]), ctx.get_dtype(outputs[0])
    one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype))).output[0]
    ctx.remove_node(node.name)
    return source, outputs, shape, dtype, one
