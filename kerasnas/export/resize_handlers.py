"""Resizing of pictures by TensorFlow, put into standard ONNX operators where tf2onnx 1.17 does not know it or gets it wrong."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from kerasnas.export.node_edits import constant, dtype_of, replace

__all__ = ["convert_bicubic", "convert_bilinear", "convert_nearest", "convert_scale_and_translate"]


def convert_bilinear(ctx: Any, node: Any) -> None:
    """Resize by sizes, where a scale in float32 would round to another size: 7 / 12 * 12 < 7."""
    from tf2onnx.onnx_opset.nn import Resize

    if not _scales_are_exact(_sides(ctx, node)):
        shape = ctx.get_shape(node.input[0])
        free = ctx.make_node("Identity", [node.input[0]], shapes=[[shape[0], -1, -1, shape[3]]], dtypes=[dtype_of(ctx, node)])
        ctx.replace_input(node, node.input[0], free.output[0], 0)  # tf2onnx writes sizes where it does not know them
    Resize.version_11(ctx, node)


def convert_bicubic(ctx: Any, node: Any) -> None:
    """Multiply by TensorFlow's own weights, but where a side is multiplied by a power of 2.

    TensorFlow rounds the weights to a table of 1024 steps, up to 1e-3 away from the formula that ONNX follows; onnxruntime
    takes no sizes for cubic pieces.
    """
    import tensorflow as tf
    from tf2onnx.onnx_opset.nn import Resize

    sides = _sides(ctx, node)
    if all(size % length == 0 and (size // length).bit_count() == 1 for length, size in sides):
        Resize.version_11(ctx, node)
        return
    attributes = {key: bool(node.get_attr_value(key, 0)) for key in ("align_corners", "half_pixel_centers")}
    resize = [partial(tf.raw_ops.ResizeBicubic, size=(size, 1), **attributes) for _, size in sides]
    _resize_by_weights(ctx, node, [length for length, _ in sides], resize)


def convert_nearest(ctx: Any, node: Any) -> None:
    """Take the rows and columns that TensorFlow takes, where a scale in float32 could round to another one."""
    import tensorflow as tf
    from tensorflow.python.eager.context import eager_mode
    from tf2onnx.onnx_opset.nn import Resize

    sides = _sides(ctx, node)
    attributes = {key: bool(node.get_attr_value(key, 0)) for key in ("align_corners", "half_pixel_centers")}
    if not sides and node.inputs[1].is_const() and attributes == {"align_corners": False, "half_pixel_centers": True}:
        sizes = np.ravel(node.inputs[1].get_tensor_value(as_list=False))
        rows, columns = (_nearest_places(ctx, node, axis, int(size)) for axis, size in zip((1, 2), sizes, strict=True))
        taken = ctx.make_node("Gather", [node.input[0], rows], attr={"axis": 1}).output[0]
        replace(ctx, node, "Gather", [taken, columns], axis=2)
        return
    if all(size % length == 0 for length, size in sides):
        Resize.version_11(ctx, node)
        return
    places = []
    for length, size in sides:
        with eager_mode():
            ramp = tf.reshape(tf.range(length), (1, length, 1, 1))
            rows = tf.raw_ops.ResizeNearestNeighbor(images=ramp, size=(size, 1), **attributes).numpy()
        places.append(constant(ctx, rows.ravel().astype(np.int64)))
    taken = ctx.make_node("Gather", [node.input[0], places[0]], attr={"axis": 1}).output[0]
    replace(ctx, node, "Gather", [taken, places[1]], axis=2)


def _nearest_places(ctx: Any, node: Any, axis: int, size: int) -> str:
    """Return the places that TensorFlow takes along an axis of any length: floor((i + 0.5) * length / size)."""
    from onnx import TensorProto

    def add(kind: str, inputs: list[str], **attributes: Any) -> str:
        return str(ctx.make_node(kind, inputs, attr=attributes).output[0])

    shape = add("Shape", [node.input[0]])
    length = add("Gather", [shape, constant(ctx, np.array([axis], np.int64))], axis=0)
    scale = add("Div", [add("Cast", [length], to=TensorProto.FLOAT), constant(ctx, np.array([size], np.float32))])
    ramp = constant(ctx, np.arange(size, dtype=np.float32) + np.float32(0.5))
    places = add("Cast", [add("Floor", [add("Mul", [ramp, scale])])], to=TensorProto.INT64)
    return add("Min", [places, add("Sub", [length, constant(ctx, np.array([1], np.int64))])])


def convert_scale_and_translate(ctx: Any, node: Any) -> None:
    """Resize by lanczos, or with antialiasing."""
    import tensorflow as tf

    sides = _sides(ctx, node)
    if not sides or not node.inputs[3].is_const():
        return
    # `tf.image.resize` works its scales out within the graph, from the lengths; others are constants.
    given = node.inputs[2].get_tensor_value(as_list=False) if node.inputs[2].is_const() else None
    scales = np.ravel(given) if given is not None else [size / length for length, size in sides]
    shifts = np.ravel(node.inputs[3].get_tensor_value(as_list=False))
    attributes = {"kernel_type": node.get_attr("kernel_type").s, "antialias": bool(node.get_attr_value("antialias", 1))}
    resize = [
        partial(
            tf.raw_ops.ScaleAndTranslate,
            size=(size, 1),
            scale=(float(scale), 1.0),
            translation=(float(shift), 0.0),
            **attributes,
        )
        for (_, size), scale, shift in zip(sides, scales, shifts, strict=True)
    ]
    _resize_by_weights(ctx, node, [length for length, _ in sides], resize)


def _resize_by_weights(ctx: Any, node: Any, lengths: Sequence[int], resize: Sequence[Callable[..., Any]]) -> None:
    """Multiply height and width by the weights that TensorFlow's `resize` gives to unit vectors along them."""
    import tensorflow as tf
    from onnx import TensorProto
    from tensorflow.python.eager.context import eager_mode

    source = ctx.make_node("Cast", [node.input[0]], attr={"to": TensorProto.FLOAT}).output[0]
    for axis, length, operation in zip((1, 2), lengths, resize, strict=True):
        with eager_mode():
            units = tf.reshape(tf.eye(length), (length, length, 1, 1))
            weights = operation(images=units).numpy().reshape(length, -1)  # row i: what input i adds to each output
        # The axis is brought to the end, multiplied, and put back.
        order = [a for a in range(4) if a != axis] + [axis]
        turned = ctx.make_node("Transpose", [source], attr={"perm": order}).output[0]
        product = ctx.make_node("MatMul", [turned, constant(ctx, weights)]).output[0]
        back = {"perm": [int(a) for a in np.argsort(order)]}
        if axis == 1:
            source = ctx.make_node("Transpose", [product], attr=back).output[0]
        else:
            replace(ctx, node, "Transpose", [product], perm=back["perm"])


def _scales_are_exact(sides: Sequence[tuple[int, int]]) -> bool:
    return all(int(float(np.float32(size / length)) * length) == size for length, size in sides)


def _sides(ctx: Any, node: Any) -> list[tuple[int, int]]:
    """Return (length, new length) of both sides of a picture; none where they are only known when it runs."""
    shape = ctx.get_shape(node.input[0])
    if not shape or -1 in shape[1:3] or not node.inputs[1].is_const():
        return []
    sizes = np.ravel(node.inputs[1].get_tensor_value(as_list=False))
    return [(length, int(size)) for length, size in zip(shape[1:3], sizes, strict=True)]
