"""The training that makes up for removed channels."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerasnas.compress.channels.importance import layer_at
from kerasnas.compress.channels.tracer import Path
from kerasnas.compress.checks import check_converged
from kerasnas.compress.training_data import shuffled
from kerasnas.errors import InvalidArgument

__all__ = ["distillation_loss", "fine_tune", "loss_gradients", "with_lessons"]

Loss = Callable[[Any, Any], Any]
_LESSON = 256  # rows that the teacher is asked at once
_ENDLESS = 1_000_000
_TEMPERATURE = 4.0  # softens both outputs; Hinton et al. found 2.5 to 4 best for small networks


def fine_tune(
    model: keras.Model,
    batches: Any,
    loss: Loss,
    *,
    teacher: keras.Model | None,
    distill: float,
    epochs: int,
    learning_rate: float,
    verbose: int,
    seconds: float | None = None,
) -> None:
    """Train a model in place with Adam; its learning rate falls to zero along half a cosine.

    Args:
        model: the smaller one; its own optimizer and compile settings are left alone.
        batches: a tf.data.Dataset of (inputs, labels), the labels as `loss` takes them, or what `with_lessons` made of it.
        loss: called with (labels, outputs), gives a scalar; the model's own penalties are added to it.
        teacher: the original.
        distill: the share of the loss that is the distance to the teacher's outputs, in [0, 1].
        epochs: passes over the data, >= 1; of no account where there are `seconds`.
        learning_rate: the first one, > 0.
        verbose: as in `fit`.
        seconds: how long to train instead, the compilation included; the cosine then follows the clock.

    Raises:
        KerasNASError: if a weight is not finite afterwards.

    Source:
        The schedule: Loshchilov and Hutter 2017, equation 5. Distillation: Hinton et al. 2015, section 2.
    """
    distance = distillation_loss(model, loss)

    def total(x: Any, y: Any, outputs: Any) -> Any:
        y, taught = y if isinstance(y, tuple) else (y, None)
        value = (1 - distill) * keras.ops.mean(loss(y, outputs)) if distill < 1 else 0.0
        if distill and teacher is not None:
            taught = teacher(x, training=False) if taught is None else taught
            value += distill * distance(keras.ops.stop_gradient(taught), outputs)
        return value

    trainer = _Trainer(model, total)
    rate = learning_rate if seconds else keras.optimizers.schedules.CosineDecay(learning_rate, epochs * len(batches))
    # XLA takes longer to compile on a CPU than a few epochs take.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    trainer.compile(keras.optimizers.Adam(rate), jit_compile=jit)
    trainer.fit(
        batches,
        epochs=epochs if seconds is None else _ENDLESS,
        verbose=verbose,
        shuffle=False,
        callbacks=[_Clock(learning_rate, seconds)] if seconds else None,
    )
    check_converged(model, learning_rate)


def with_lessons(
    batches: Any, teacher: keras.Model, inputs: NDArray[Any], labels: Any, batch_size: int, seed: int | None
) -> Any:
    """Return batches of (inputs, (labels, outputs of the teacher)): asked once, not in each epoch.

    `batches` themselves are returned where the outputs would take more room than the inputs.

    Args:
        batches: of (inputs, labels).
        teacher: the original.
        inputs: all inputs, shape (n, ...).
        labels: as the loss takes them, n of them.
        batch_size: rows per batch.
        seed: of the order; None for another one each time.
    """
    sizes = [list(shape[1:]) for shape in (teacher.output_shape, inputs.shape)]
    if None in sizes[0] or np.prod(sizes[0]) > np.prod(sizes[1]):
        return batches
    parts = [inputs[start : start + _LESSON] for start in range(0, len(inputs), _LESSON)]
    taught = np.concatenate([keras.ops.convert_to_numpy(teacher(part, training=False)) for part in parts])
    return shuffled((inputs, (labels, taught)), batch_size, seed)


class _Clock(keras.callbacks.Callback):
    """Lowers the learning rate along half a cosine of the time that has passed, and ends the training with it."""

    def __init__(self, learning_rate: float, seconds: float) -> None:
        super().__init__()
        self._rate, self._seconds, self._start = learning_rate, seconds, time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        part = min((time.perf_counter() - self._start) / self._seconds, 1.0)
        self.model.optimizer.learning_rate = self._rate * (1 + math.cos(math.pi * part)) / 2

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        if time.perf_counter() - self._start >= self._seconds:
            self.model.stop_training = True


class _Trainer(keras.Model):
    def __init__(self, network: keras.Model, total: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__(name=network.name)
        self.network = network
        self._total = total

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.network(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        del sample_weight, training
        return self._total(x, y, y_pred) + sum(self.losses)


def distillation_loss(model: keras.Model, loss: Any) -> Loss:
    """Return the distance of outputs to those of a teacher, called with (teacher, student).

    Between classes it is the Kullback-Leibler divergence at temperature 4, times its square; else the mean squared error.
    """
    operation = model.outputs[0]._keras_history.operation
    while isinstance(operation, keras.Model):
        operation = operation.outputs[0]._keras_history.operation
    activation = getattr(operation, "activation", None)
    name = type(operation).__name__ if activation is None else getattr(activation, "__name__", "")
    if name.lower() == "softmax":
        return lambda teacher, student: _divergence(_log(teacher), _log(student))
    if isinstance(loss, keras.losses.Loss) and loss.get_config().get("from_logits") and model.output_shape[-1] > 1:
        return _divergence
    return lambda teacher, student: keras.ops.mean(keras.ops.square(teacher - student))


def _log(probabilities: Any) -> Any:
    return keras.ops.log(keras.ops.clip(probabilities, 1e-7, 1.0))


def _divergence(teacher: Any, student: Any) -> Any:
    soft = keras.ops.softmax(teacher / _TEMPERATURE)
    ratio = keras.ops.log_softmax(teacher / _TEMPERATURE) - keras.ops.log_softmax(student / _TEMPERATURE)
    return _TEMPERATURE**2 * keras.ops.mean(keras.ops.sum(soft * ratio, axis=-1))


def loss_gradients(
    model: keras.Model, weights: Sequence[tuple[Path, int]], batches: Any, loss: Loss
) -> Iterator[dict[tuple[Path, int], NDArray[Any]]]:
    """Yield for each batch the gradients of the loss, at inference, for weights named by layer and index.

    Raises:
        InvalidArgument: on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InvalidArgument(
            f"Expected the TensorFlow backend for importance='taylor', got '{keras.backend.backend()}'. Use 'magnitude' or "
            "'bn_scale', or start the process with KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    values = {key: layer_at(model, key[0]).variables[key[1]].value for key in weights}
    for x, y in batches:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(values.values()))
            value = tf.reduce_mean(loss(y, model(x, training=False)))
        found = tape.gradient(value, values, unconnected_gradients="zero")
        yield {key: np.asarray(tf.convert_to_tensor(gradient)) for key, gradient in found.items()}
