"""A small ensemble of Keras networks, trained and evaluated in batches on the backend's device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasnas.strategies.encoding import Encoding
from kerasnas.strategies.reward.base import RewardModel
from kerasnas.strategies.reward.scale import rank_normal

__all__ = ["NetworkEnsemble"]

Array = NDArray[np.float64]

_FEWEST_ROWS = 64
_SMALLEST_BATCH, _LARGEST_BATCH = 512, 65_536


class NetworkEnsemble(RewardModel):
    """Several two-layer networks side by side, each trained without one fold of the rows; they disagree where they guess.

    Training costs a second or two, so the networks learn anew only when there are four times as many rows, and nothing below
    64; rows that came since count as held out.

    Args:
        encoding: the space.
        members: number of networks and of folds.
        width: units of each hidden layer.
        epochs: full-batch steps of AdamW.
    Source:
        Lakshminarayanan et al. 2017 (disagreement as uncertainty); White et al. 2021, section 3 (networks as reward models).
    """

    def __init__(self, encoding: Encoding, *, members: int = 5, width: int = 32, epochs: int = 100) -> None:
        self._encoding = encoding
        self._members, self._width, self._epochs = members, width, epochs
        self._model: Any = None
        self._rows = 0

    def tune(self, units: Array, targets: Array) -> None:
        """Train on the first 64, 256, 1024, ... rows, unless that is done."""
        rows = max((_FEWEST_ROWS * 4**k for k in range(12) if _FEWEST_ROWS * 4**k <= len(targets)), default=0)
        if rows > self._rows:
            # Ranks again: those among these rows alone stay the same when more rows come.
            self._train(units[:rows], rank_normal(targets[:rows]))

    def _train(self, units: Array, targets: Array) -> None:
        import keras

        self._rows = len(targets)
        inputs = self._inputs(units)
        folds = np.arange(len(targets)) % self._members
        self._seen = folds[:, None] != np.arange(self._members)
        truth_and_seen = np.stack([np.broadcast_to(targets[:, None], self._seen.shape), self._seen], axis=-1).astype("float32")
        self._model = self._build(inputs.shape[1])
        self._model.compile(
            optimizer=keras.optimizers.AdamW(0.01, weight_decay=1.0),
            loss=_seen_error,
            jit_compile=keras.backend.backend() == "jax",
        )
        # All steps as one epoch of repeated rows: what surrounds an epoch costs more than the steps.
        repeats = (self._epochs, 1)
        self._model.fit(
            np.tile(inputs, repeats), np.tile(truth_and_seen, (*repeats, 1)), batch_size=len(targets), shuffle=False, verbose=0
        )

    def fit(self, units: Array, targets: Array) -> None:
        """Put what `tune` has learnt on the scale of these targets, by regression on the held-out outputs."""
        if not self._rows:
            return
        outputs = self._outputs(self._inputs(units))
        outputs[: self._rows][self._seen] = np.nan
        held_out = np.nanmean(outputs, axis=1)
        centred = held_out - held_out.mean()
        self._slope = max(float(centred @ targets) / max(float(centred @ centred), 1e-12), 0.0)
        self._offset = float(targets.mean() - self._slope * held_out.mean())
        self._held_out = self._offset + self._slope * held_out

    def predict(self, units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation over the networks."""
        outputs = self._outputs(self._inputs(units))
        return self._offset + self._slope * outputs.mean(axis=1), self._slope * outputs.std(axis=1) + 1e-3

    def held_out(self) -> Array:
        """Return the prediction of each row by the networks that did not see it; nothing before the first training."""
        return self._held_out if self._rows else np.zeros(0)

    def _build(self, width: int) -> Any:
        import keras

        members, hidden, fan_in = self._members, self._width, width
        model = keras.Sequential([keras.Input((width,)), keras.layers.RepeatVector(members, dtype="float32")])
        for seed, (units, activation) in enumerate([(hidden, "relu"), (hidden, "relu"), (1, None)]):
            # A seed of its own: the global generator belongs to the user.
            initializer = keras.initializers.RandomNormal(stddev=(2 / fan_in) ** 0.5, seed=seed)
            fan_in = units
            model.add(
                keras.layers.EinsumDense(
                    "bmi,mio->bmo",
                    (members, units),
                    activation,
                    bias_axes="mo",
                    kernel_initializer=initializer,
                    dtype="float32",
                )
            )
        model.add(keras.layers.Reshape((members,), dtype="float32"))
        return model

    def _outputs(self, inputs: NDArray[np.float32]) -> Array:
        """Evaluate in batches whose sizes are powers of two, so that the backend compiles few times."""
        size = min(max(_SMALLEST_BATCH, 2 ** int(np.ceil(np.log2(max(len(inputs), 1))))), _LARGEST_BATCH)
        padded = np.zeros((-(-len(inputs) // size) * size, inputs.shape[1]), "float32")
        padded[: len(inputs)] = inputs
        batches = [np.asarray(self._model.predict_on_batch(padded[i : i + size])) for i in range(0, len(padded), size)]
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
