"""Structured pruning: fewer channels, for a model that is smaller and faster."""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.costs import cost_function
from kerasnas.compress.channels.dependencies import Dependencies, dependencies_of
from kerasnas.compress.channels.fine_tuning import fine_tune, loss_gradients, with_lessons
from kerasnas.compress.channels.group_ratios import group_ratios
from kerasnas.compress.channels.importance import bn_scales, magnitudes, taylor, taylor_weights
from kerasnas.compress.channels.model_check import check_model
from kerasnas.compress.channels.proof import prove
from kerasnas.compress.channels.rebuild import Kept, rebuild
from kerasnas.compress.channels.scratch import from_scratch_control, held_out_classes
from kerasnas.compress.channels.selection import select
from kerasnas.compress.channels.target import Target
from kerasnas.compress.channels.unpruned import mark_unpruned
from kerasnas.compress.clone import seed_layers
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.training_data import training_data
from kerasnas.errors import InvalidArgument

__all__ = ["AlreadyWithinTarget", "ScratchIsBetter", "prune_channels"]

_IMPORTANCES = ("magnitude", "bn_scale", "taylor")
_SCOPES = ("layer", "global")
_TAYLOR_BATCHES = 32


class AlreadyWithinTarget(UserWarning):
    """A model of which `prune_channels` need remove nothing, by its target or share: an unchanged copy is returned."""


class ScratchIsBetter(UserWarning):
    """A pruned model that is no better than one of its size that began with random weights."""


