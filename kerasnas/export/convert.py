"""From a Keras model to an ONNX graph in memory, through tf2onnx."""

from typing import TYPE_CHECKING, Any

import keras

from kerasnas.errors import KerasNASError
from kerasnas.export import tf2onnx_repairs as repairs
from kerasnas.export.all_nodes import all_nodes
from kerasnas.export.constant_shapes import constant_shapes
from kerasnas.export.early_layout import layout_first
from kerasnas.export.functional_view import FunctionalView
from kerasnas.export.op_handlers import layer_of, op_handlers
from kerasnas.export.samples import TensorSpec
from kerasnas.export.silence import silence

if TYPE_CHECKING:
    import onnx

__all__ = ["convert"]

_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")


def convert(view: FunctionalView, *, opset: int) -> "onnx.ModelProto":
    """Convert a flat functional model to ONNX, with its names and a free batch dimension called "batch".

    Args:
        view: the model, see `functional_view`.
        opset: version of the standard ONNX operators.

    Returns:
        The graph with its weights; it uses standard operators only and has passed ONNX's full check.

    Raises:
        KerasNASError: if TensorFlow cannot trace the model, an operator has no counterpart in ONNX, or the check fails.
    """
    import onnx

    proto = _trace(view, opset)
    unsupported = sorted({_describe(node, view.model) for node in all_nodes(proto.graph) if not _is_standard(node, opset)})
    if unsupported:
        raise KerasNASError(
            f"Expected operators that ONNX opset {opset} has, but {view.model.name!r} uses {'; '.join(unsupported)}. "
            "Replace these layers by others that compute the same."
        )
    proto.graph.name = view.model.name
    _name_shapes(proto.graph.input, view.inputs)
    _name_shapes(proto.graph.output, view.outputs)
    layout_first(proto)
    constant_shapes(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:
        raise KerasNASError(f"Expected a valid ONNX graph of {view.model.name!r}, but the checker says: {error}") from error
    return proto


def _trace(view: FunctionalView, opset: int) -> "onnx.ModelProto":
    import tensorflow as tf

    inputs = {_plain(name, f"input_{i}"): name for i, (name, _, _) in enumerate(view.inputs)}
    outputs = {_plain(name, f"output_{i}"): name for i, (name, _, _) in enumerate(view.outputs)}
    signature = [
        tf.TensorSpec((None, *shape[1:]), dtype, name=plain)
        for plain, (_, shape, dtype) in zip(inputs, view.inputs, strict=True)
    ]
    name, view.model.name = view.model.name, repairs.scope_of(view.model.name)
    view.model.output_names = list(outputs)
    with silence(), repairs.plain_functions(), repairs.plain_scopes():
        import tf2onnx.convert

        try:
            proto, _ = tf2onnx.convert.from_keras(
                view.model,
                input_signature=signature if len(signature) == 1 else (signature,),
                opset=opset,
                custom_op_handlers=op_handlers(_tables(view.model)),
                optimizers=repairs.optimizers(),
            )
        except Exception as error:
            raise KerasNASError(
                f"Expected a model that TensorFlow and tf2onnx can trace, but {name!r} stopped with "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            view.model.name = name
    _rename(proto.graph, {plain: name for plain, name in {**inputs, **outputs}.items() if plain != name})
    return proto


def _tables(model: keras.Model) -> dict[str, Any]:
    """Return the tables of lookup layers by the scopes of the layers."""
    tables = {repairs.scope_of(layer.name): getattr(layer, "lookup_table", None) for layer in _layers(model)}
    return {scope: table for scope, table in tables.items() if table is not None}


def _layers(model: keras.Model) -> list[keras.Layer]:
    return list(model._flatten_layers(include_self=False))


def _plain(name: str, place: str) -> str:
    """Return the name that a tensor bears while TensorFlow traces it: its own, or that of its place."""
    return name if repairs.scope_of(name) == name else place


def _rename(graph: "onnx.GraphProto", names: dict[str, str]) -> None:
    """Rename tensors wherever they are made, used or declared, also within loops and branches."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in all_nodes(graph) if names else ():
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _name_shapes(values: Any, specs: tuple[TensorSpec, ...]) -> None:
    """Write Keras's shapes into the graph: a free first dimension is "batch", any other bears the tensor's name."""
    shapes = {name: shape for name, shape, _ in specs}
    for value in values:
        if value.name not in shapes:
            raise KerasNASError(f"Expected tensors called {sorted(shapes)}, tf2onnx made {value.name!r}.")
        target = value.type.tensor_type.shape
        traced = [dimension.dim_value for dimension in target.dim]
        target.ClearField("dim")
        for axis, length in enumerate(shapes[value.name]):
            dimension = target.dim.add()
            if axis == 0:
                dimension.dim_param = "batch"
            elif length is None:
                dimension.dim_param = f"{value.name}_dim{axis}"
            else:  # a layer may state the shape that it has in training (RandomCrop); what was traced is that of inference
                dimension.dim_value = traced[axis] if axis < len(traced) and traced[axis] > 0 else length


def _is_standard(node: "onnx.NodeProto", opset: int) -> bool:
    # tf2onnx logs an operator that it does not know and carries on, with the TensorFlow operator left in the graph.
    import onnx

    if node.domain not in _STANDARD_DOMAINS:
        return False
    return node.domain == "ai.onnx.ml" or bool(onnx.defs.has(node.op_type, opset))


def _describe(node: "onnx.NodeProto", model: keras.Model) -> str:
    """Return the operator and, where its name tells, the layer: "Expm1 (layer 'celu')"."""
    layers = {repairs.scope_of(layer.name): layer.name for layer in _layers(model)}
    scope = layer_of(node.name, layers)
    return f"{node.op_type} (node {node.name!r})" if scope is None else f"{node.op_type} (layer {layers[scope]!r})"
