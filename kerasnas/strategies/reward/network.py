"""A small ensemble of Keras networks, trained and evaluated in batches on the backend's device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.reward.base import RewardModel

__all__ = ["NetworkEnsemble"]

Array = NDArray[np.float64]

_FEWEST_ROWS = 64
_BATCH = 512


class NetworkEnsemble(RewardModel):
    """Several two-layer networks side by side, each trained without one fold of the rows; they disagree where they guess.

    Training costs seconds, so the networks learn anew only when the number of rows has doubled, and nothing below 64 rows.

    Args:
        encoding: the space.
        members: number of networks and of folds.
        width: units of each hidden layer.
        epochs: full-batch steps of Adam.
    Source:
        Lakshminarayanan et al. 2017 (disagreement as uncertainty); White et al. 2021, section 3 (networks as reward models).
    """

    def __init__(self, encoding: Encoding, *, members: int = 5, width: int = 32, epochs: int = 150) -> None:
        self._encoding = encoding
        self._members, self._width, self._epochs = members, width, epochs
        self._model: Any = None
        self._rows = 0

    def tune(self, units: Array, targets: Array) -> None:
        """Train on the first 64, 128, 256, ... rows."""
        rows = 2 ** int(np.log2(max(len(targets), 1)))
        if rows < _FEWEST_ROWS or rows == self._rows:
            return
        import keras

        self._rows = rows
        inputs = self._inputs(units[:rows])
        folds = np.arange(rows) % self._members
        seen = (folds[:, None] != np.arange(self._members)).astype("float32")
        truth = np.broadcast_to(targets[:rows, None], seen.shape).astype("float32")
        self._model = self._build(inputs.shape[1])
        self._model.compile(optimizer=keras.optimizers.Adam(0.01), loss=_seen_error, jit_compile=False)
        self._model.fit(
            inputs, np.stack([truth, seen], axis=-1), epochs=self._epochs, batch_size=rows, shuffle=False, verbose=0
        )
        self._held_out = self._outputs(inputs)[np.arange(rows), folds]

    def fit(self, units: Array, targets: Array) -> None:
        """Keep what `tune` has learnt."""

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation over the networks."""
        outputs = self._outputs(self._inputs(units))
        return outputs.mean(axis=1), outputs.std(axis=1) + 1e-3

    def held_out(self) -> Array:
        """Return the prediction of each row by the network that did not see it; nothing before the first training."""
        return self._held_out if self._rows else np.zeros(0)

    def _build(self, width: int) -> Any:
        import keras

        def dense(units: int, seed: int, activation: str | None = None) -> Any:
            # seeds of its own: the global generator belongs to the user
            return keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.HeNormal(seed=seed))

        inputs = keras.Input((width,))
        outputs = []
        for member in range(self._members):
            hidden = dense(self._width, 3 * member, "relu")(inputs)
            hidden = dense(self._width, 3 * member + 1, "relu")(hidden)
            outputs.append(dense(1, 3 * member + 2)(hidden))
        return keras.Model(inputs, keras.layers.Concatenate()(outputs))

    def _outputs(self, inputs: NDArray[np.float32]) -> Array:
        """Evaluate in batches of one size, so that the backend compiles once."""
        padded = np.zeros((-(-len(inputs) // _BATCH) * _BATCH, inputs.shape[1]), "float32")
        padded[: len(inputs)] = inputs
        batches = [np.asarray(self._model.predict_on_batch(padded[i : i + _BATCH])) for i in range(0, len(padded), _BATCH)]
        return np.concatenate(batches)[: len(inputs)].astype(np.float64)

    def _inputs(self, units: Array) -> NDArray[np.float32]:
        columns = []
        for column, size in enumerate(self._encoding.sizes):
            position = units[:, column]
            if size is None or self._encoding.ordered[column]:
                columns += [np.nan_to_num(2 * position - 1)[:, None], np.isnan(position)[:, None]]
            elif size > 1:
                columns.append(np.floor(np.nan_to_num(position, nan=-1.0) * size)[:, None] == np.arange(size))
        return np.hstack([*columns, np.ones((len(units), 1))]).astype("float32")


def _seen_error(truth: Any, predicted: Any) -> Any:
    """Squared error of the rows that a member may see."""
    from keras import ops

    return ops.mean(truth[..., 1] * ops.square(truth[..., 0] - predicted))
