"""A faithful copy of a trained Keras 3 model."""

import copy as copies
import json
import os
import zipfile
from typing import Any

import keras
import numpy as np

from kerasnas.compress.channels.replay import is_described
from kerasnas.compress.kernels import walk_layers
from kerasnas.errors import InvalidArgument
from kerasnas.keras_file import load_model

__all__ = [
    "clone_trained",
    "compile_as",
    "copy_state",
    "load_made_of",
    "not_rebuilt",
    "own_classes",
    "readable_config",
    "seed_layers",
]


def clone_trained(model: keras.Model, *, seed: int | None = None) -> keras.Model:
    """Return a model of the same class, names, weights, trainable flags and compile settings that shares nothing.

    The optimizer starts fresh. With a seed, all random layers (dropout, augmentation) of the copy draw from it.

    Raises:
        InvalidArgument: if the model cannot be rebuilt from its config.
    """
    try:
        # Not clone_model: it renames the inputs, which exported files carry on.
        config, known = readable_config(model)
        with keras.saving.custom_object_scope(known):
            copy = type(model).from_config(config)
        if not copy.built:
            copy.build(model.input_shape)
        if len(copy.weights) != len(model.weights):
            raise ValueError("it shares a layer with a model nested in it, which a config cannot say")
        copy_state(model, copy)
    except Exception as error:
        raise not_rebuilt(model, error) from error
    compile_as(model, copy)
    if seed is not None:
        seed_layers(copy, seed)
    return copy


def readable_config(model: keras.Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the config of a model, and what reading it back takes beside Keras: its own classes and functions, by name."""
    config = copies.deepcopy(model.get_config())
    return config, own_classes(model) | _named_functions(config, model)


def load_made_of(model: keras.Model, path: str | os.PathLike[str]) -> keras.Model:
    """Load a network that was made of `model`: the classes and functions of its layers are those of `model`.

    Raises:
        InvalidArgument: if it cannot be loaded.
    """
    with keras.saving.custom_object_scope(own_classes(model)):
        if not any(isinstance(layer, keras.layers.Lambda) for layer in walk_layers(model)):
            return load_model(path)
        with zipfile.ZipFile(path) as file:
            content = json.loads(file.read("config.json"))
        with keras.saving.custom_object_scope(_named_functions(content["config"], model)):
            network = keras.saving.deserialize_keras_object(content)
        network.load_weights(path)
    return network


def _named_functions(config: dict[str, Any], model: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Put names in the place of the functions of Lambda layers, which Keras refuses to read back from bytes; return them."""
    functions: dict[str, Any] = {}
    graph = model._functional if isinstance(model, keras.Sequential) else model
    operations = {operation.name: operation for operation in graph.operations} if is_described(model) else {}
    for entry in config.get("layers", ()) if operations else ():  # a subclass that builds itself tells of none
        settings = entry["config"]
        layer, inner = operations.get(settings["name"]), (*path, settings["name"])
        if isinstance(layer, keras.layers.Lambda):
            for setting, function in (("function", layer.function), ("output_shape", layer._output_shape)):
                if callable(function):
                    settings[setting] = f"{setting} of {'/'.join(inner)}"
                    functions[settings[setting]] = function
        elif isinstance(layer, keras.Model):
            functions |= _named_functions(settings, layer, inner)
    return functions


def own_classes(model: keras.Model) -> dict[str, type]:
    """Return the layer classes of a model that are not Keras' own, by name: what a config needs to be read back."""
    # Keras' own have the names of operations of keras.ops, and would stand in their place.
    return {kind.__name__: kind for kind in map(type, walk_layers(model)) if not kind.__module__.startswith("keras.")}


def not_rebuilt(model: keras.Model, error: Exception) -> InvalidArgument:
    """Return the error to raise where a model cannot be made again from its config."""
    return InvalidArgument(
        f"Expected a model that Keras can rebuild from its config; '{model.name}' failed with: {error}. "
        "Give custom layers a get_config() that holds all arguments of their __init__."
    )


def compile_as(model: keras.Model, copy: keras.Model) -> None:
    """Compile a copy as the model is, if it is, with a fresh optimizer.

    Raises:
        InvalidArgument: if its compile settings cannot be saved.
    """
    if not model.compiled:
        return
    try:
        copy.compile_from_config(model.get_compile_config())
    except Exception as error:
        raise InvalidArgument(
            f"Expected compile settings that Keras can save; those of '{model.name}' failed with: {error}. "
            "Register custom losses, metrics and optimizers with @keras.saving.register_keras_serializable()."
        ) from error


def seed_layers(model: keras.Model, seed: int, step: int = 0) -> None:
    """Give all random layers (dropout, augmentation) of a model a seed that follows from `seed` and `step`."""
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for index, variable in enumerate(states):
        variable.assign(np.array([seed, step * len(states) + index], dtype=variable.dtype))


def copy_state(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Give `target`, a layer or model that was made from the config of `source`, its weights and trainable flags.

    Nested layers are paired by their names within a model, and by their order within other layers.
    """
    state: dict[str, Any] = {}
    source.save_own_variables(state)
    # Not set_weights: adapted layers (Normalization) refresh what they derive from their weights only in this call.
    if state:
        target.load_own_variables({key: keras.ops.convert_to_numpy(value) for key, value in state.items()})
    if source.trainable != target.trainable:
        target.trainable = source.trainable
    if isinstance(source, keras.Model):
        # By name: a copy may list its layers in another order.
        children = [(layer, target.get_layer(layer.name)) for layer in source.layers]
    else:
        children = list(zip(source._layers, target._layers, strict=True))
    for pair in children:
        copy_state(*pair)
