"""When two compiled models are one training problem."""

import hashlib
import inspect
import json
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasnas.cost.graph import Call, Graph, Tensor, graph_of, inner_graph
from kerasnas.errors import InvalidArgument

__all__ = ["fingerprint"]

_COMMUTATIVE = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)
# What the order of random numbers, a name or an earlier call settles, and not the problem.
_IGNORED_SETTINGS = frozenset({"name", "seed", "build_config", "compile_config"})
_CONSTANTS: dict[type, Callable[[Any], float]] = {
    keras.initializers.Zeros: lambda _: 0.0,
    keras.initializers.Ones: lambda _: 1.0,
    keras.initializers.Constant: lambda initializer: initializer.value,
}


class _NoClaimError(Exception):
    """Something that its configuration does not describe."""


def fingerprint(model: keras.Model, extra: Any = ()) -> str | None:
    """Return a digest that two models share if training them is the same problem but for its random numbers.

    Alike are models that differ in names, in seeds, in metrics, in how they are run (`jit_compile`, `steps_per_execution`,
    `run_eagerly`), in the order in which independent layers were made, in the nesting of models, or in the order of what
    a symmetric merge (Add, Average, Maximum, Minimum, Multiply) takes. Whatever else changes the function or its training
    tells them apart: the graph, settings, initialisers and regularisers of layers, shapes and types, which layers and
    weights are shared or frozen, the optimizer with its schedule, the loss. The digest is the same in every process and on
    every Keras backend.

    Weights count where they are seen not to be as initialised: those of adapted layers, and of layers of a pretrained model,
    whose initialisers make something else. What cannot be seen belongs into `extra`: where the kernels of EinsumDense and of
    attention came from if they have no bias, settings of `fit`, what callbacks do. With several inputs or outputs their names
    count, since data may be fed by name.

    Args:
        model: a compiled, untrained Functional or Sequential model.
        extra: plain values (None, booleans, numbers, strings, lists, dicts of them) that matter beside the model, such as the
            arguments of `fit`.

    Returns:
        64 hexadecimal digits; None where no claim can be made: for a subclassed, uncompiled or trained model, a nested one
        that is given a mask, a Lambda layer, or a function or class that is neither of Keras nor registered with
        `keras.saving.register_keras_serializable`.

    Raises:
        InvalidArgument: if `model` is not a Keras 3 model, or `extra` is not plain.

    Example:
        >>> def build(rate, name):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name=name)])
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> fingerprint(build(0.1, "a")) == fingerprint(build(0.1, "b"))
        True
        >>> fingerprint(build(0.1, "a")) == fingerprint(build(0.2, "a"))
        False
    """
    if not isinstance(model, keras.Model):
        came = f"{type(model).__module__}.{type(model).__name__}"
        raise InvalidArgument(f"Expected a Keras 3 model (keras.Model), got {came}. Pass what was built and compiled.")
    try:
        plain_extra = _plain(json.loads(json.dumps(extra, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"Expected `extra` to be plain values that JSON can hold, but {error}.") from error
    if not model.compiled or inner_graph(model) is None or not _is_of_keras(type(model)):
        return None
    try:
        problem = [_describe_training(model), _describe_graph(model), plain_extra]
    except _NoClaimError:
        return None
    return _digest(problem)


def _describe_graph(model: keras.Model) -> Any:
    """Return the calls that the outputs need, numbered by a walk from the outputs back, which nothing but the graph settles."""
    graph = graph_of(model)
    trained = {id(variable) for variable in model.trainable_variables}
    described = {id(call.operation): _describe_operation(call.operation, trained) for call in graph.calls}
    numbers: dict[int, int] = {tensor.number: i for i, tensor in enumerate(graph.inputs)}
    variables: dict[int, int] = {}
    calls = []
    for call in _order(graph, described):
        # A layer is shared where its weights are: sharing one without weights changes nothing.
        weights = [variables.setdefault(id(v), len(variables)) for v in getattr(call.operation, "weights", ())]
        calls.append([described[id(call.operation)], weights, _arguments(call, lambda t: numbers[t.number])])
        for tensor in call.outputs:
            numbers[tensor.number] = len(numbers)
    several = [len(graph.inputs) > 1, len(graph.outputs) > 1]
    return {
        "inputs": [[list(tensor.shape), tensor.dtype] for tensor in graph.inputs],
        "calls": calls,
        "outputs": [numbers[tensor.number] for tensor in graph.outputs],
        "names": [_names(x) if many else None for x, many in zip((model.inputs, model.outputs), several, strict=True)],
    }


def _names(tensors: Any) -> list[str]:
    return [tensor._keras_history.operation.name for tensor in tensors]


def _order(graph: Graph, described: dict[int, Any]) -> list[Call]:
    """Return the calls behind the outputs in depth-first order, each after what it reads, what it reads in its order.

    What a symmetric merge takes has no order but that of the digests of the trees behind it. Among equals the given
    order stays, so that two models alike may in rare cases of shared layers be told apart, but never the reverse.
    """
    digest = {tensor.number: _digest(["input", i]) for i, tensor in enumerate(graph.inputs)}
    for call in graph.calls:
        whole = _digest([described[id(call.operation)], _arguments(call, lambda t: digest[t.number])])
        for i, tensor in enumerate(call.outputs):
            digest[tensor.number] = _digest([whole, i])

    maker = {tensor.number: call for call in graph.calls for tensor in call.outputs}
    order: dict[int, Call] = {}
    pending = [(tensor, False) for tensor in reversed(graph.outputs)]
    while pending:
        tensor, inputs_done = pending.pop()
        maybe = maker.get(tensor.number)
        if maybe is None or id(maybe) in order:
            continue
        if inputs_done:
            order[id(maybe)] = maybe
            continue
        inputs = maybe.inputs
        if type(maybe.operation) in _COMMUTATIVE:  # a subclass may weigh them
            inputs = tuple(sorted(inputs, key=lambda t: digest[t.number]))
        pending.append((tensor, True))
        pending.extend((each, False) for each in reversed(inputs))
    return list(order.values())


def _arguments(call: Call, key: Callable[[Tensor], Any]) -> Any:
    """Return what `call` is called with, each tensor as its key."""
    tensors = [key(tensor) for tensor in call.inputs]
    if type(call.operation) in _COMMUTATIVE:
        tensors.sort()
    if any(_has_tensors([args, kwargs]) for args, kwargs in call.within):  # a mask of a nested model
        raise _NoClaimError
    around = [_plain_arguments([args, kwargs]) for args, kwargs in call.within]
    return [tensors, _plain_arguments([call.args, call.kwargs]), [each for each in around if each != [[], {}]]]


def _has_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_tensors(each) for name, each in value.items() if name != "inputs")
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_has_tensors, value)))


