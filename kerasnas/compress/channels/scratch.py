"""The control of structured pruning: a network of the same size that is trained from random weights for the same time."""

import math
import random
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.fine_tuning import fine_tune, with_lessons
from kerasnas.compress.channels.model_check import check_model
from kerasnas.compress.channels.unpruned import is_unpruned
from kerasnas.compress.clone import compile_as, copy_state, not_rebuilt, readable_config, seed_layers
from kerasnas.compress.kernels import walk_layers
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.training_data import all_samples, training_data
from kerasnas.decided_classes import model_classes
from kerasnas.errors import InvalidArgument

__all__ = ["ScratchControl", "class_indices", "from_scratch_control", "held_out_classes", "paired_error"]


@dataclass(frozen=True, eq=False)
class ScratchControl:
    """A pruned network beside one of its size that began with random weights; `print` tells which is better.

    Attributes:
        model: the network from scratch.
        accuracy: share of the held-out samples that it gets right, in [0, 1].
        pruned_accuracy: the same of the pruned network.
        standard_error: of the difference of the two accuracies, from the samples on which they disagree.
        n_held_out: samples that both were judged on.
        seconds: that the training from scratch took.
        samples: what these samples are, in words.
    """

    model: keras.Model
    accuracy: float
    pruned_accuracy: float
    standard_error: float
    n_held_out: int
    seconds: float
    samples: str = "held-out samples"

    @property
    def gain(self) -> float:
        """What pruning is worth: the accuracy of the pruned network less that of the one from scratch."""
        return self.pruned_accuracy - self.accuracy

    @property
    def is_told(self) -> bool:
        """Whether the held-out samples tell which of the two is better: the gain is beyond 1.96 standard errors."""
        return abs(self.gain) > 1.96 * self.standard_error

    @property
    def scratch_wins(self) -> bool:
        """Whether the network from scratch is the better one on the held-out samples."""
        return self.gain < 0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values that JSON can hold."""
        names = ("accuracy", "pruned_accuracy", "standard_error", "n_held_out", "seconds", "samples")
        return {**{name: getattr(self, name) for name in names}, "scratch_wins": self.scratch_wins, "is_told": self.is_told}

    def __str__(self) -> str:
        verdict = "FROM SCRATCH IS BETTER: take control.model" if self.scratch_wins else "pruning is worth it"
        if not self.is_told:
            verdict = "within what luck can do; neither is shown to be better"
        return (
            f"pruned {self.pruned_accuracy:.4f}, its size from scratch {self.accuracy:.4f} on {self.n_held_out:,} "
            f"{self.samples} ({100 * self.gain:+.2f} ± {196 * self.standard_error:.2f} points, 95 %): {verdict}"
        )


def from_scratch_control(
    pruned: keras.Model,
    x: Any,
    y: Any,
    held_out: tuple[Any, Any],
    *,
    epochs: int | None = None,
    seconds: float | None = None,
    teacher: keras.Model | None = None,
    distill: float = 0.0,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int | None = None,
    verbose: int = 0,
) -> ScratchControl:
    """Train a network of the size of a pruned one from random weights, and compare the two on held-out data.

    If it is as good after as much training, the weights that pruning kept were worth nothing, and the small architecture is
    all there is to gain. The schedule is that of `prune_channels`: Adam along half a cosine. Layers in which nothing is trained
    (Normalization, frozen layers) keep what they hold.

    Args:
        pruned: a classifier that `prune_channels` made and fine-tuned; left unchanged.
        x: training inputs that it was fine-tuned on, shape (n, ...), or a `tf.data.Dataset` of (inputs, labels) batches.
        y: labels, n of them: class indices or one-hot rows; None with a dataset.
        held_out: inputs and labels that neither network was trained on.
        epochs: passes over the data, >= 1: as many as pruning took in all steps, for as many training steps.
        seconds: how long to train instead, > 0: as long as pruning took. Exactly one of the two is given.
        teacher: the original, where pruning had it as a teacher.
        distill: share of the loss that is the distance to the outputs of `teacher`, in [0, 1].
        batch_size: rows per step; a dataset has its own.
        learning_rate: Adam's first one, > 0.
        seed: makes the first weights, the order of the data and all random layers repeatable; None draws them anew.
        verbose: of the training: 0 is silent, 1 a progress bar, 2 a line per epoch.
    Returns:
        ScratchControl with both accuracies; its `model` is the network from scratch.
    Raises:
        InvalidArgument: if an argument does not fit, the outputs or labels are not those of a classifier, or nothing was
            pruned: `prune_channels` removed no channel, or the teacher is as large.
        KerasNASError: if training diverges.
    Example:
        >>> small = prune_channels(model, x, y, ratio=0.5, epochs=8)  # doctest: +SKIP
        >>> print(from_scratch_control(small, x, y, (x_val, y_val), epochs=8))  # doctest: +SKIP
        pruned 0.8931, its size from scratch 0.8840 on 2,000 held-out samples (+0.91 ± 1.20 points, 95 %): within ...

    Source:
        Liu et al. 2019, "Rethinking the Value of Network Pruning".
    """
    check_model(pruned)
    if (epochs is None) == (seconds is None):
        raise InvalidArgument(f"Expected either epochs or seconds, got epochs={epochs!r} and seconds={seconds!r}.")
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 1):
        raise InvalidArgument(f"Expected epochs to be an integer of at least 1, got {epochs!r}.")
    if seconds is not None and not 0 < seconds < math.inf:
        raise InvalidArgument(f"Expected seconds > 0, got {seconds!r}.")
    if not 0 <= distill <= 1 or (distill and teacher is None):
        raise InvalidArgument(
            f"Expected distill in [0, 1], with a teacher unless it is 0, got {distill!r}, teacher={teacher!r}."
        )
    if is_unpruned(pruned) or (teacher is not None and _shapes(teacher) == _shapes(pruned)):
        raise InvalidArgument(
            f"Expected a network with fewer channels than its original, but from '{pruned.name}' none was removed: there is "
            "nothing to compare. Prune more, or compare networks of one size by evaluate()."
        )
    held_x, truth = held_out_classes(pruned, held_out)
    inputs, labels, data = training_data(pruned, x, y, batch_size, seed)
    loss, encode = choose_objective(pruned, labels)
    batches = data.map(lambda some, targets: (some, encode(targets)))
    if distill and teacher is not None and data is not x:
        batches = with_lessons(batches, teacher, inputs, np.asarray(encode(labels)), batch_size, seed)
    fresh = _reinitialised(pruned, seed)
    start = time.perf_counter()
    fine_tune(
        fresh,
        batches,
        loss,
        teacher=teacher,
        distill=distill,
        epochs=epochs or 1,
        learning_rate=learning_rate,
        verbose=verbose,
        seconds=seconds,
    )
    took = time.perf_counter() - start
    right = [model_classes(model, model.predict(held_x, batch_size=256, verbose=0)) == truth for model in (fresh, pruned)]
    return ScratchControl(
        model=fresh,
        accuracy=float(right[0].mean()),
        pruned_accuracy=float(right[1].mean()),
        standard_error=paired_error(right[0], right[1]),
        n_held_out=len(truth),
        seconds=took,
    )


def held_out_classes(model: keras.Model, held_out: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the inputs of `held_out` and the index of each one's class.

    Raises:
        InvalidArgument: if they are no inputs and labels, or do not fit `model`, which must be a classifier.
    """
    if not isinstance(held_out, tuple | list) or len(held_out) != 2:
        raise InvalidArgument(f"Expected held_out to be inputs and labels, got {type(held_out).__name__}. Pass (x, y).")
    inputs, labels = all_samples(model, *held_out)
    return inputs, class_indices(labels, model.output_shape)


