"""TensorFlow operators that tf2onnx 1.17 does not know or gets wrong, each put into standard ONNX operators.

A handler takes tf2onnx's graph and the node, and replaces the node.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kerasnas.export.node_edits import constant, like, replace, scalar
from kerasnas.export.resize_handlers import convert_bicubic, convert_bilinear, convert_nearest, convert_scale_and_translate

__all__ = ["layer_of", "op_handlers"]

_SIGN_BIT = -(2**31)


def op_handlers(tables: Mapping[str, Any]) -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """Return the handlers by TensorFlow operator, as `tf2onnx.convert.from_keras` takes them.

    Args:
        tables: the lookup tables of the model, by the scopes of their layers.
    """
    handlers: dict[str, Callable[..., None]] = {
        "Erfc": _convert_erfc,
        "Expm1": _convert_expm1,
        "Log1p": _convert_log1p,
        "Bucketize": _convert_bucketize,
        "BitwiseAnd": _convert_sign_bit,
        "LookupTableFindV2": partial(_convert_lookup, tables),
        "RFFT": _convert_rfft,
        "Real": _convert_real,
        "Imag": _convert_imag,
        "Conv3D": _convert_conv3d,
        "Conv2DBackpropInput": _convert_transposed_convolution,
        "Conv3DBackpropInputV2": _convert_transposed_convolution,
        "ResizeBilinear": convert_bilinear,
        "ResizeBicubic": convert_bicubic,
        "ResizeNearestNeighbor": convert_nearest,
        "ScaleAndTranslate": convert_scale_and_translate,
    }
    return {operator: (partial(_call, handler), []) for operator, handler in handlers.items()}


def _call(handler: Callable[..., None], ctx: Any, node: Any, _name: str, _arguments: Any) -> None:
    handler(ctx, node)


def layer_of(node_name: str, layers: Collection[str]) -> str | None:
    """Return the innermost of the layers' scopes in which a node was made, or None."""
    # TensorFlow writes the second use of the scope "celu" as "celu_1".
    scopes = [scope for part in node_name.split("/") for scope in (part, re.sub(r"_\d+$", "", part))]
    return next((scope for scope in reversed(scopes) if scope in layers), None)


def _convert_erfc(ctx: Any, node: Any) -> None:
    """erfc(x) = 1 - erf(x), for the exact GELU."""
    source, one = node.input[0], scalar(ctx, node, 1)
    erf = ctx.make_node("Erf", [source], **like(ctx, node))
    replace(ctx, node, "Sub", [one, erf.output[0]])


def _convert_expm1(ctx: Any, node: Any) -> None:
    """expm1(x) = exp(x) - 1, for CELU; near 0 this rounds to about 1e-7, absolute."""
    source, one = node.input[0], scalar(ctx, node, 1)
    exp = ctx.make_node("Exp", [source], **like(ctx, node))
    replace(ctx, node, "Sub", [exp.output[0], one])


def _convert_log1p(ctx: Any, node: Any) -> None:
    """log1p(x) = log(1 + x); near 0 this rounds to about 1e-7, absolute."""
    source, one = node.input[0], scalar(ctx, node, 1)
    total = ctx.make_node("Add", [source, one], **like(ctx, node))
    replace(ctx, node, "Log", [total.output[0]])


def _convert_bucketize(ctx: Any, node: Any) -> None:
    """The bucket of x is the number of boundaries that are not above it."""
    from onnx import TensorProto

    boundaries = np.array(node.get_attr("boundaries").floats, np.float32)
    reached = _compare(ctx, node.input[0], boundaries, "GreaterOrEqual", dtype=TensorProto.FLOAT, to=TensorProto.INT32)
    axes = constant(ctx, np.array([-1], np.int64))
    replace(ctx, node, "ReduceSum", [reached, axes], keepdims=0)


def _convert_sign_bit(ctx: Any, node: Any) -> None:
    """Where float32 is read as int32 only for its sign bit (argmax does): negative, or 0 of which the reciprocal is."""
    bits, mask = node.inputs
    if not (bits.type == "Bitcast" and mask.is_const() and np.all(mask.get_tensor_value(as_list=False) == _SIGN_BIT)):
        return  # another use of BitwiseAnd is left as it is, and found by the check of the operators
    source, shape = bits.input[0], ctx.get_shape(node.output[0])
    zero = constant(ctx, np.array(0, np.float32))
    reciprocal = ctx.make_node("Reciprocal", [source])
    below, is_zero, from_below = (
        ctx.make_node(operator, [x, zero]).output[0]
        for operator, x in (("Less", source), ("Equal", source), ("Less", reciprocal.output[0]))
    )
    negative_zero = ctx.make_node("And", [is_zero, from_below]).output[0]
    negative = ctx.make_node("Or", [below, negative_zero], shapes=[shape]).output[0]
    one, none = (constant(ctx, np.array(value, np.int32)) for value in (_SIGN_BIT, 0))
    replace(ctx, node, "Where", [negative, one, none])
    if not ctx.find_output_consumers(bits.output[0]):
        ctx.remove_node(bits.name)