def _plain_arguments(value: Any) -> Any:
    if isinstance(value, Tensor):
        return "tensor"
    if isinstance(value, dict):
        return {str(k): _plain_arguments(v) for k, v in value.items() if v is not None and k != "inputs"}
    if isinstance(value, list | tuple):
        return [_plain_arguments(v) for v in value]
    if isinstance(value, slice):
        return ["slice", *map(_plain, (value.start, value.stop, value.step))]
    if keras.ops.is_tensor(value) and not isinstance(value, keras.Variable):
        value = keras.ops.convert_to_numpy(value)
    return _plain(value)


def _describe_operation(operation: Any, trained: set[int]) -> Any:
    parts = list(operation._flatten_layers()) if isinstance(operation, keras.Layer) else [operation]
    functions = [_functions_of(part) for part in parts]
    return [
        [type(operation).__module__, _name_of(type(operation))],
        _settings(_config_of(operation)),
        functions,
        [[list(v.shape), str(v.dtype), id(v) in trained] for v in getattr(operation, "weights", ())],
        [_moved_weights(part) for part in parts if isinstance(part, keras.Layer)],
    ]


def _describe_training(model: keras.Model) -> Any:
    optimizer, loss = model.optimizer, model.loss
    excluded = (getattr(optimizer, f"_exclude_from_weight_decay{end}", None) for end in ("", "_pattern"))
    if any(excluded) or int(keras.ops.convert_to_numpy(optimizer.iterations)) > 0:
        raise _NoClaimError
    # Keras has no public way to read them but one that serialises the metrics as well.
    weights = model._compile_loss._user_loss_weights if loss is not None else None
    if len(model.outputs) == 1:  # which may be named or listed
        loss, weights = _only(loss), _only(weights)
    # Plain again: TensorFlow wraps the dict of a loss for each output, and JSON does not take the wrapper.
    return [_describe_object(optimizer), _plain(keras.tree.map_structure(_describe_loss, loss)), _plain(weights)]


def _only(value: Any) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        return next(iter(value.values()))
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _describe_loss(loss: Any) -> Any:
    try:
        loss = keras.losses.get(loss)
    except ValueError as error:  # Keras would say so at the first step
        raise _NoClaimError from error
    return loss if loss is None else _name_of(loss) if isinstance(loss, types.FunctionType) else _describe_object(loss)


