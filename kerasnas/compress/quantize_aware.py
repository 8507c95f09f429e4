"""Training with the rounding of 8 bits in view, through tfmot, to a verified LiteRT file."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
from sklearn.model_selection import train_test_split

import kerasnas
from kerasnas.atomic import atomic_path
from kerasnas.compress.channels.scratch import class_indices
from kerasnas.compress.checks import check_converged, check_model, check_parity, check_settings
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.compress.training_data import all_samples, training_data
from kerasnas.compress.translate import translate
from kerasnas.errors import ExportMismatch, InvalidArgument, KerasNASError
from kerasnas.export_checks import check_class_names, check_computation, check_preprocessing, check_shares, is_within
from kerasnas.litert import append_facts, convert_saved_model, open_litert, operators

__all__ = ["QuantizedFile", "quantize_aware", "trainable_twin"]

# Batches whose activations the ranges begin with.
_RANGED = 32


@dataclass(frozen=True)
class QuantizedFile:
    """A LiteRT file of 8 bits that was trained for them; it stands wherever a path to the file does.

    Attributes:
        path: where the file lies.
        accuracy: of the file on the samples kept for measuring, a share in [0, 1].
        keras_accuracy: of the Keras model on them.
        agreement: share of them to which both give the same class; the least over the batch sizes.
        twin_agreement: likewise, of the file and the network that was trained.
        n_measured: how many there were.
        batch_sizes: at which the file was run.
        operators: operator -> how often it stands in the file.
        size_bytes: size of the file, bytes.
        runtime: what ran the file, with its version.
    """

    path: Path
    accuracy: float
    keras_accuracy: float
    agreement: float
    twin_agreement: float
    n_measured: int
    batch_sizes: tuple[int, ...]
    operators: Mapping[str, int]
    size_bytes: int
    runtime: str

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return (
            f"{self.path}, {self.size_bytes / 1000:.1f} kB, int8\n"
            f"  accuracy {self.accuracy:.4f}, the Keras model {self.keras_accuracy:.4f}, on {self.n_measured:,} samples; "
            f"both give the same class for {self.agreement:.1%}\n"
            f"  operators: {', '.join(self.operators)}"
        )


def quantize_aware(
    model: keras.Model,
    x: Any,
    y: Any,
    path: str | os.PathLike[str],
    *,
    validation_data: tuple[Any, Any] | None = None,
    preserve_sparsity: bool = False,
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 5e-4,
    labels: Sequence[object] | None = None,
    preprocessing: str | Mapping[str, Any] | None = None,
    max_loss: float = 0.01,
    min_agreement: float = 0.9,
    seed: int | None = None,
    verbose: int = 0,
) -> QuantizedFile:
    """Fine-tune a trained classifier with the rounding of 8 bits simulated, and write it as a LiteRT file of 8 bits.

    Where `kerasnas.export.to_litert(format="int8")` loses too much, this may lose less: weights learn to live with rounding. It
    takes longer and fewer layers. Weights, arithmetic, inputs and outputs of the file are integers. Only a file that was
    measured to do what the model does is put at `path`.

    The network is rebuilt in tf_keras and trained there; nothing is carried back to `model`, since tfmot splits and merges
    layers. Rescaling and Normalization become a depthwise convolution of one pixel; dropout goes on, augmentation does not.
    The ranges of the activations begin as those of the first batches.

    Args:
        model: a built Keras 3 Sequential or Functional model with one input and one output of shape (batch, classes), on the
            TensorFlow backend; left unchanged.
        x: training inputs, shape (n, ...) as the model takes them.
        y: classes, n of them, or one-hot rows, a single 1 in each.
        path: where the file goes; must end in .tflite.
        validation_data: (x, y) to measure on; None keeps a fifth of the samples, stratified, back from training for it.
        preserve_sparsity: whether weights that are zero stay zero, for a model that `prune` made.
        epochs: passes over the data, >= 1.
        batch_size: rows per step.
        learning_rate: of Adam at the start, > 0; it falls to 0 along half a cosine.
        labels: names of the classes, written into the file.
        preprocessing: what goes in, written into the file; see `kerasnas.export.to_onnx`.
        max_loss: largest loss of accuracy that is accepted, a share of the samples in [0, 1].
        min_agreement: least agreement with `model` that is accepted, in [0, 1].
        seed: of the order of the data and of TensorFlow's random layers; None draws them anew.
        verbose: 0 is silent, 1 a progress bar, 2 a line per epoch.

    Returns:
        QuantizedFile with the measured figures.

    Raises:
        InvalidArgument: if an argument does not fit, or tfmot does not take a layer; all such layers are named.
        KerasNASError: if the network cannot be rebuilt, or training diverges.
        ExportMismatch: if the file loses too much; the message holds the figures.

    Example:
        >>> quantize_aware(model, x_train, y_train, "digits.tflite", epochs=2).accuracy  # doctest: +SKIP
        0.975

    Source:
        Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
        section 3, through tfmot's quantize_apply.
    """
    target = Path(os.fspath(path))
    if target.suffix != ".tflite":
        raise InvalidArgument(f"Expected a path that ends in .tflite, got {str(target)!r}. Call it {target.stem}.tflite.")
    check_settings(epochs, batch_size, learning_rate)
    check_shares(max_loss=max_loss, min_agreement=min_agreement)
    plain = trainable_twin(model)
    names = check_class_names(labels, model.output_shape[1])
    check_preprocessing(preprocessing)
    x_train, y_train, x_test, y_test = _split(model, x, y, validation_data, seed)
    inputs, classes, batches = training_data(model, x_train, y_train, batch_size, seed)
    loss, encode = choose_objective(model, classes)
    check_parity(model, plain, inputs[:8])
    twin = _quantized(model, plain, preserve_sparsity)
    _find_ranges(twin, batches)
    _fit(twin, batches, loss, encode, epochs, learning_rate, seed, verbose)
    with atomic_path(target) as draft, tempfile.TemporaryDirectory(prefix="kerasnas-") as folder:
        _save(twin, model, Path(folder))
        content = convert_saved_model(Path(folder), format="int8")
        draft.write_bytes(content)
        append_facts(draft, _facts(model, preprocessing, len(inputs)), names)
        expected, simulated = _predict(model, x_test), _predict(twin, x_test)
        session = open_litert(draft)
        agreement = twin_agreement = accuracy = 1.0
        sizes = (1, 7)
        for size in sizes:
            came = _run(session, x_test, size).argmax(axis=1)
            agreement = min(agreement, float(np.mean(came == expected.argmax(axis=1))))
            twin_agreement = min(twin_agreement, float(np.mean(came == simulated.argmax(axis=1))))
            accuracy = min(accuracy, float(np.mean(came == y_test)))
        keras_accuracy = float(np.mean(expected.argmax(axis=1) == y_test))
        if not (agreement >= min_agreement and is_within(keras_accuracy - accuracy, max_loss)):
            raise ExportMismatch(
                f"Expected a file that agrees with its Keras model for {min_agreement:g} of the samples and loses at most "
                f"{max_loss:g} of accuracy, but on {len(x_test)} samples it agrees for {agreement:.4f} and has an accuracy of "
                f"{accuracy:.4f} where Keras has {keras_accuracy:.4f}. Train for more epochs, or at another learning rate."
            )
    return QuantizedFile(
        path=target,
        accuracy=accuracy,
        keras_accuracy=keras_accuracy,
        agreement=agreement,
        twin_agreement=twin_agreement,
        n_measured=len(x_test),
        batch_sizes=sizes,
        operators=operators(content),
        size_bytes=target.stat().st_size,
        runtime=session.runtime,
    )


def _split(model: keras.Model, x: Any, y: Any, validation: Any, seed: int | None) -> tuple[np.ndarray, ...]:
    """Return training inputs and labels, and inputs and classes to measure on."""
    inputs, labels = all_samples(model, x, y)
    if validation is not None:
        x_test, y_test = all_samples(model, validation[0], validation[1])
        x_train, y_train = inputs, labels
    else:
        if (number := len(inputs) // 5) < 1:
            raise InvalidArgument(f"Expected at least 5 samples, got {len(inputs)}. Pass the training data.")
        classes = _classes(labels, model.output_shape)
        counts = np.unique(classes, return_counts=True)[1]
        stratify = classes if counts.min() >= 2 and number >= len(counts) else None
        ours, held = train_test_split(np.arange(len(inputs)), test_size=number, random_state=seed or 0, stratify=stratify)
        x_train, y_train, x_test, y_test = inputs[ours], labels[ours], inputs[held], labels[held]
    return x_train, y_train, np.asarray(x_test, "float32"), _classes(y_test, model.output_shape)


def _classes(labels: np.ndarray, output_shape: tuple[int | None, ...]) -> np.ndarray:
    """Return labels as class indices; of soft ones, rows that add up to 1, the likeliest class."""
    of_all = labels.ndim == 2 and labels.shape[1:] == output_shape[1:] and labels.shape[1] > 1
    if of_all and np.all(labels >= 0) and np.allclose(labels.sum(axis=1), 1, atol=1e-3):
        return np.asarray(labels.argmax(axis=1))
    return np.asarray(class_indices(labels, output_shape))


def trainable_twin(model: keras.Model) -> Any:
    """Return a classifier rebuilt in tf_keras, of layers that tfmot can train for 8 bits.

    Raises:
        InvalidArgument: if it is none, or tfmot does not take a layer; all such layers are named.
    """
    check_model(model)
    check_computation(model)
    if len(model.output_shape) != 2 or model.output_shape[1] < 2:
        raise InvalidArgument(f"Expected an output of shape (batch, classes), '{model.name}' has {model.output_shape}.")
    load_tfmot()
    import tf_keras
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry
    from tensorflow_model_optimization.python.core.quantization.keras.quantize_aware_activation import QuantizeAwareActivation

    inside = QuantizeAwareActivation._PRE_QUANT_ACTIVATIONS | QuantizeAwareActivation._POST_QUANT_ACTIVATIONS
    registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    layers = tf_keras.layers
    # These fold into the layer before them, and these are split into ones that are known, before the registry is asked.
    foldable = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)

    def supports(layer: Any, before: Any) -> bool:
        if isinstance(layer, layers.BatchNormalization):
            return isinstance(before, foldable) and getattr(before.activation, "__name__", "") == "linear"
        if isinstance(layer, layers.Activation):
            try:
                registry.get_quantize_config(layer).get_output_quantizers(layer)
            except ValueError:
                return False
            return True
        if isinstance(layer, (*foldable, layers.Conv2DTranspose)) and getattr(layer.activation, "__name__", "") not in inside:
            return False
        return isinstance(layer, layers.SeparableConv2D) or bool(registry.supports(layer))

    return translate(model, supports)


def _quantized(model: keras.Model, plain: Any, preserve_sparsity: bool) -> Any:
    tfmot = load_tfmot()
    combine = tfmot.experimental.combine
    scheme = {"scheme": combine.Default8BitPrunePreserveQuantizeScheme()} if preserve_sparsity else {}
    keras_tools = tfmot.quantization.keras
    try:
        with keras_tools.quantize_scope():
            return keras_tools.quantize_apply(keras_tools.quantize_annotate_model(plain), **scheme)
    except Exception as error:
        raise KerasNASError(
            f"Expected a model that tfmot can train for 8 bits, but '{model.name}' stopped it with {type(error).__name__}: "
            f"{error} Quantise the trained model with kerasnas.export.to_litert(format='int8')."
        ) from error


def _find_ranges(twin: Any, batches: Any) -> None:
    """Begin the ranges of activations as the mean over batches of their least and largest values, without any rounding.

    tfmot begins them as -6 to 6, and moves them a thousandth of the way with each batch: a training of few steps would round
    small activations coarsely and cut large ones off.
    """
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.quantization.keras import quantizers

    seen: dict[int, tuple[Any, list[tuple[float, float]]]] = {}

    def look(self: Any, inputs: Any, training: Any, weights: Any, **settings: Any) -> Any:  # noqa: ARG001
        if isinstance(self, quantizers.MovingAverageQuantizer):
            least, most = float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))
            seen.setdefault(id(weights["min_var"]), (weights, []))[1].append((min(least, 0.0), max(most, 0.0)))
        return inputs

    kinds, found = [quantizers.Quantizer], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found += [kind] if "__call__" in vars(kind) else []
    with ExitStack() as stack:
        for kind in found:
            stack.enter_context(patch.object(kind, "__call__", look))
        for inputs, _ in batches.take(_RANGED):
            twin(tf.cast(inputs, tf.float32), training=False)
    for weights, ranges in seen.values():
        least, most = np.mean(ranges, axis=0)
        if most - least > 1e-6:  # of what is always zero LiteRT takes no range
            weights["min_var"].assign(least)
            weights["max_var"].assign(most)


def _fit(
    twin: Any,
    batches: Any,
    loss: Callable[[Any, Any], Any],
    encode: Callable[[Any], Any],
    epochs: int,
    learning_rate: float,
    seed: int | None,
    verbose: int,
) -> None:
    import tensorflow as tf
    import tf_keras

    if seed is not None:
        tf.random.set_seed(seed)
    plain = tf.autograph.experimental.do_not_convert
    rate = tf_keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches))
    twin.compile(tf_keras.optimizers.Adam(rate), loss=plain(lambda labels, predictions: loss(labels, predictions)))
    data = batches.map(plain(lambda a, b: (tf.cast(a, tf.float32), encode(b))))
    twin.fit(data, epochs=epochs, verbose=verbose)
    check_converged(twin, learning_rate)


def _save(twin: Any, model: keras.Model, folder: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="input_0")
    serve = tf.function(
        tf.autograph.experimental.do_not_convert(lambda input_0: {"output_0": twin(input_0, training=False)}),
        input_signature=[spec],
    )
    module = tf.Module()
    module.twin, module.serve = twin, serve
    tf.saved_model.save(module, str(folder), signatures={"serve": serve.get_concrete_function()})


def _facts(model: keras.Model, preprocessing: Any, n_samples: int) -> dict[str, Any]:
    return {
        "model_name": model.name,
        "format": "int8",
        "preprocessing": preprocessing,
        "kerasnas_version": kerasnas.__version__,
        "keras_version": keras.__version__,
        "quantization": {"format": "int8", "quantization_aware_training": True, "training_samples": n_samples},
        "inputs": {"input_0": model.inputs[0]._keras_history.operation.name},
        "outputs": {"output_0": model.outputs[0]._keras_history.operation.name},
    }


def _predict(model: Any, inputs: np.ndarray) -> np.ndarray:
    parts = [np.asarray(model(inputs[start : start + 128], training=False)) for start in range(0, len(inputs), 128)]
    return np.concatenate(parts)


def _run(session: Any, inputs: np.ndarray, size: int) -> np.ndarray:
    """Return the outputs for all samples, run `size` at a time, the last batch filled up from the first samples."""
    (name,) = [name for name, _, _ in session.inputs]
    rows = [np.arange(start, start + size) % len(inputs) for start in range(0, len(inputs), size)]
    return np.concatenate([session.run({name: inputs[chosen]})[0] for chosen in rows])[: len(inputs)]
