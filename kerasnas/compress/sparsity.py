"""Magnitude pruning with tfmot: exact zeros, for a smaller download."""

import math
from typing import Any

import keras
import numpy as np

from kerasnas.compress.clone import clone_trained
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.compress.training_data import training_data
from kerasnas.compress.twin import build_twin
from kerasnas.errors import InvalidArgument, KerasNASError

__all__ = ["prune"]

_PARITY = 1e-5  # absolute, relative to the largest output if that is above 1


def prune(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    sparsity: float = 0.5,
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Return a copy of a trained model in which a share of the weights is exactly zero, fine-tuned to make up for it.

    This makes the model smaller to download, where it travels compressed (see `sparsity_report`). It does not make it
    faster, nor smaller in memory. In each kernel the weights of least magnitude become zero; their share rises as
    s * (1 - (1 - t)^3) over the first half of the training steps, and the rest recovers in the second half.

    Pruned are the kernels of dense, convolution and pointwise layers, the output layer and frozen layers included; never
    depthwise kernels, biases and normalisation. Training uses Adam and the loss that the model is compiled with; without
    one it is cross-entropy, inferred from the labels and the last activation.

    Args:
        model: a built Keras 3 Sequential or Functional model with one input and one output, on the TensorFlow backend;
            left unchanged.
        x: training inputs, shape (n, ...) as the model takes them, or a `tf.data.Dataset` of (inputs, labels) batches.
        y: labels, n of them: class indices or one-hot rows; None with a dataset.
        sparsity: share of zeros in each kernel, in (0, 1). A kernel keeps at least one weight.
        epochs: passes over the data, >= 1.
        batch_size: rows per step; a dataset has its own.
        learning_rate: of Adam, > 0.
        seed: makes the order of the data and all random layers repeatable; None draws them anew.
        verbose: 0 is silent, 1 a progress bar, 2 a line per epoch.
    Returns:
        A new model of the same class and layer names, compiled as `model` is, with a fresh optimizer.
    Raises:
        InvalidArgument: if an argument does not fit, or the model cannot be rebuilt from its config.
        KerasNASError: if the copy does not compute what `model` computes, or training diverges.
    Example:
        >>> pruned = prune(model, x_train, y_train, sparsity=0.8, epochs=4, seed=0)  # doctest: +SKIP
        >>> sparsity_report(pruned).sparsity >= 0.8  # doctest: +SKIP
        True

    Source:
        Zhu and Gupta 2017, equation 1, through tfmot's PolynomialDecay; deviation: weights that ties or rounding left are
        zeroed at the end, so that each kernel has no fewer zeros than asked for.
    """
    _check_settings(sparsity, epochs, batch_size, learning_rate)
    _check_model(model)
    inputs, labels, batches = training_data(model, x, y, batch_size, seed)
    pruned = clone_trained(model, seed=seed)
    kernels = [kernel.variable for kernel in prunable_kernels(pruned)]
    if not kernels:
        raise InvalidArgument(f"Expected a model with dense or convolution layers, '{model.name}' has none to prune.")
    loss, encode = choose_objective(pruned, labels)

    tfmot = load_tfmot()
    twin = build_twin(
        pruned, kernels, _schedule(tfmot, sparsity, epochs * len(batches)), loss, keras.optimizers.Adam(learning_rate)
    )
    _check_parity(model, twin, inputs[:8])
    twin.fit(
        batches.map(lambda a, b: (a, encode(b))),
        epochs=epochs,
        verbose=verbose,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    for kernel in kernels:
        kernel.assign(_zero_smallest(kernel.numpy(), sparsity))
    if not all(np.isfinite(weight.numpy()).all() for weight in pruned.weights):
        raise KerasNASError(f"Training diverged at learning_rate={learning_rate}: some weights are NaN. Lower learning_rate.")
    return pruned


def _schedule(tfmot: Any, sparsity: float, steps: int) -> Any:
    # About 20 mask updates, the last one at the end: tfmot skips a final step that is no multiple of `frequency`.
    half = max(1, steps // 2)
    frequency = max(1, half // 20)
    end = half - half % frequency
    return tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=end, frequency=frequency)


def _zero_smallest(values: np.ndarray, sparsity: float) -> np.ndarray:
    """Set the smallest weights to zero until their share is reached; what is already sparse enough stays."""
    flat = values.ravel() + 0.0  # a copy; turns tfmot's -0.0 into 0.0, which compresses better
    wanted = min(math.ceil(sparsity * flat.size - 1e-6), flat.size - 1)
    if np.count_nonzero(flat == 0) < wanted:
        flat[np.argsort(np.abs(flat), kind="stable")[:wanted]] = 0.0
    return flat.reshape(values.shape)


def _check_parity(model: keras.Model, twin: Any, inputs: Any) -> None:
    expected = np.asarray(model(inputs, training=False), dtype="float32")
    got = np.asarray(twin(inputs, training=False), dtype="float32")
    difference = float(np.abs(got - expected).max())
    if not difference <= _PARITY * max(1.0, float(np.abs(expected).max())):
        raise KerasNASError(
            f"Expected a copy that computes what '{model.name}' computes, it differs by {difference:.2g} on the first "
            "rows. A layer holds state that neither its config nor its weights do: add it to get_config()."
        )


def _check_settings(sparsity: float, epochs: int, batch_size: int, learning_rate: float) -> None:
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected the TensorFlow backend, got '{keras.backend.backend()}': tfmot runs only there. Save the "
            "model with model.save('model.keras') and prune it in a process started with KERAS_BACKEND=tensorflow."
        )
    if not 0 < sparsity < 1:
        raise InvalidArgument(f"Expected sparsity in (0, 1), got {sparsity}. It is a share: 0.8 zeroes 80% of the weights.")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InvalidArgument(f"Expected {name} to be an integer of at least 1, got {value!r}.")
    if not 0 < learning_rate < math.inf:
        raise InvalidArgument(f"Expected learning_rate > 0, got {learning_rate}. Adam's usual value is 1e-3.")


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        hint = " Load it with keras 3 (keras.saving.load_model)." if "keras" in type(model).__module__ else ""
        raise InvalidArgument(f"Expected a keras.Model of Keras 3, got {type(model).__module__}.{type(model).__name__}.{hint}")
    if not model.built:
        raise InvalidArgument(f"Expected a built model, '{model.name}' has no weights yet. Give it a keras.Input, or train it.")
    if not hasattr(model, "outputs"):
        raise InvalidArgument(f"Expected a Sequential or Functional model, got the subclassed {type(model).__name__}.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidArgument(
            f"Expected one input and one output, '{model.name}' has {len(model.inputs)} and {len(model.outputs)}."
        )
