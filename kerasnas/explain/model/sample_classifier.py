"""A classifier of tables, images or both: its samples by input, and the log-probabilities that it gives them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.cost.graph import inner_graph
from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.file_classifier import FileClassifier, FileInput
from kerasnas.explain.model.image_batch import image_batch, require_channels_last
from kerasnas.explain.model.log_probabilities import log_probabilities
from kerasnas.explain.model.score_graph import ScoreGraph
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.model.scores import Scores

__all__ = ["SampleClassifier", "Samples", "sample_classifier"]

Samples = dict[str | None, np.ndarray]  # by the name of the input, which an only one need not have


@dataclass(frozen=True)
class SampleClassifier:
    """The samples of a classifier, checked, and what it says of them.

    Attributes:
        samples: arrays of shape (batch, height, width, channels) or (batch, features), by input; None names the only one.
        evaluate: takes such samples, any number of them; returns log-probabilities of shape (batch, classes), float64.
    """

    samples: Samples
    evaluate: Callable[[Samples], np.ndarray]


def sample_classifier(
    model: Any, x: ArrayLike | Mapping[str, ArrayLike], *, from_logits: bool, batch_size: int
) -> SampleClassifier:
    """Return a Keras model, an ONNX or LiteRT file, what `scores_of` returns, or a function as a classifier of samples.

    Args:
        model: as `permutation_importance` takes it.
        x: an array; of several inputs a dict by their names, or a list in their order where the model tells that order.
        from_logits: whether the outputs are scores; makes no difference for a Keras model whose last softmax or sigmoid is
            left out, for one image of any, and for `scores_of`.
        batch_size: the most samples in one call.

    Raises:
        InvalidArgument: if `model` is none of these or `x` does not fit it; from `evaluate`, if the outputs are no
            probabilities (or scores) of shape (batch, classes).
    """
    inputs = list(getattr(model, "inputs", None) or []) if isinstance(model, keras.Model) else []
    if isinstance(model, Scores):
        if isinstance(x, Mapping):
            raise InvalidArgument(
                "Expected x to be an array of images, as the scores are of images; came a dict. Pass its array."
            )
        return _of_images(model, image_batch(x, (None, *model.images.shape[1:])), batch_size)
    if len(inputs) == 1 and len(inputs[0].shape) == 4:
        view = ScoreView(model, _by_name(x, [inputs[0].name])[None])
        return _of_images(view, view.images, batch_size)
    if isinstance(model, str | os.PathLike):
        file = FileClassifier(model)
        samples: dict[Any, Any] = _by_name(x, [one.name for one in file.inputs])
        samples = {name: _fitted(array, one) for (name, array), one in zip(samples.items(), file.inputs, strict=True)}
        run = _of_file(file, from_logits)
    elif inputs:
        samples = _by_name(x, [one.name for one in inputs])
        for array, one in zip(samples.values(), inputs, strict=True):
            _check_shape(one.name, np.shape(array), one.shape, several=len(inputs) > 1)
        if len(model.outputs) != 1:
            raise InvalidArgument(
                f"Expected a model with one output, (batch, classes); '{model.name}' has {len(model.outputs)}. "
                "Pass keras.Model(model.inputs, model.outputs[i])."
            )
        run, from_logits = _of_keras(model, from_logits)
    elif isinstance(model, keras.Model) and not model.built:
        raise InvalidArgument(f"Expected a built model; '{model.name}' has no weights yet. Give it a keras.Input, or train it.")
    elif callable(model):
        samples = dict(x) if isinstance(x, Mapping) else {None: x}
        run = _of_function(model, single=not isinstance(x, Mapping))
    else:
        raise InvalidArgument(
            "Expected a Keras model, the path of an ONNX or LiteRT file, or a function of a NumPy batch; "
            f"came {type(model).__name__}."
        )

    def evaluate(batch: Samples) -> np.ndarray:
        outputs, count = np.asarray(run(batch)), len(next(iter(batch.values())))
        if outputs.ndim == 0 or len(outputs) != count:
            raise InvalidArgument(
                f"Expected one row of outputs for each of {count} samples; came shape {outputs.shape}. "
                "Return an array of shape (batch, classes)."
            )
        return log_probabilities(outputs, from_logits=from_logits)

    samples = _checked(samples)
    for array in samples.values() if not inputs else ():  # the inputs of a Keras model may have any number of channels
        if array.ndim == 4:
            require_channels_last(array)
    return SampleClassifier(samples, _batched(evaluate, batch_size))


def _of_images(scores: Scores, images: np.ndarray, batch_size: int) -> SampleClassifier:
    def evaluate(batch: Samples) -> np.ndarray:
        return scores.log_probabilities(scores.evaluate(batch[None].astype(np.float32)))

    return SampleClassifier(_checked({None: images}), _batched(evaluate, min(batch_size, scores.chunk)))


def _of_file(file: FileClassifier, from_logits: bool) -> Callable[[Samples], Any]:
    def run(batch: Samples) -> Any:
        outputs = file(list(batch.values()))
        return outputs if from_logits or not file.rounding or outputs.ndim != 2 else _unrounded(outputs, file.rounding / 2)

    return run


def _unrounded(outputs: np.ndarray, half_step: float) -> np.ndarray:
    """Return probabilities that are nowhere surer than half of the step that they were rounded to; others as they came."""
    outputs = outputs.astype(np.float64)
    single = outputs.shape[1] == 1
    missed = 0.0 if single else np.abs(outputs.sum(axis=1) - 1).max()
    if outputs.min() < 0 or outputs.max() > 1 or missed > 1e-3 + outputs.shape[1] * half_step:
        return outputs
    if single:
        return np.clip(outputs, half_step, 1 - half_step)
    outputs = np.maximum(outputs, half_step)
    return np.asarray(outputs / outputs.sum(axis=1, keepdims=True))


def _check_shape(name: str, came: tuple[int, ...], wanted: tuple[int | None, ...], several: bool) -> None:
    fits = len(came) == len(wanted) and all(want in (None, got) for want, got in zip(wanted[1:], came[1:], strict=True))
    if not fits:
        shape = ", ".join("batch" if axis == 0 else str(size) for axis, size in enumerate(wanted))
        raise InvalidArgument(
            f"Expected '{name}' of shape ({shape}); came {came}. "
            + ("Several inputs are safest as a dict by name." if several else "Reshape the samples.")
        )


def _of_keras(model: Any, from_logits: bool) -> tuple[Callable[[Samples], Any], bool]:
    """Return what runs a model, before its last softmax or only sigmoid if it has one, and whether it gives scores."""
    graph = model._functional if isinstance(model, keras.Sequential) else model

    def run(batch: Samples) -> Any:
        arrays = keras.tree.pack_sequence_as(graph._inputs_struct, list(batch.values()))
        return keras.ops.convert_to_numpy(graph(arrays, training=False))

    if inner_graph(model) is None or (scores := ScoreGraph(graph)).head is None:
        return run, from_logits
    if scores.sigmoid and graph.outputs[0].shape[-1] != 1:
        return run, False  # each is a probability of its own, none of several classes

    def run_to_scores(batch: Samples) -> Any:
        return keras.ops.convert_to_numpy(scores.walk(list(batch.values()), _compute))

    return run_to_scores, True


def _compute(_path: str, _operation: Any, compute: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return compute(*args, **kwargs)


def _of_function(model: Callable[..., Any], single: bool) -> Callable[[Samples], Any]:
    settings = {"training": False} if isinstance(model, keras.Model) else {}

    def run(batch: Samples) -> Any:
        outputs = model(batch[None] if single else batch, **settings)
        return keras.ops.convert_to_numpy(outputs) if keras.ops.is_tensor(outputs) else outputs

    return run


def _batched(evaluate: Callable[[Samples], np.ndarray], size: int) -> Callable[[Samples], np.ndarray]:
    def run(samples: Samples) -> np.ndarray:
        starts = range(0, len(next(iter(samples.values()))), size)
        parts = [evaluate({name: array[at : at + size] for name, array in samples.items()}) for at in starts]
        if len({part.shape[1] for part in parts}) > 1:
            raise InvalidArgument(
                f"Expected the same classes for all samples; came {sorted({part.shape[1] for part in parts})} classes. "
                "Return an array of shape (batch, classes)."
            )
        return np.concatenate(parts)

    return run


def _by_name(x: Any, names: Sequence[Any]) -> dict[str | None, Any]:
    """Return `x` by input, in the order of `names`."""
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise InvalidArgument(f"Expected x to have the inputs {list(names)}; came {list(x)}. Name each input.")
        arrays = [x[name] for name in names]
    elif len(names) == 1:
        arrays = [x]
    elif isinstance(x, Sequence) and len(x) == len(names):
        arrays = list(x)
    else:
        raise InvalidArgument(
            f"Expected x to be a list of arrays for the inputs {list(names)}, or a dict by these names; "
            f"came {type(x).__name__}."
        )
    return dict(zip([None] if len(names) == 1 else names, arrays, strict=True))


def _fitted(array: Any, one: FileInput) -> np.ndarray:
    """Return an array as the file takes it."""
    if one.dtype is None:
        raise InvalidArgument(f"Expected a file that takes numbers; its input {one.name!r} takes {one.kind}. Wrap it.")
    if len(one.shape) == 4:
        values = image_batch(array, one.shape)
    else:
        values = _array(array)
        if values.ndim != len(one.shape) or any(
            size not in (None, came) for size, came in zip(one.shape[1:], values.shape[1:], strict=True)
        ):
            raise InvalidArgument(
                f"Expected x of shape {one.shape} for the input {one.name!r} of the file, None for any size; came "
                f"shape {values.shape}."
            )
    cast = values.astype(one.dtype)
    if one.dtype.kind != "f" and not np.array_equal(cast, values):
        raise InvalidArgument(
            f"Expected values of type {one.dtype} for the input {one.name!r} of the file; came {values.dtype} that "
            "it cannot hold. Convert them as the file expects them."
        )
    return cast


def _array(one: Any) -> np.ndarray:
    try:
        array = np.array(one)
    except ValueError as error:  # parts of different shapes
        raise InvalidArgument(
            f"Expected an array of samples; came {type(one).__name__} of parts that do not fit together: {error} Several "
            "inputs of a function are a dict by name."
        ) from error
    if array.dtype.kind not in "biuf":
        raise InvalidArgument(f"Expected x of real numbers; came dtype {array.dtype}. Convert it first.")
    return array


def _checked(samples: Mapping[Any, Any]) -> Samples:
    arrays = {name: _array(one) for name, one in samples.items()}
    for name, array in arrays.items():
        if array.ndim not in (2, 4) or 0 in array.shape:
            of = "" if name is None else f" for the input {name!r}"
            raise InvalidArgument(
                f"Expected x of shape (batch, height, width, channels) or (batch, features){of}; came shape "
                f"{array.shape}. Add the missing axis, or flatten the features."
            )
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise InvalidArgument(f"Expected as many samples for each input, and an input; came {sorted(counts)} samples.")
    if counts == {1}:
        raise InvalidArgument("Expected at least two samples; came one. There is nothing to permute it with.")
    return arrays
