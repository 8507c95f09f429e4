"""How channels pass through multi-head attention: whole heads go, and no key is shortened."""

import inspect

import keras
from keras import layers

from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.replay import Call
from kerasnas.compress.channels.tracer import Tracer

__all__ = ["heads_layout"]


def heads_layout(tracer: Tracer, call: Call, *_: Layout) -> Layout | str:
    """Return the layout of what a `MultiHeadAttention` makes.

    Its output is a sum over heads, so that a head can go like a channel. A shorter key would change the scale of the scores.
    """
    layer: layers.MultiHeadAttention = call.operation
    given = inspect.signature(type(layer).call).bind(layer, *call.args, **call.kwargs).arguments
    query, value = given["query"], given["value"]
    key = value if given.get("key") is None else given["key"]
    extra = {name: x for name, x in given.items() if name not in ("self", "query", "value", "key")}
    projections = {"query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense}
    if getattr(layer, "_gate_dense", None) is not None:
        projections["gate"] = layer._gate_dense
    kernels = [dense.kernel for dense in (*projections.values(), layer._output_dense)]
    quantised = [dense for dense in projections.values() if getattr(dense, "quantization_mode", None) is not None]
    if quantised or not all(isinstance(kernel, keras.Variable) for kernel in kernels):
        return "its weights are quantised or have a LoRA update"
    if (
        extra.get("return_attention_scores")
        or len(call.shapes) > 1
        or any(isinstance(x, Layout) and (x.channels is not None or len(x.shape) > 3) for x in extra.values())
    ):
        return "it is called with a mask for each head, or for its scores"
    for x in (query, key, value):
        tracer.ledger.freeze(x.channels, f"it goes into '{layer.name}': of attention only heads go")
    heads = tracer.make(call, layer.num_heads, "num_heads")
    for dense in projections.values():
        tracer.use(call, dense.kernel, -2, heads, "out")
        if dense.bias is not None:
            tracer.use(call, dense.bias, -2, heads, "bias")
    tracer.use(call, layer._output_dense.kernel, -len(layer._output_dense.kernel.shape), heads, "inside")
    return Layout(call.shapes[0], -1, None, f"'{layer.name}' made it: of attention only heads go")
