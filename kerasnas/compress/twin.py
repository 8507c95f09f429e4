"""The tf_keras model that tfmot sees in place of a Keras 3 model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kerasnas.compress.tfmot import load_tfmot

__all__ = ["build_twin"]


def build_twin(
    model: keras.Model,
    kernels: Sequence[keras.Variable],
    schedule: Callable[[Any], Any],
    loss: Callable[[Any, Any], Any],
    optimizer: keras.optimizers.Optimizer,
    *,
    pattern: tuple[int, int] | None = None,
) -> Any:
    """Wrap a Keras 3 model in a tf_keras model that tfmot can prune, sharing every variable.

    tfmot prunes only tf_keras layers, but it takes any of them that names its prunable weights, and on the TensorFlow
    backend those of Keras 3 are `tf.Variable`s too. So the twin is a single tf_keras layer that computes with `model`
    itself: no layer is translated and no weight copied. Every layer works, custom ones included, and tfmot's masks land
    in `model`.

    Args:
        model: a built Keras 3 model on the TensorFlow backend; `fit` on the twin changes its weights.
        kernels: the variables of `model` to prune.
        schedule: a tfmot PruningSchedule.
        loss: called with (labels, predictions), gives a scalar; the model's own penalties are added to it.
        optimizer: a Keras 3 optimizer, built or not.
        pattern: (m, n) zeroes m of each n consecutive inputs instead of following the schedule.
    Returns:
        A compiled tf_keras model; `fit` needs tfmot's UpdatePruningStep callback.
    """
    import tensorflow as tf

    tfmot = load_tfmot()
    import tf_keras

    optimizer.build(model.trainable_variables)
    # Without it autograph would rewrite the source of Keras 3, which Keras 3 itself does not let it do.
    plain = tf.autograph.experimental.do_not_convert

    def compute(inputs: Any, training: bool) -> Any:
        return model(inputs, training=training)

    def learn(twin: Any, inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            predictions = twin(inputs, training=True)
            total = loss(labels, predictions) + sum(model.losses)
        variables = model.trainable_variables
        if variables:
            optimizer.apply(tape.gradient(total, [variable.value for variable in variables]), variables)
        return {"loss": total}

    class Bridge(tf_keras.layers.Layer):  # type: ignore[misc]
        # tfmot reads the name `training` off this signature, so that `call` itself must not be decorated.
        def call(self, inputs: Any, training: bool = False) -> Any:
            return plain(compute)(inputs, training)

        def get_prunable_weights(self) -> list[Any]:
            return [kernel.value for kernel in kernels]

    class Twin(tf_keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name=model.name, autocast=False)
            bridge = Bridge(name="bridge", autocast=False)
            settings = {} if pattern is None else {"sparsity_m_by_n": pattern}
            self.pruned = tfmot.sparsity.keras.prune_low_magnitude(bridge, schedule, autocast=False, **settings)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.pruned(inputs, training=training)

        def train_step(self, data: Any) -> Any:
            return plain(learn)(self, *data)

    twin = Twin()
    twin.compile()  # train_step holds the loss and the optimizer; fit only asks that compile was called
    return twin
