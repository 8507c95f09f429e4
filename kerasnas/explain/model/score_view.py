"""One view of any Keras 3 image classifier: float32, one score per class before the softmax, inner layers in reach."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.cost.graph import inner_graph
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.image_batch import image_batch, sample_batch
from kerasnas.explain.model.score_graph import ScoreGraph, nested_graph
from kerasnas.explain.model.scores import Scores
from kerasnas.explain.model.weights_copied import copy_weights

__all__ = ["ScoreView", "SpatialLayer", "is_keras_2"]

_LEAST, _LEAST_SINGLE = 1e-30, 1e-7  # probabilities beyond these are taken for them


@dataclass(frozen=True)
class SpatialLayer:
    """A layer whose output is a feature map (batch, height, width, features) with more than one position."""

    path: str
    height: int
    width: int
    convolutional: bool


class ScoreView(Scores):
    """A read-only view of a classifier: `score(x)` is what explanations differentiate or perturb.

    The graph of the model is replayed node by node, into nested models too, so that the last softmax or sigmoid can be
    left out and any inner feature map read, without a node or a weight of the model being added or changed. Explaining
    probabilities fails where it matters: a softmax that is sure has a gradient of zero.

    With one output unit z there are two classes, with scores -z and z. Models of mixed precision are computed on a
    float32 copy.

    Args:
        model: the classifier.
        images: shape (batch, height, width, channels); without `images_only` of any shape that a model takes.
        images_only: whether a model of anything else, such as vectors, is refused.

    Attributes:
        channels_first: what tells that the images have channels first; empty if they have them last.
        spatial_layers: the layers with a feature map, in the order in which they are computed.

    Raises:
        InvalidArgument: if `model` is not a built Keras 3 Functional or Sequential model with one input (of images) and one
            output of shape (batch, classes), if `images` do not fit it, if it takes images with channels first, though maps
            of them are wanted (`images_only`), or if Keras does not run on TensorFlow.
    """

    def __init__(self, model: Any, images: ArrayLike, *, images_only: bool = True) -> None:
        _require_tensorflow()
        graph = _functional(model)
        self.images = (image_batch if images_only else sample_batch)(images, graph.inputs[0].shape)
        _require_scores(graph)
        self.channels_first = _channels_first(graph)
        if images_only:
            self.require_channels_last()
        # Keras has no public walk of a graph; _flatten_layers and _run_through_graph are what its own cloning uses.
        if any(layer.compute_dtype != "float32" for layer in graph._flatten_layers()):
            graph = _float32_copy(graph)
        self._graph = graph
        self._score_graph = ScoreGraph(graph)
        calls: list[tuple[str, Any, Any]] = []

        def note(path: str, layer: Any, _: Any, value: Any) -> Any:
            calls.append((path, layer, value))
            return value

        first = self.replay(self.pixels(0, 1), note)
        self.single = int(first.shape[-1]) == 1
        head = self._score_graph.head
        self.sigmoid = self.single or self._score_graph.sigmoid
        self._squashed = head is None and self._gives_probabilities()
        self.score_kind = "logit" if head is not None else "log-probability" if self._squashed else "output"
        self.classes = max(2, int(first.shape[-1]))
        self.spatial_layers = tuple(
            SpatialLayer(path, value.shape[1], value.shape[2], _is_convolution(layer))
            for path, layer, value in calls
            if isinstance(layer, keras.Layer) and _is_feature_map(value)
        )

    def require_channels_last(self, otherwise: str = "") -> None:
        """Raise InvalidArgument if the model has channels first, for what tells channels by the last axis.

        Args:
            otherwise: what else the user may do, behind "Rebuild it".
        """
        if self.channels_first:
            raise InvalidArgument(f"Expected channels last; {self.channels_first}{otherwise}.")

    def score(self, x: Any, feature: str | None = None) -> Any:
        """Compute the class scores of a tensor of images, and the feature map of the layer `feature` if one is named.

        Args:
            x: tensor of shape (batch, height, width, channels).
            feature: the path of one of `spatial_layers`.

        Returns:
            Scores of shape (batch, classes); with `feature`, the pair (feature map, scores).
        """
        seen: dict[str, Any] = {}  # the last call counts if a layer is called more than once

        def note(path: str, _: Any, __: Any, value: Any) -> Any:
            if _is_feature_map(value):
                seen[path] = value
            return value

        scores = self.unit_scores(self.replay(x, note))
        if self.single:
            scores = keras.ops.concatenate([-scores, scores], axis=-1)
        return scores if feature is None else (seen[feature], scores)

    def unit_scores(self, outputs: Any) -> Any:
        """Return the score of each output unit: of probabilities the logarithm, of a single one the logit; else the outputs."""
        scores = keras.ops.cast(outputs, "float32")
        if not self._squashed:
            return scores
        if self.single:
            inside = keras.ops.clip(scores, _LEAST_SINGLE, 1 - _LEAST_SINGLE)
            return keras.ops.log(inside) - keras.ops.log1p(-inside)
        return keras.ops.log(keras.ops.maximum(scores, _LEAST))

    def _gives_probabilities(self) -> bool:
        """Tell probabilities by the last operation, and what comes out for these images and for ones far from any image."""
        if self._score_graph.unbounded:
            return False
        near = self.pixels(0, 4)
        far = np.random.default_rng(0).standard_normal(near.shape).astype(np.float32) * (1 + 100 * np.abs(near).max())
        probes = [self.pixels(i, i + self.chunk) for i in range(0, len(self.images), self.chunk)]
        if near.ndim == 4:  # elsewhere there may be numbers of words, of which none is negative
            probes += [-near, far]
        outputs = np.concatenate([np.asarray(self.replay(x, lambda *call: call[-1])) for x in probes])
        within = bool(np.all((outputs >= 0) & (outputs <= 1)))
        return within and (self.single or bool(np.allclose(outputs.sum(axis=1), 1, atol=1e-3)))

    def gradient(self, x: np.ndarray, label: int) -> np.ndarray:
        """Return the gradient of the score of one class by float32 images; their shape.

        Raises:
            InvalidArgument: if the score does not depend on the images by a gradient.
        """
        parts = [self._gradient(x[i : i + self.chunk], label) for i in range(0, len(x), self.chunk)]
        return np.concatenate([np.asarray(part) for part in parts])

    @cached_property
    def _gradient(self) -> Callable[[np.ndarray, int], Any]:
        import tensorflow as tf
        from tf_explain.core.vanilla_gradients import VanillaGradients

        # What tf-explain compiles is traced anew for every class and keeps every model; this is its inside.
        compute = VanillaGradients.compute_gradients.python_function
        found = []  # what is raised while a function is compiled comes out as another error

        def run(x: Any, label: Any) -> Any:
            gradient = compute(x, self.score, label)
            found.append(gradient is not None)
            return tf.zeros_like(x) if gradient is None else gradient

        compiled = tf.function(run).get_concrete_function(self._batch_spec, tf.TensorSpec((), tf.int32))
        if not all(found):
            kind = keras.backend.standardize_dtype(self._graph.inputs[0].dtype)
            came = "rounds or compares" if "int" not in kind else f"takes {kind}, whole numbers, for which there is none"
            raise InvalidArgument(
                f"Expected a model whose score has a gradient by the image; came one that {came}. "
                "Use occlusion or RISE, which need none."
            )
        return lambda x, label: compiled(tf.constant(x), tf.constant(label))

    def _evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._compiled(x))

    @cached_property
    def _compiled(self) -> Callable[[np.ndarray], Any]:
        import tensorflow as tf

        run = tf.function(self.score).get_concrete_function(self._batch_spec)
        return lambda x: run(tf.constant(x))

    @property
    def _batch_spec(self) -> Any:
        import tensorflow as tf

        return tf.TensorSpec((None, *self.images.shape[1:]), tf.float32)

    def replay(self, x: Any, edit: Callable[[str, Any, Any, Any], Any]) -> Any:
        """Run the graph call by call, into nested models too, and return what comes out of it.

        Args:
            x: tensor of shape (batch, height, width, channels).
            edit: takes the path of a layer or operation, it, the first tensor that it is given, and what it computes; returns
                what stands for that. A nested model is told of after its inner layers, as what is given their value.

        Returns:
            The outputs, before a last softmax or sigmoid, shape (batch, units).
        """

        def call(path: str, operation: Any, compute: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            value = compute(*args, **kwargs)
            if operation is None:
                return value
            taken = next((each for each in keras.tree.flatten((args, kwargs)) if hasattr(each, "shape")), None)
            return edit(path, operation, taken, value)

        return self.walk(x, call)

    def walk(self, x: Any, call: Callable[[str, Any, Callable[..., Any], Any, Any], Any]) -> Any:
        """Go through the graph call by call, into nested models too, and leave it to `call` what is computed.

        Args:
            x: what stands for the images.
            call: takes the path of a layer or operation, it, the function that computes it, and the arguments and keyword
                arguments of that function, trees in which stand values that `call` returned before; returns what stands
                for its value. The operation is None where a value is only cast to what a model takes. A nested model is
                told of after its inner layers, with the function that returns their value.

        Returns:
            What stands for the outputs, before a last softmax or sigmoid.
        """
        return self._score_graph.walk([x], call)


def _require_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected Keras to run on TensorFlow, as tf-explain does; came backend {keras.backend.backend()!r}. Save "
            "the model as a .keras file, and load and explain it in a process started with KERAS_BACKEND=tensorflow."
        )


def _functional(model: Any) -> Any:
    """Return the Functional graph of `model`; nothing is built or changed."""
    if not isinstance(model, keras.Model):
        raise InvalidArgument(
            f"Expected a Keras 3 model (keras.Model); came {type(model).__module__}.{type(model).__name__}. {_instead(model)}"
        )
    graph = inner_graph(model)
    if graph is None and type(model).call is keras.Sequential.call:
        raise InvalidArgument(
            f"Expected a built model; came Sequential {model.name!r} without an input shape. "
            "Start it with keras.Input(shape), call model.build(shape), or train it first."
        )
    if graph is None:  # or it has a graph, and a call of its own that does more
        raise InvalidArgument(
            f"Expected a Functional or Sequential model; came the subclassed model {type(model).__name__} "
            f"({model.name!r}), whose layers cannot be followed. Rebuild it as keras.Model(inputs, outputs), or "
            "explain model.predict with occlusion or RISE, which need nothing but its answers."
        )
    return graph


def _instead(model: Any) -> str:
    if is_keras_2(model):
        return "Rebuild it with Keras 3 and copy the weights."
    if isinstance(model, str | os.PathLike) and os.fspath(model).endswith((".keras", ".h5")):
        return "Pass keras.models.load_model(path)."
    if isinstance(model, str | os.PathLike) or callable(model):
        what = "A function" if callable(model) and not isinstance(model, os.PathLike) else "A file"
        return (
            f"{what} has answers, but no gradients and no layers to look at: occlusion, rise, shap_values, lime_weights and "
            "permutation_importance explain it; for anything else pass the Keras model."
        )
    return "Pass the model."


def is_keras_2(model: Any) -> bool:
    """Tell a model of tf_keras, or of a class derived from it."""
    return any("tf_keras" in kind.__module__ for kind in type(model).__mro__)


def _require_scores(graph: Any) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidArgument(
            f"Expected a model with one input and one output; {graph.name!r} came with {len(graph.inputs)} and "
            f"{len(graph.outputs)}. Explain keras.Model(inputs, outputs) of one image and one output."
        )
    shape = graph.outputs[0].shape
    if len(shape) != 2 or shape[-1] is None:
        raise InvalidArgument(
            f"Expected a classifier with output (batch, classes); {graph.name!r} came with output {tuple(shape)}. "
            "Reduce the output to one score per class, for instance with GlobalAveragePooling2D."
        )


def _channels_first(graph: Any) -> str:
    """Return what tells that images have channels first, and what to do; empty if nothing does."""
    for layer in graph._flatten_layers():
        if getattr(layer, "data_format", None) == "channels_first" and any(len(w.shape) == 4 for w in layer.weights):
            return f"layer {layer.name!r} came with data_format='channels_first'. Rebuild it"
    for operation in graph.operations:
        axes = (0, *getattr(operation, "dims", ())) if isinstance(operation, keras.layers.Permute) else _axes(operation)
        takes = [tensor for node in operation._inbound_nodes for tensor in node.input_tensors]
        if axes == (0, 2, 3, 1) and any(tensor is graph.inputs[0] for tensor in takes):
            return (
                f"{operation.name!r} came, which puts the first axis of the images there. Explain the model behind it, on "
                "images with channels last"
            )
    return ""


def _axes(operation: Any) -> tuple[int, ...]:
    """Return the order in which a `keras.ops.transpose` puts the axes; none of another operation."""
    return tuple(getattr(operation, "axes", None) or ()) if type(operation).__name__ == "Transpose" else ()


def _is_convolution(layer: Any) -> bool:
    return nested_graph(layer) is None and any(len(weight.shape) == 4 for weight in layer.weights)


def _is_feature_map(value: Any) -> bool:
    shape: Any = getattr(value, "shape", ())
    return len(shape) == 4 and tuple(shape[1:3]) != (1, 1)


def _float32_copy(graph: Any) -> Any:
    def copy_layer(layer: Any) -> Any:
        return type(layer).from_config(_with_float32(layer.get_config()))

    start = keras.tree.map_structure(lambda x: keras.Input(batch_shape=x.shape, dtype="float32"), graph.input)
    try:
        copy = keras.models.clone_model(graph, input_tensors=start, clone_function=copy_layer, recursive=True)
        copy_weights(graph, copy)
    except Exception as error:
        raise InvalidArgument(
            f"Expected a model that can be rebuilt in float32; {graph.name!r} of mixed precision could not: "
            f"{error} Rebuild it under the float32 policy and copy the weights."
        ) from error
    return copy


def _with_float32(config: Any) -> Any:
    if isinstance(config, dict):
        if "DTypePolicy" in str(config.get("class_name")):
            return "float32"
        return {
            key: "float32" if key == "dtype" and "float" in str(value) else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(value) for value in config)
    return config
