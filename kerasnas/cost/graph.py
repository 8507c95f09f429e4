"""A Keras model as a flat list of calls between numbered tensors."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerasnas.errors import InvalidArgument

__all__ = ["Call", "Graph", "Tensor", "graph_of", "inner_graph"]


@dataclass(frozen=True)
class Tensor:
    """A tensor between two calls; dimension 0 of `shape` is the batch, None stands for a free dimension."""

    number: int
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Call:
    """One use of a layer or of an operation of keras.ops.

    Attributes:
        operation: the layer, or the operation; one that is shared has several calls.
        args: as it was called, with a Tensor in the place of each symbolic tensor.
        kwargs: likewise.
        outputs: the tensors that it makes.
        within: what each nested model around it was called with beside its inputs, outermost first.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor, ...]
    within: tuple[Any, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments, each as often as it is there."""
        return tuple(value for value in keras.tree.flatten((self.args, self.kwargs)) if isinstance(value, Tensor))


@dataclass(frozen=True)
class Graph:
    """What a model computes: its calls in the order in which Keras runs them, those of nested models among them."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calls: tuple[Call, ...]


def graph_of(model: Any) -> Graph:
    """Return the graph of a model, nested models opened.

    Args:
        model: a built Functional or Sequential model, or a subclass that was made by passing inputs and outputs.

    Raises:
        InvalidArgument: if `model` is not a Keras 3 model, is not built, or has no graph of layers.
    """
    if not isinstance(model, keras.Model):
        came = f"{type(model).__module__}.{type(model).__name__}"
        raise InvalidArgument(f"Expected a Keras 3 model (keras.Model), got {came}. Load or rebuild it with `keras`.")
    functional = inner_graph(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise InvalidArgument(
            f"Expected a built model, but {model.name!r} does not know its input shape yet. Call "
            "model.build((None, ...)) or fit it first, or begin it with keras.Input."
        )
    if functional is None:
        raise InvalidArgument(
            f"Expected a Functional or Sequential model, got {model.name!r}, which is the subclassed model "
            f"{type(model).__name__} and has no graph of layers. Rebuild it as keras.Model(inputs, outputs)."
        )
    numbers = itertools.count()
    inputs = [_tensor(x, numbers) for x in functional.inputs]
    calls: list[Call] = []
    outputs = _trace(functional, inputs, (), calls, numbers)
    return Graph(tuple(inputs), tuple(outputs), tuple(calls))


def inner_graph(operation: Any) -> Any:
    """Return the Functional model that `operation` is or holds, or None if its calls cannot be followed."""
    if isinstance(operation, keras.Sequential):
        return operation._functional if type(operation).call is keras.Sequential.call else None
    if not isinstance(operation, keras.Model) or not hasattr(operation, "_nodes_by_depth"):
        return None
    functional = next(base for base in type(operation).__mro__ if base.__name__ == "Functional")
    return operation if type(operation).call is functional.call else None  # type: ignore[attr-defined]


def _trace(
    functional: Any, inputs: Sequence[Tensor], within: tuple[Any, ...], calls: list[Call], numbers: Iterator[int]
) -> list[Tensor]:
    known: dict[int, Tensor] = {id(x): tensor for x, tensor in zip(functional.inputs, inputs, strict=True)}
    # A model without a fixed input shape may be nested in one that has it, and EinsumDense forgets what it could know.
    free = _is_free(functional.inputs)
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.is_input or any(id(x) not in known for x in node.input_tensors):
                continue
            args, kwargs = node.arguments.fill_in(known)
            inner = inner_graph(node.operation)
            if inner is not None:
                fed = [x for x in keras.tree.flatten(args[0] if args else kwargs.get("inputs")) if x is not None]
                outputs = _trace(inner, fed, (*within, (args[1:], kwargs)), calls, numbers)
            else:
                free = free or _is_free(node.outputs)
                made = _infer(node.operation, args, kwargs) if free else node.outputs
                outputs = [_tensor(x, numbers) for x in made]
                calls.append(Call(node.operation, tuple(args), dict(kwargs), tuple(outputs), within))
            known.update((id(x), tensor) for x, tensor in zip(node.outputs, outputs, strict=True))
    return [known[id(x)] for x in functional.outputs]


def _infer(operation: Any, args: Any, kwargs: Any) -> list[Any]:
    def symbolic(value: Any) -> Any:
        return keras.KerasTensor(value.shape, value.dtype) if isinstance(value, Tensor) else value

    args, kwargs = keras.tree.map_structure(symbolic, (args, kwargs))
    made = list(keras.tree.flatten(operation.compute_output_spec(*args, **kwargs)))
    if _is_free(made) and not _is_free(x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)):
        # By tracing what the layer does, instead of asking it.
        made = list(keras.tree.flatten(keras.Operation.compute_output_spec(operation, *args, **kwargs)))
    return made


def _is_free(tensors: Iterable[Any]) -> bool:
    return any(None in x.shape[1:] for x in tensors)


def _tensor(x: Any, numbers: Iterator[int]) -> Tensor:
    return Tensor(next(numbers), tuple(x.shape), keras.backend.standardize_dtype(x.dtype))
