"""What else stops tf2onnx 1.17 on Keras 3 models, beside single operators; nothing here outlives a conversion."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["optimizers", "plain_functions", "plain_scopes", "scope_of"]


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


@contextmanager
def plain_scopes() -> Iterator[None]:
    """Let layers bear any name: TensorFlow traces none that holds a space or a letter beyond ASCII.

    Keras opens a `tf.name_scope` for each layer; it is opened under the name of `scope_of`.
    """
    import tensorflow as tf

    before = tf.name_scope
    tf.name_scope = lambda name, *arguments, **settings: before(scope_of(name), *arguments, **settings)
    try:
        yield
    finally:
        tf.name_scope = before


def scope_of(name: str) -> str:
    """Return `name` as a scope of TensorFlow: what is no letter, digit, dot, dash or slash becomes "_"."""
    plain = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return plain if re.match(r"[A-Za-z0-9.]", plain) else f"layer{plain}"