def prune_channels(
    model: keras.Model,
    x: Any = None,
    y: Any = None,
    *,
    ratio: float | Mapping[str, float] | None = None,
    parameters: float | None = None,
    macs: float | None = None,
    size_bytes: float | None = None,
    cost: Callable[[keras.Model], float] | None = None,
    target: float | None = None,
    importance: str = "magnitude",
    scope: str = "layer",
    divisor: int = 1,
    steps: int = 1,
    epochs: int = 2,
    distill: float = 0.0,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    held_out: tuple[Any, Any] | None = None,
    seed: int | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Return a copy of a model with fewer channels: really smaller, and with less to compute on any runtime.

    Filters of convolutions, units of dense layers and heads of attention go, with all that reads them. Channels that are
    added, multiplied or joined with each other go together. What feeds an output, a LayerNormalization or a layer that is not
    known stays; `channel_report` tells why. Each run proves on random inputs that the smaller model computes, in every layer,
    what the larger one does with the removed channels set to zero; otherwise it raises an error.

    Say how far to go by one of `ratio`, `parameters`, `macs`, `size_bytes` and `cost`. The last four are upper bounds, met with
    the smallest ratio that does; below 1 they are a share of what the model has, from 1 on a number. By default ratio is 0.5.
    A model that keeps its bound already, or of which the ratio is less than a channel of each group, is returned as a copy,
    untrained, with the warning `AlreadyWithinTarget`.

    Without data the kept weights stay as they are, and accuracy falls: fine-tune afterwards. With data, `steps` rounds of
    pruning are each followed by `epochs` of training; after round k of n the share (1 - cos(pi k / n)) / 2 of the way is gone.
    Training uses Adam, and the loss that the model is compiled with; without one it is cross-entropy, inferred from the labels.
    With `held_out` samples the result is then compared with a network of its size that is trained from scratch for as many
    epochs, and the warning `ScratchIsBetter` tells if that one wins; `from_scratch_control` does the same on its own.

    Args:
        model: a built Keras 3 Sequential or Functional model, nested or not; left unchanged.
        x: training inputs, shape (n, ...) as the model takes them, or a `tf.data.Dataset` of (inputs, labels) batches; None for
            no training. With data the model has one input and one output.
        y: labels, n of them: class indices, one-hot rows, or whatever the loss takes; None with a dataset.
        ratio: share of the channels that goes, in [0, 1): of each group of tied layers, or of all with scope="global". It is
            rounded down, and each group keeps at least one channel. A dict from names of layers to shares, such as
            {"conv2d_1": 0.5}, prunes their groups alone, each by its own share; `channel_report` names the layers.
        parameters: numbers in the weights.
        macs: multiply-accumulates for one sample, see `kerasnas.cost`.
        size_bytes: of the weights, uncompressed.
        cost: what is measured on candidate models, called some ten times with one; for the latency in milliseconds on this
            machine `kerasnas.compression_search.measure_latency`.
        target: the largest allowed result of `cost`, in its own unit, never a share.
        importance: "magnitude" (of the weights that make a channel), "bn_scale" (gamma of BatchNormalization, magnitude where
            there is none) or "taylor" (gradient x weight over up to 32 batches; needs data and the TensorFlow backend).
        scope: "layer" takes the same share from each group, "global" what matters least in the whole model, though at most nine
            tenths of a group.
        divisor: groups keep a multiple of it; 8 suits vector units.
        steps: rounds of pruning and training, >= 1.
        epochs: passes over the data after each round, >= 0.
        distill: share of the loss that is the distance to the outputs of `model`, in [0, 1].
        batch_size: rows per step; a dataset has its own.
        learning_rate: Adam's first one in each round, > 0; it falls to zero along half a cosine.
        held_out: inputs and labels that neither network is trained on, for the comparison with one from scratch, which takes
            about as long again; None for none. Needs data, `epochs` >= 1 and a classifier.
        seed: makes the order of the data and all random layers repeatable; None draws them anew.
        verbose: of the training: 0 is silent, 1 a progress bar, 2 a line per epoch.
    Returns:
        A new model of the same class and layer names, compiled as `model` is, with a fresh optimizer.
    Raises:
        InvalidArgument: if an argument does not fit, nothing can be pruned, or a target is out of reach.
        KerasNASError: if the smaller model fails the proof, or training diverges.
    Example:
        >>> import keras
        >>> hidden, out = keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)
        >>> model = keras.Sequential([keras.Input((4,)), hidden, out])
        >>> model.count_params(), prune_channels(model, ratio=0.5).count_params()
        (58, 30)
        >>> prune_channels(model, parameters=40).count_params()
        37

    Source:
        The dependency graph: Fang et al. 2023, "DepGraph"; deviation: single channels are tied, not layers. Unlike there,
        whatever has no rule stays as it is. The measures of importance name theirs.
    """
    check_model(model)
    _check_settings(importance, scope, divisor, steps, epochs, distill, batch_size, learning_rate, seed)
    by_layer, overall = (ratio, 0.0) if isinstance(ratio, Mapping) else (None, ratio)
    if by_layer is not None and scope != "layer":
        raise InvalidArgument(f"Expected scope='layer' where ratio names layers, got scope={scope!r}. Leave out scope.")
    goal = Target.of(
        ratio=overall,
        parameters=parameters,
        macs=macs,
        size_bytes=size_bytes,
        cost=cost,
        target=target,
    )
    if x is None and (importance == "taylor" or steps > 1 or distill):
        raise InvalidArgument(
            f"Expected data for importance='{importance}', steps={steps} and distill={distill:g}, got none. Pass x and y; "
            "without data prune in one step, by 'magnitude' or 'bn_scale'."
        )
    if held_out is not None and (x is None or not epochs):
        raise InvalidArgument(
            f"Expected data and epochs >= 1 for a comparison on held_out samples, got epochs={epochs} and "
            f"{'no data' if x is None else 'data'}. Pass x and y, or leave out held_out."
        )
    loss, batches, lessons = _training(model, x, y, batch_size, seed, distill=distill > 0 and epochs > 0)
    if held_out is not None:
        held_out_classes(model, held_out)  # a mistake is told before the training

    dependencies = dependencies_of(model)
    if not any(len(group) > 1 for group in dependencies.bundles.groups):
        reasons = sorted({reason for reason in dependencies.bundles.reasons if reason})
        raise InvalidArgument(
            f"Expected a model with channels that can go, '{model.name}' has none. What holds them: "
            f"{'; '.join(reasons) or '-'}. channel_report(model) tells it for each layer."
        )
    shares: float | NDArray[np.float64] = 1.0 if by_layer is None else group_ratios(dependencies, by_layer)
    kept: Kept = np.ones(dependencies.bundles.count, bool)
    current = model
    final = 1.0  # of the shares of layers
    for step in range(1, steps + 1):
        scores = _scores(importance, current, dependencies, kept, batches, loss)

        def choose(share: float, kept: Kept = kept, scores: NDArray[np.float64] = scores) -> Kept:
            return select(dependencies.bundles, scores, share * shares, kept, scope=scope, divisor=divisor)

        if step in (1, steps) and by_layer is None:
            computed = partial(cost_function, model, dependencies)
            final = goal.ratio(choose, computed, partial(rebuild, current, dependencies, before=kept))
        if step == 1 and choose(final).all():
            text = f"'{model.name}' is within {goal.kind} <= {goal.value:g} already"
            if goal.kind == "ratio":
                text = f"the share is less than one channel of each layer of '{model.name}'"
                text += f", of which a multiple of {divisor} stays" if divisor > 1 else ""
            warnings.warn(AlreadyWithinTarget(f"{text}: nothing is removed, nothing trained."), stacklevel=2)
            mark_unpruned(copy := rebuild(model, dependencies, kept, before=kept))
            return copy
        new = choose(final * (1 - math.cos(math.pi * step / steps)) / 2)
        smaller = rebuild(current, dependencies, new, before=kept)
        prove(current, smaller, dependencies, new, before=kept)
        if seed is not None:
            seed_layers(smaller, seed, step)
        current, kept = smaller, new
        if batches is not None and epochs:
            fine_tune(
                current,
                lessons,
                loss,
                teacher=model,
                distill=distill,
                epochs=epochs,
                learning_rate=learning_rate,
                verbose=verbose,
            )
    if held_out is not None:
        control = from_scratch_control(
            current,
            x,
            y,
            held_out,
            epochs=steps * epochs,
            teacher=model,
            distill=distill,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            verbose=verbose,
        )
        if control.scratch_wins:
            warnings.warn(ScratchIsBetter(str(control)), stacklevel=2)
        elif verbose:
            print(control)
    return current


def _training(model: keras.Model, x: Any, y: Any, batch_size: int, seed: int | None, *, distill: bool) -> tuple[Any, Any, Any]:
    """Return the loss, the batches with labels in its shape, and these with the model's outputs; three times None without data.

    What a dataset gives may be other pictures each time: there the model is asked in each step.
    """
    if x is None:
        if y is not None:
            raise InvalidArgument("Expected inputs x beside the labels y, got None. Pass both, or neither.")
        return None, None, None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InvalidArgument(
            f"Expected one input and one output to train with, '{model.name}' has {len(model.inputs)} and "
            f"{len(model.outputs)}. Prune it without data, then fine-tune it with its own fit()."
        )
    inputs, labels, data = training_data(model, x, y, batch_size, seed)
    loss, encode = choose_objective(model, labels)
    batches = data.map(lambda some, targets: (some, encode(targets)))
    if not distill or data is x:
        return loss, batches, batches
    return loss, batches, with_lessons(batches, model, inputs, np.asarray(encode(labels)), batch_size, seed)


def _scores(
    importance: str, model: keras.Model, dependencies: Dependencies, kept: Kept, batches: Any, loss: Any
) -> NDArray[np.float64]:
    if importance == "magnitude":
        return magnitudes(model, dependencies, kept)
    if importance == "bn_scale":
        return bn_scales(model, dependencies, kept)
    gradients = loss_gradients(model, taylor_weights(dependencies), batches.take(_TAYLOR_BATCHES), loss)
    return taylor(model, dependencies, kept, gradients)


def _check_settings(
    importance: str,
    scope: str,
    divisor: int,
    steps: int,
    epochs: int,
    distill: float,
    batch_size: int,
    learning_rate: float,
    seed: int | None,
) -> None:
    for name, word, known in (("importance", importance, _IMPORTANCES), ("scope", scope, _SCOPES)):
        if word not in known:
            raise InvalidArgument(f"Expected {name} to be one of {', '.join(known)}, got {word!r}.")
    counts = [("divisor", divisor, 1), ("steps", steps, 1), ("epochs", epochs, 0), ("batch_size", batch_size, 1)]
    for name, value, least in [*counts, *([] if seed is None else [("seed", seed, 0)])]:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InvalidArgument(f"Expected {name} to be an integer of at least {least}, got {value!r}.")
    if not 0 <= distill <= 1:
        raise InvalidArgument(f"Expected distill in [0, 1], got {distill!r}. It is the teacher's share of the loss.")
    if not 0 < learning_rate < math.inf:
        raise InvalidArgument(f"Expected learning_rate > 0, got {learning_rate}. Adam's usual value is 1e-3.")