def class_indices(labels: NDArray[Any], output_shape: tuple[int | None, ...]) -> NDArray[np.int64]:
    """Return labels as class indices, whether they are indices or one-hot rows.

    Raises:
        InvalidArgument: if they, or the output, are not those of a classifier.
    """
    labels = np.asarray(labels)
    if len(output_shape) != 2 or output_shape[1] is None:
        raise InvalidArgument(f"Expected a classifier with outputs of shape (batch, classes), got {output_shape}.")
    classes = max(output_shape[1], 2)
    if labels.ndim == 2 and labels.shape[1] == classes > 1 and output_shape[1] > 1:
        if not (np.isin(labels, (0, 1)).all() and (np.count_nonzero(labels, axis=1) == 1).all()):
            least, most = labels.sum(axis=1).min(), labels.sum(axis=1).max()
            raise InvalidArgument(
                f"Expected one-hot rows, a single 1 in each, got rows that sum to {least:g} to {most:g}. Accuracy needs one "
                "class for each sample: where none or several hold at once (multi-label), it cannot judge the model."
            )
        return np.asarray(labels.argmax(axis=1), np.int64)
    flat = labels.reshape(-1) if labels.shape[1:] in ((), (1,)) else None
    if flat is None or not np.equal(np.mod(flat, 1), 0).all() or flat.min() < 0 or flat.max() >= classes:
        raise InvalidArgument(
            f"Expected class indices from 0 to {classes - 1} or one-hot rows, got labels of shape {labels.shape}, "
            f"{labels.min():g} to {labels.max():g}. Number the classes in the order of the model's outputs."
        )
    return flat.astype(np.int64)


def paired_error(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the standard error of the difference of two accuracies on the same samples; never 0.

    That two networks disagree on none of few samples does not show that they never do: it is counted as if they disagreed on
    one more in each direction.

    Source:
        Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions"; a whole sample in each
        direction, as Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions".
    """
    difference = np.concatenate([one.astype(float) - other.astype(float), (1.0, -1.0)])
    return float(difference.std() / math.sqrt(len(difference)))


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]


def _reinitialised(model: keras.Model, seed: int | None) -> keras.Model:
    """Return a copy with new random weights; what is never trained keeps what it holds."""
    before = random.getstate()  # from which Keras draws the seeds of initializers
    try:
        random.seed(seed)
        config, known = readable_config(model)
        with keras.saving.custom_object_scope(known):
            fresh = type(model).from_config(config)
        if not fresh.built:
            fresh.build(model.input_shape)
        for layer, twin in zip(walk_layers(model), walk_layers(fresh), strict=True):
            statistics = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
            # Of a nested model that is frozen but for some layers, `trainable_variables` are none.
            if layer.variables and not any(variable.trainable for variable in layer.variables) and not statistics:
                copy_state(layer, twin)
            elif layer.trainable != twin.trainable:
                twin.trainable = layer.trainable
    except Exception as error:
        raise not_rebuilt(model, error) from error
    finally:
        random.setstate(before)
    compile_as(model, fresh)
    if seed is not None:
        seed_layers(fresh, seed)
    return fresh
