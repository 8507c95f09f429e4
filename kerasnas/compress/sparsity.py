"""Magnitude pruning with tfmot: exact zeros, for a smaller download."""

import math
import numbers
from typing import Any, Literal, get_args

import keras
import numpy as np

from kerasnas.compress.checks import check_converged, check_model, check_parity, check_settings
from kerasnas.compress.clone import clone_trained
from kerasnas.compress.kernels import prunable_kernels, walk_layers
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.compress.training_data import training_data
from kerasnas.compress.twin import build_twin
from kerasnas.errors import InvalidArgument

__all__ = ["prune"]

Schedule = Literal["polynomial", "constant"]


def prune(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    sparsity: float | None = None,
    pattern: tuple[int, int] | None = None,
    schedule: Schedule = "polynomial",
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Return a copy of a trained model in which a share of the weights is exactly zero, fine-tuned to make up for it.

    This makes the model smaller to download, where it travels compressed (see `sparsity_report`). It does not make it
    faster, nor smaller in memory. In each kernel the weights of least magnitude become zero; their share rises as
    s * (1 - (1 - t)^3) over the first half of the training steps, and the rest recovers in the second half. With a pattern
    such as (2, 4) the 2 smallest of every 4 consecutive inputs of a unit become zero at the first step: what some hardware
    computes faster, if its own compiler is given the file; neither onnxruntime nor LiteRT on a CPU does.

    Pruned are the kernels of dense, convolution and pointwise layers, the output layer and frozen layers included; never
    depthwise kernels, biases and normalisation. Training uses Adam and the loss that the model is compiled with; without
    one it is cross-entropy, inferred from the labels and the last activation.

    Args:
        model: a built Keras 3 Sequential or Functional model with one input and one output, on the TensorFlow backend;
            left unchanged.
        x: training inputs, shape (n, ...) as the model takes them, or a `tf.data.Dataset` of (inputs, labels) batches.
        y: labels, n of them: class indices or one-hot rows; None with a dataset.
        sparsity: share of zeros in each kernel, in (0, 1). A kernel keeps at least one weight. None is 0.5, or that of the
            pattern.
        pattern: (m, n), m zeros in each n consecutive weights along the inputs, 0 < m < n, in the kernels of Dense and Conv2D
            layers, as far as whole groups go. Other kernels stay as they are (see `sparsity_report`).
        schedule: "polynomial", as above, or "constant": all of the share from the first step on.
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
    check_settings(epochs, batch_size, learning_rate)
    sparsity = _check_sparsity(sparsity, pattern, schedule)
    check_model(model)
    inputs, labels, batches = training_data(model, x, y, batch_size, seed)
    pruned = clone_trained(model, seed=seed)
    kernels = [kernel.variable for kernel in prunable_kernels(pruned)]
    if pattern is not None:
        kernels = _patterned(pruned, pattern[1])
    if not kernels:
        which = "dense or convolution layers" if pattern is None else f"Dense or Conv2D layers of at least {pattern[1]} inputs"
        raise InvalidArgument(f"Expected a model with {which}, '{model.name}' has none to prune.")
    loss, encode = choose_objective(model, labels)  # of the copy Keras forgets some settings, such as the delta of Huber

    tfmot = load_tfmot()
    twin = build_twin(
        pruned,
        kernels,
        _schedule(tfmot, sparsity, epochs * len(batches), schedule),
        loss,
        keras.optimizers.Adam(learning_rate),
        pattern=pattern,
    )
    check_parity(model, twin, inputs[:8])
    twin.fit(
        batches.map(lambda a, b: (a, encode(b))),
        epochs=epochs,
        verbose=verbose,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    for kernel in kernels:
        values = kernel.numpy()
        kernel.assign(_zero_smallest(values, sparsity) if pattern is None else _zero_in_groups(values, *pattern))
    check_converged(pruned, learning_rate)
    return pruned


def _check_sparsity(sparsity: float | None, pattern: Any, schedule: str) -> float:
    if schedule not in get_args(Schedule):
        raise InvalidArgument(f"Expected a schedule of {', '.join(get_args(Schedule))}, got {schedule!r}.")
    share = 0.5
    if pattern is not None:
        whole = isinstance(pattern, tuple | list) and len(pattern) == 2 and all(isinstance(n, int) for n in pattern)
        if not whole or not 0 < pattern[0] < pattern[1]:
            raise InvalidArgument(f"Expected a pattern (m, n) with 0 < m < n, got {pattern!r}. (2, 4) zeroes 2 of every 4.")
        share = pattern[0] / pattern[1]
        if sparsity not in (None, share):
            raise InvalidArgument(f"Expected no sparsity beside the pattern {pattern}, which is {share:g}, got {sparsity}.")
    sparsity = share if sparsity is None else sparsity
    if not isinstance(sparsity, numbers.Real) or not 0 < sparsity < 1:
        raise InvalidArgument(f"Expected sparsity in (0, 1), got {sparsity!r}. It is a share: 0.8 zeroes 80% of the weights.")
    return sparsity


def _patterned(model: keras.Model, length: int) -> list[keras.Variable]:
    """Return the kernels whose inputs lie on the last axis but one, where tfmot makes groups of them."""
    kinds = (keras.layers.Dense, keras.layers.Conv2D)
    kernels = {id(layer.kernel): layer.kernel for layer in walk_layers(model) if type(layer) in kinds and layer.built}
    return [kernel for kernel in kernels.values() if kernel.shape[-2] >= length]


def _schedule(tfmot: Any, sparsity: float, steps: int, schedule: str = "polynomial") -> Any:
    # About 20 mask updates, the last one at the end: tfmot skips a final step that is no multiple of `frequency`.
    half = max(1, steps // 2)
    frequency = max(1, half // 20)
    end = half - half % frequency
    if schedule == "constant":
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, end_step=end, frequency=frequency)
    return tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=end, frequency=frequency)


def _zero_smallest(values: np.ndarray, sparsity: float) -> np.ndarray:
    """Set the smallest weights to zero until their share is reached; what is already sparse enough stays."""
    flat = values.ravel() + 0.0  # a copy; turns tfmot's -0.0 into 0.0, which compresses better
    wanted = min(math.ceil(sparsity * flat.size - 1e-6), flat.size - 1)
    if np.count_nonzero(flat == 0) < wanted:
        flat[np.argsort(np.abs(flat), kind="stable")[:wanted]] = 0.0
    return flat.reshape(values.shape)


def _zero_in_groups(values: np.ndarray, zeros: int, length: int) -> np.ndarray:
    """Set the smallest `zeros` of each whole group of `length` along the last axis but one to zero."""
    inputs = np.moveaxis(values, -2, -1) + 0.0  # a copy, without -0.0
    whole = inputs.shape[-1] // length * length
    groups = inputs[..., :whole].reshape(*inputs.shape[:-1], -1, length)
    smallest = np.argsort(np.abs(groups), axis=-1, kind="stable")[..., :zeros]
    np.put_along_axis(groups, smallest, 0.0, axis=-1)
    inputs[..., :whole] = groups.reshape(*inputs.shape[:-1], whole)
    return np.ascontiguousarray(np.moveaxis(inputs, -1, -2))
