"""Which channels of a model can be removed, and what changes with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from kerasnas.compress.channels.attention import heads_layout
from kerasnas.compress.channels.layout import Layout
from kerasnas.compress.channels.ledger import Bundles, Channels
from kerasnas.compress.channels.operations import operation_layout
from kerasnas.compress.channels.plain_layers import PLAIN
from kerasnas.compress.channels.replay import Call, replay
from kerasnas.compress.channels.tracer import Path, Size, Slice, Tracer
from kerasnas.compress.channels.weighted_layers import WEIGHTED
from kerasnas.cost.graph import inner_graph

__all__ = ["Dependencies", "dependencies_of"]

_COUNTS = ("filters", "units", "output_dim", "num_heads")  # settings that are a number of channels
_RULES = {**WEIGHTED, **PLAIN, layers.MultiHeadAttention: heads_layout}
_SEVERAL = (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, layers.Concatenate)


@dataclass(frozen=True, eq=False)
class Dependencies:
    """The channels of a model.

    Attributes:
        bundles: which channels live or die together, and which must stay.
        made: the channels that each layer makes, by its path, those that all stay too.
        slices: the weights that have channels along an axis.
        sizes: the settings of layers that are numbers of channels.
        layouts: where the channels lie in the outputs of each call, by `Call.key`.
    """

    bundles: Bundles
    made: dict[Path, Channels]
    slices: tuple[Slice, ...]
    sizes: tuple[Size, ...]
    layouts: dict[tuple[Path, tuple[int, ...]], tuple[Layout, ...]]


def dependencies_of(model: keras.Model) -> Dependencies:
    """Follow the channels of a model through its graph.

    What is added, multiplied or otherwise combined element by element is tied. Inputs and outputs of the model stay, and so
    does whatever feeds a layer or an operation that has no rule here.

    Args:
        model: a built Functional or Sequential model.
    """
    tracer = Tracer()
    layouts: dict[tuple[Path, tuple[int, ...]], tuple[Layout, ...]] = {}

    def visit(call: Call) -> Sequence[Layout]:
        made = _layouts(tracer, call)
        layouts[call.key] = tuple(made)
        return made

    def enter(path: Path, graph: Any, fed: Sequence[Layout]) -> None:
        for x, layout in zip(graph.inputs, fed, strict=True):
            inner = x._keras_history.operation
            # The shape of an inner input is written down in the config.
            tracer.resize((*path, inner.name), "batch_shape", layout.channels, layout.axis)

    inputs = [Layout(tuple(x.shape), reason="it is an input of the model") for x in inner_graph(model).inputs]
    for layout in replay(model, inputs, visit, enter=enter):
        tracer.ledger.freeze(layout.channels, "it is an output of the model", foremost=True)
    return Dependencies(
        tracer.ledger.settle(), tracer.made, tuple(tracer.slices.values()), tuple(tracer.sizes.values()), layouts
    )


def _layouts(tracer: Tracer, call: Call) -> list[Layout]:
    operation = call.operation
    found: Layout | str
    # Keras hands masks on as arguments; they say which places count, never which channels.
    kwargs = {name: x for name, x in call.kwargs.items() if name != "mask"}
    parts = [x for x in keras.tree.flatten((call.args, kwargs)) if isinstance(x, Layout)]
    if isinstance(operation, keras.Layer):
        rule = _RULES.get(type(operation))
        several = isinstance(operation, (*_SEVERAL, layers.MultiHeadAttention))
        if call.path in tracer.held:
            found = "it is shared"
        elif rule is None:
            found = f"there is no rule for {type(operation).__name__}"
        elif len(call.shapes) != 1 or not parts or (len(parts) > 1 and not several):
            found = "it is called with several tensors"
        else:
            found = rule(tracer, call, *parts)
    else:
        found = operation_layout(tracer, call, *parts) if len(call.shapes) == 1 and parts else "it may mix channels"
    if isinstance(found, Layout):
        return [found]
    reason = f"it goes into '{operation.name}': {found}"
    for part in keras.tree.flatten((call.args, call.kwargs)):
        if isinstance(part, Layout):
            tracer.ledger.freeze(part.channels, reason)
    tracer.hold(call.path, reason)
    if isinstance(operation, keras.Layer) and call.path not in tracer.made:
        setting = next((name for name in _COUNTS if isinstance(getattr(operation, name, None), int)), None)
        if setting is not None:  # it is listed with the others
            tracer.ledger.freeze(tracer.make(call, getattr(operation, setting), setting), found)
    return [Layout(shape, reason=f"'{operation.name}' made it: {found}") for shape in call.shapes]