def _convert_lookup(tables: Mapping[str, Any], ctx: Any, node: Any) -> None:
    """Default + sum over keys of [x = key] (value - default), for tables from numbers to numbers; LabelEncoder for texts."""
    from onnx import TensorProto
    from tensorflow.python.eager.context import eager_mode
    from tf2onnx import utils

    table, default = node.inputs[0], node.inputs[2]
    while table.type == "Identity":
        table = table.inputs[0]
    layer = layer_of(node.name, tables)
    found = None if layer is None else tables[layer]
    dtypes = ctx.get_dtype(node.input[1]), ctx.get_dtype(node.output[0])
    numbers = set(dtypes) <= {TensorProto.INT32, TensorProto.INT64}
    texts = dtypes == (TensorProto.STRING, TensorProto.INT64)
    if found is None or not default.is_const() or not (numbers or texts):
        return
    ctx.set_shape(node.output[0], ctx.get_shape(node.input[1]))
    with eager_mode():  # the table's content lives outside the graph that is being converted
        keys, values = (content.numpy() for content in found.export())
    missing = default.get_tensor_value(as_list=False)
    if texts:
        replace(
            ctx,
            node,
            "LabelEncoder",
            [node.input[1]],
            domain="ai.onnx.ml",
            keys_strings=[key.decode() for key in keys.tolist()],
            values_int64s=values.tolist(),
            default_int64=int(missing),
        )
        _remove_unused(ctx, table)
        return
    gains = (values - missing).astype(utils.map_onnx_to_numpy_type(dtypes[1]))
    equal = _compare(ctx, node.input[1], keys, "Equal", dtype=dtypes[0], to=dtypes[1])
    chosen = ctx.make_node("Mul", [equal, constant(ctx, gains)]).output[0]
    axes = constant(ctx, np.array([-1], np.int64))
    gain = ctx.make_node("ReduceSum", [chosen, axes], attr={"keepdims": 0}, **like(ctx, node)).output[0]
    replace(ctx, node, "Add", [gain, scalar(ctx, node, missing)])
    _remove_unused(ctx, table)


def _remove_unused(ctx: Any, node: Any) -> None:
    if not ctx.find_output_consumers(node.output[0]):
        ctx.remove_node(node.name)


def _convert_rfft(ctx: Any, node: Any) -> None:
    """The Fourier transform of a real signal as a product with cosines and sines, where its parts are used apart.

    ONNX has no complex numbers: the real parts come first on the last axis, then the imaginary ones.
    """
    from onnx import TensorProto
    from tf2onnx.onnx_opset.signal import RFFTOp

    users = {user.type for user in ctx.find_output_consumers(node.output[0])}
    shape = ctx.get_shape(node.input[0])
    if not (users <= {"Real", "Imag"} and node.inputs[1].is_const() and shape and shape[-1] > 0):
        RFFTOp.version_13(ctx, node)
        return
    length = int(np.ravel(node.inputs[1].get_tensor_value(as_list=False))[0])
    bins = length // 2 + 1
    angles = 2 * np.pi / length * np.outer(np.arange(min(shape[-1], length)), np.arange(bins))
    waves = np.zeros((shape[-1], 2 * bins), np.float32)  # a signal longer than the transform is cut
    waves[: len(angles)] = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1)
    matrix = constant(ctx, waves)
    ctx.set_shape(node.output[0], [*shape[:-1], 2 * bins])
    ctx.set_dtype(node.output[0], TensorProto.FLOAT)
    replace(ctx, node, "MatMul", [node.input[0], matrix])


def _convert_real(ctx: Any, node: Any) -> None:
    _take_part(ctx, node, 0)


def _convert_imag(ctx: Any, node: Any) -> None:
    _take_part(ctx, node, 1)


def _take_part(ctx: Any, node: Any, part: int) -> None:
    from onnx import TensorProto

    shape = ctx.get_shape(node.output[0])
    if ctx.get_dtype(node.input[0]) != TensorProto.FLOAT or not shape or shape[-1] < 1:
        return  # complex numbers that are not of `_convert_rfft`
    bounds = [np.array([value], np.int64) for value in (part * shape[-1], (part + 1) * shape[-1], -1)]
    replace(ctx, node, "Slice", [node.input[0], *(constant(ctx, b) for b in bounds)])


def _convert_conv3d(ctx: Any, node: Any) -> None:
    """tf2onnx counts the groups of convolutions in two dimensions only."""
    from tf2onnx.onnx_opset.nn import ConvOp

    axis = -1 if node.get_attr("data_format").s == b"NDHWC" else 1
    channels, of_kernel = ctx.get_shape(node.input[0])[axis], ctx.get_shape(node.input[1])[-2]
    ConvOp.version_13(ctx, node)
    node.set_attr("group", channels // of_kernel)


def _convert_transposed_convolution(ctx: Any, node: Any) -> None:
    """An output that is larger than what the kernel reaches: ONNX calls it output padding, tf2onnx a negative pad."""
    from tf2onnx.onnx_opset.nn import ConvTranspose

    ConvTranspose.version_11(ctx, node)
    pads = node.get_attr("pads")
    if pads is None or min(pads.ints) >= 0:
        return
    sides = len(pads.ints) // 2
    total = [pads.ints[side] + pads.ints[side + sides] for side in range(sides)]
    starts = [pads.ints[side] if total[side] > 0 else 0 for side in range(sides)]
    ends = [pads.ints[side + sides] if total[side] > 0 else 0 for side in range(sides)]
    node.set_attr("output_padding", [max(0, -both) for both in total])
    node.set_attr("pads", starts + ends)


def _compare(ctx: Any, source: str, values: Sequence[Any] | np.ndarray, operator: str, *, dtype: int, to: int) -> str:
    """Return a tensor with one more axis: 1 where `source` stands to a value as the operator says, else 0."""
    from tf2onnx import utils

    cast = ctx.make_node("Cast", [source], attr={"to": dtype}).output[0]
    axes = constant(ctx, np.array([-1], np.int64))
    column = ctx.make_node("Unsqueeze", [cast, axes]).output[0]
    row = constant(ctx, np.asarray(values).astype(utils.map_onnx_to_numpy_type(dtype)))
    compared = ctx.make_node(operator, [column, row]).output[0]
    result: str = ctx.make_node("Cast", [compared], attr={"to": to}).output[0]
    return result
