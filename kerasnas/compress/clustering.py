"""Weight clustering with tfmot: few distinct values in each kernel, for a smaller download."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasnas.compress.checks import check_converged, check_model, check_parity, check_settings
from kerasnas.compress.clone import clone_trained
from kerasnas.compress.kernels import prunable_kernels
from kerasnas.compress.objective import choose_objective
from kerasnas.compress.tfmot import load_tfmot
from kerasnas.compress.training_data import training_data
from kerasnas.errors import InvalidArgument

__all__ = ["cluster"]


def cluster(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    clusters: int = 16,
    preserve_sparsity: bool = False,
    epochs: int = 2,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    seed: int | None = None,
    verbose: int = 0,
) -> keras.Model:
    """Return a copy of a trained model whose kernels hold few distinct values each, fine-tuned to make up for it.

    This makes the model smaller to download, where it travels compressed (see `sparsity_report`): 16 values take 4 bits where
    32 stood. It does not make it faster, nor smaller in memory. The values of a kernel start as k-means++ picks them; training
    moves them, and the weights from one to another.

    Clustered are the kernels that `prune` prunes, but for those that hold no more than `clusters` values already. Training
    uses Adam and the loss that the model is compiled with, as `prune` does.

    Args:
        model: a built Keras 3 Sequential or Functional model with one input and one output, on the TensorFlow backend;
            left unchanged.
        x: training inputs, shape (n, ...) as the model takes them, or a `tf.data.Dataset` of (inputs, labels) batches.
        y: labels, n of them: class indices or one-hot rows; None with a dataset.
        clusters: most distinct values in a kernel, >= 2; with `preserve_sparsity` >= 3, zero being one of them.
        preserve_sparsity: whether what is zero stays zero: for a model that `prune` made.
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
        >>> small = cluster(prune(model, x, y, sparsity=0.7), x, y, preserve_sparsity=True)  # doctest: +SKIP
        >>> max(kernel.distinct for kernel in sparsity_report(small).kernels)  # doctest: +SKIP
        16

    Source:
        Han, Mao and Dally 2016, "Deep compression", section 3, through tfmot's ClusterWeights; its k-means++ has a seed of
        its own.
    """
    check_settings(epochs, batch_size, learning_rate)
    least = 3 if preserve_sparsity else 2
    if isinstance(clusters, bool) or not isinstance(clusters, int) or clusters < least:
        raise InvalidArgument(f"Expected clusters to be a whole number >= {least}, got {clusters!r}. 16 take 4 bits each.")
    check_model(model)
    inputs, labels, batches = training_data(model, x, y, batch_size, seed)
    clustered = clone_trained(model, seed=seed)
    all_kernels = [kernel.variable for kernel in prunable_kernels(clustered)]
    kernels = [kernel for kernel in all_kernels if len(np.unique(kernel.numpy())) > clusters]
    few = {id(kernel) for kernel in all_kernels} - {id(kernel) for kernel in kernels}
    trained = [variable for variable in clustered.trainable_variables if id(variable) not in few]  # few values stay few
    if not kernels:
        raise InvalidArgument(
            f"Expected a model with dense or convolution kernels of more than {clusters} values, '{model.name}' has none."
        )
    loss, encode = choose_objective(model, labels)  # of the copy Keras forgets some settings, such as the delta of Huber
    check_parity(model, clustered, inputs[:8])
    twin, values_of = _build_twin(clustered, trained, kernels, clusters, preserve_sparsity, loss, learning_rate, inputs[:1])
    twin.fit(batches.map(lambda a, b: (a, encode(b))), epochs=epochs, verbose=verbose)
    for kernel, values in zip(kernels, values_of(), strict=True):
        kernel.assign(values)
    check_converged(clustered, learning_rate)
    return clustered


def _build_twin(
    model: keras.Model,
    variables: Sequence[keras.Variable],
    kernels: Sequence[keras.Variable],
    clusters: int,
    preserve_sparsity: bool,
    loss: Callable[[Any, Any], Any],
    learning_rate: float,
    example: np.ndarray,
) -> tuple[Any, Callable[[], list[np.ndarray]]]:
    """Wrap a Keras 3 model in a tf_keras model that tfmot can cluster; also return a way to the clustered kernels.

    As in `build_twin` the twin is a single layer that computes with `model` itself. tfmot puts the clustered kernels, which are
    tensors, in the place of that layer's attributes; there `model` reads them, through Keras' StatelessScope, instead of its
    own variables. Their gradients reach those and the centroids.
    """
    import tensorflow as tf

    tfmot = load_tfmot()
    import tf_keras

    plain = tf.autograph.experimental.do_not_convert
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(variables)
    centroid_optimizer = tf_keras.optimizers.Adam(learning_rate)
    names = [f"kernel_{number}" for number in range(len(kernels))]
    penalties: list[Any] = []
    ours = {id(kernel) for kernel in kernels}
    # In the scope Keras asks the mapping, and nothing else, for what a regularizer weighs.
    weighed = [one for one in model.trainable_variables if one.regularizer is not None and id(one) not in ours]

    def compute(bridge: Any, inputs: Any, training: bool) -> Any:
        mapping = [(kernel, getattr(bridge, name)) for kernel, name in zip(kernels, names, strict=True)]
        mapping += [(variable, variable.value) for variable in weighed]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = model(inputs, training=training)
            penalties[:] = model.losses
        if training:  # what the layers keep for themselves: moving statistics, random states
            for variable in model.non_trainable_variables:
                value = scope.get_current_value(variable)
                if value is not None and id(variable) not in ours:
                    variable.assign(value)
        return outputs

    def learn(twin: Any, inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            predictions = twin(inputs, training=True)
            total = loss(labels, predictions) + sum(penalties)
        centroids = list(twin.clustered.cluster_centroids.values())
        gradients = tape.gradient(total, [variable.value for variable in variables] + centroids)
        if variables:
            optimizer.apply(gradients[: len(variables)], variables)
        centroid_optimizer.apply_gradients(zip(gradients[len(variables) :], centroids, strict=True))
        return {"loss": total}

    class Bridge(tf_keras.layers.Layer, tfmot.clustering.keras.ClusterableLayer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="bridge", autocast=False)
            for name, kernel in zip(names, kernels, strict=True):
                setattr(self, name, kernel.value)

            self.is_training = False

        def call(self, inputs: Any) -> Any:
            return plain(compute)(self, inputs, self.is_training)

        def get_clusterable_weights(self) -> list[tuple[str, Any]]:
            return [(name, kernel.value) for name, kernel in zip(names, kernels, strict=True)]

    class Twin(tf_keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name=model.name, autocast=False)
            self.clustered = tfmot.clustering.keras.cluster_weights(
                Bridge(),
                number_of_clusters=clusters,
                cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
                preserve_sparsity=preserve_sparsity,
            )

        def call(self, inputs: Any, training: bool = False) -> Any:
            self.clustered.layer.is_training = training  # ClusterWeights does not hand it on
            return self.clustered(inputs)

        def train_step(self, data: Any) -> Any:
            return plain(learn)(self, *data)

    twin = Twin()
    twin(example, training=False)  # makes the centroids, which must not happen within a graph
    centroid_optimizer.build(list(twin.clustered.cluster_centroids.values()))
    twin.compile()

    def values() -> list[np.ndarray]:
        twin.clustered.update_clustered_weights_associations()
        return [np.asarray(getattr(twin.clustered.layer, name)) + 0.0 for name in names]

    return twin, values