def _describe_object(value: Any) -> Any:
    # Arguments such as the delta of Huber stand in no configuration.
    own = _plain_arguments(getattr(value, "_fn_kwargs", {}))
    return [_name_of(type(value)), _settings(_config_of(value)), _functions_of(value), own]


def _config_of(value: Any) -> Any:
    try:
        config = value.get_config()
        arguments = inspect.signature(type(value)).parameters.values()
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise _NoClaimError from error
    if not _is_of_keras(type(value).__init__):
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        named = {each.name for each in arguments if each.kind in kinds}
        if not named <= config.keys():  # an argument that the class's own `get_config` forgets may tell two apart
            raise _NoClaimError
    return config


def _functions_of(value: Any) -> dict[str, str]:
    """Return the names of the functions that `value` was made with.

    A configuration takes a function of one's own for that of Keras which bears its name, and knows a lambda by its bytes.
    """
    if isinstance(value, layers.Lambda) or (hasattr(value, "adapt") and not isinstance(value, layers.Normalization)):
        raise _NoClaimError
    # Keras wraps `build` and `quantize` in each layer; what has a configuration is described by it.
    found = {name: each for name, each in vars(value).items() if callable(each) and name not in ("build", "quantize")}
    return {name: _name_of(each) for name, each in found.items() if not hasattr(each, "get_config")}


def _name_of(value: Any) -> str:
    """Return the name of a class or function of Keras, or the one that it is registered under."""
    if _is_of_keras(value):
        return f"keras>{value.__qualname__}"
    if not hasattr(value, "__name__"):
        raise _NoClaimError
    name = keras.saving.get_registered_name(value)
    if keras.saving.get_registered_object(name) is not value:
        raise _NoClaimError
    return str(name)


def _is_of_keras(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("keras.")


def _moved_weights(layer: Any) -> Any:
    """Return the values of the weights of `layer` if they are not as initialised, as far as that can be seen."""
    moved, unknown = False, []
    for variable in layer._trainable_variables + layer._non_trainable_variables:
        own = "depthwise" if variable.name == "kernel" and hasattr(layer, "depthwise_initializer") else variable.name
        initializer = getattr(layer, f"{own.removesuffix('_kernel')}_initializer", getattr(layer, f"{own}_initializer", None))
        if initializer is None:
            unknown.append(variable)
        elif type(initializer) in _CONSTANTS:
            made = [_CONSTANTS[type(initializer)](initializer)]
            if variable.name == "bias" and getattr(layer, "unit_forget_bias", False):
                made = [0.0, 1.0]  # LSTM: 1 for the forget gate
            values = _values(variable)
            moved = moved or not bool(np.isin(values, np.asarray(made, values.dtype)).all())
        elif not hasattr(initializer, "seed"):  # an array, or Identity, whose gain no configuration tells
            unknown.append(variable)
        # It draws the same again; that of EinsumDense is a copy of the layer's, with a seed that nobody keeps.
        elif not moved and isinstance(getattr(initializer, "seed", None), int) and not isinstance(layer, layers.EinsumDense):
            drawn = keras.ops.convert_to_numpy(initializer(variable.shape, variable.dtype))
            moved = not np.array_equal(_values(variable), drawn)
    if moved:
        unknown = layer._trainable_variables + layer._non_trainable_variables
    return [_plain(_values(variable)) for variable in unknown]


def _values(variable: keras.Variable) -> Any:
    return np.asarray(variable.numpy())


def _settings(value: Any) -> Any:
    """Return a configuration without what does not matter, and with every class in it made sure of."""
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            if "DTypePolicy" in value["class_name"] or value["class_name"] == "Functional":
                return _plain(value)  # names matter in it
            known = f"{value.get('module')}.".startswith("keras.")
            registered = value.get("registered_name")
            # Functions are looked at by _functions_of.
            if value["class_name"] != "function" and not known and keras.saving.get_registered_object(registered) is None:
                raise _NoClaimError
            return [value["class_name"] if known else registered, _settings(value["config"])]
        return {str(key): _settings(each) for key, each in value.items() if key not in _IGNORED_SETTINGS}
    return [_settings(each) for each in value] if isinstance(value, list | tuple) else _plain(value)


def _plain(value: Any) -> Any:
    """Return `value` as JSON that is the same for equal values."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            raise _NoClaimError
        content = np.ascontiguousarray(value).tobytes()
        return {"array": [str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) or value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    raise _NoClaimError


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
