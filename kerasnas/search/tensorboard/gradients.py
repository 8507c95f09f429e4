"""The gradient of a model's loss on one batch, on every backend of Keras."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

__all__ = ["LossGradients"]

_Loss = Callable[[Sequence[Any], Sequence[Any]], Any]


class LossGradients:
    """Computes d loss / d variable on one batch, as often as the weights have changed.

    The loss is that of a training step without sample weights: dropout is on, normalisations use the batch, and penalties
    are added. Nothing of the model changes, neither its random states nor its moving averages.

    Args:
        model: a built and compiled model.
        x: a batch of inputs, as the model takes them.
        y: its labels.
    """

    def __init__(self, model: keras.Model, x: Any, y: Any) -> None:
        self._trained, self._others = list(model.trainable_variables), list(model.non_trainable_variables)

        def loss(trained: Sequence[Any], others: Sequence[Any]) -> Any:
            mapping = zip(self._trained + self._others, [*trained, *others], strict=True)
            with keras.StatelessScope(list(mapping), collect_losses=True):
                return model.compute_loss(x=x, y=y, y_pred=model(x, training=True))

        self._gradient = _BACKENDS[keras.backend.backend()](loss)

    def __call__(self) -> list[Any]:
        """Return the gradients by the trainable variables as NumPy arrays; None where the loss does not depend on one."""
        gradients = self._gradient([v.value for v in self._trained], [v.value for v in self._others])
        return [None if gradient is None else keras.ops.convert_to_numpy(gradient) for gradient in gradients]


def _tensorflow(loss: _Loss) -> Callable[..., Sequence[Any]]:
    import tensorflow as tf

    def gradient(trained: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
        trained = [tf.convert_to_tensor(value) for value in trained]
        with tf.GradientTape() as tape:
            tape.watch(trained)
            total = loss(trained, others)
        # An embedding has a gradient of slices, which becomes a tensor here.
        return [None if part is None else tf.convert_to_tensor(part) for part in tape.gradient(total, trained)]

    return gradient


def _jax(loss: _Loss) -> Callable[..., Sequence[Any]]:
    import jax

    compiled: list[Callable[..., Sequence[Any]]] = []

    def gradient(*values: Sequence[Any]) -> Sequence[Any]:
        if not compiled:
            # One short run an epoch: compiling it well, or each operation by itself, takes longer than all of them.
            options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
            compiled.append(jax.jit(jax.grad(loss)).lower(*values).compile(compiler_options=options))
        return compiled[0](*values)

    return gradient


def _torch(loss: _Loss) -> Callable[..., Sequence[Any]]:
    import torch

    def gradient(trained: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
        trained = [value.detach().clone().requires_grad_() for value in trained]
        # Without a seed of its own a dropout draws from the state of the process, which is the training's.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            parts: Sequence[Any] = torch.autograd.grad(loss(trained, others), trained, allow_unused=True)
        return parts

    return gradient


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
