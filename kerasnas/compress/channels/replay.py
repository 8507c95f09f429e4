"""Follow the calls of a model, those of nested models among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerasnas.cost.graph import inner_graph

__all__ = ["Call", "is_described", "replay"]


@dataclass(frozen=True)
class Call:
    """One use of a layer, or of an operation of keras.ops.

    Attributes:
        path: names of the models around it, outermost first, and its own.
        numbers: which of their uses these models and the operation are in; those of a copy of the model are the same.
        operation: the layer or operation.
        args: with values in the place of tensors.
        kwargs: likewise.
        shapes: those of its outputs, with the batch; None is a free dimension.
        shared: whether it has other uses in that model.
    """

    path: tuple[str, ...]
    numbers: tuple[int, ...]
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[tuple[int | None, ...], ...]
    shared: bool

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """What names this call in the model and in its copies."""
        return self.path, self.numbers


Visit = Callable[[Call], Sequence[Any]]
Enter = Callable[[tuple[str, ...], Any, Sequence[Any]], Any]


def replay(model: Any, inputs: Sequence[Any], visit: Visit, *, enter: Enter | None = None) -> list[Any]:
    """Walk through a model in the order in which Keras runs it, and return the values of its outputs.

    Args:
        model: a built Functional or Sequential model.
        inputs: a value for each of its inputs: a tensor, or what is known of it.
        visit: called for each use of a layer or operation, returns a value for each of its outputs.
        enter: called with path, graph and inputs for each use of a nested model before its inside is visited.
    """
    return _follow(inner_graph(model), (), (), inputs, visit, enter)


def _follow(
    graph: Any, path: tuple[str, ...], numbers: tuple[int, ...], inputs: Sequence[Any], visit: Visit, enter: Enter | None
) -> list[Any]:
    known = {id(x): value for x, value in zip(graph.inputs, inputs, strict=True)}
    uses = _uses(graph)
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input or any(id(x) not in known for x in node.input_tensors):
                continue
            args, kwargs = node.arguments.fill_in(known)
            name = (*path, node.operation.name)
            number, total = uses[id(node)]
            inner = inner_graph(node.operation) if is_described(node.operation) else None
            if inner is not None:
                fed = [x for x in keras.tree.flatten(args[0] if args else kwargs.get("inputs")) if x is not None]
                if enter is not None:
                    enter(name, inner, fed)
                values: Sequence[Any] = _follow(inner, name, (*numbers, number), fed, visit, enter)
            else:
                shapes = tuple(tuple(x.shape) for x in node.outputs)
                call = Call(name, (*numbers, number), node.operation, tuple(args), dict(kwargs), shapes, total > 1)
                values = visit(call)
            known.update((id(x), value) for x, value in zip(node.outputs, values, strict=True))
    return [known[id(x)] for x in graph.outputs]


def _uses(graph: Any) -> dict[int, tuple[int, int]]:
    """For each node, which of the uses of its operation in this graph it is, and how many there are."""
    own = {id(node) for nodes in graph._nodes_by_depth.values() for node in nodes}
    numbers: dict[int, tuple[int, int]] = {}
    for operation in graph.operations:
        # In the order in which the config lists them; within one depth a copy may have another order.
        nodes = [node for node in operation._inbound_nodes if id(node) in own]
        numbers |= {id(node): (number, len(nodes)) for number, node in enumerate(nodes)}
    return numbers


def is_described(operation: Any) -> bool:
    """Return whether a model is rebuilt from the configs of its layers; a subclass may have a config of its own."""
    if not isinstance(operation, keras.Model):
        return False
    plain = (keras.Sequential, *(base for base in type(operation).__mro__ if base.__name__ == "Functional"))
    return any(type(operation).get_config is base.get_config for base in plain)
