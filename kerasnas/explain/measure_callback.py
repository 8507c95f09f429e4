"""Measures of interpretability beside the loss: to watch while training, or to search for."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.integrated_gradients import integrated_gradients
from kerasnas.explain.model.interpretability import Interpretability, interpretability
from kerasnas.explain.random_states import random_states_kept

__all__ = ["MeasureCallback"]


class MeasureCallback(keras.callbacks.Callback):
    """Adds measures of `interpretability` to the metrics of each epoch.

    A search can then have one of them as an objective, beside the accuracy: its Pareto front shows what an explainable
    network costs. The training is the same to the bit as without it. A network that has diverged, so that its weights are
    no longer finite, has NaN, and a warning says so.

    Args:
        measures: names of `interpretability`, such as "depth_layers"; those of maps begin with the name of the method.
        images: what is explained, shape (batch, height, width, channels); a few suffice, as each is predicted some
            hundred times after every epoch. None if no measure is of maps.
        method: `(model, images) -> Attribution`, the method that measures of maps are of.

    Raises:
        InvalidArgument: if there is no measure; at the end of the first epoch, if there is none of such a name.

    Example:
        >>> import keras_tuner as kt
        >>> from kerasnas import NASTuner
        >>> from kerasnas.oracles import DynaOracle
        >>> name = "integrated_gradients_mu_fidelity_mean"
        >>> oracle = DynaOracle(objective=[kt.Objective("val_accuracy", "max"), kt.Objective(name, "max")])
        >>> tuner = NASTuner(my_hypermodel, oracle)  # doctest: +SKIP
        >>> tuner.search(x, y, validation_data=valid, callbacks=[MeasureCallback([name], x_valid[:8])])  # doctest: +SKIP
    """

    def __init__(
        self,
        measures: Sequence[str],
        images: ArrayLike | None = None,
        *,
        method: Callable[..., Attribution] = integrated_gradients,
    ) -> None:
        super().__init__()
        if isinstance(measures, str) or not measures:
            raise InvalidArgument(f"Expected a sequence of names of measures; came {measures!r}.")
        self._measures, self._method = tuple(measures), method
        self._images = None if images is None else np.array(images)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the measures to `logs`, which Keras' own history keeps."""
        try:
            with random_states_kept():
                maps = () if self._images is None else (self._method(self.model, self._images),)
                found = interpretability(self.model, attributions=maps)
        except InvalidArgument as error:
            if all(np.isfinite(weight).all() for weight in self.model.get_weights()):
                raise
            warnings.warn(f"No measures at epoch {epoch + 1}: {error}", stacklevel=2)
            found = Interpretability(dict.fromkeys(self._measures, math.nan))
        unknown = [name for name in self._measures if name not in found]
        if unknown:
            raise InvalidArgument(f"Expected measures among {', '.join(found)}; came {', '.join(unknown)}.")
        if logs is not None:
            logs.update({name: found[name] for name in self._measures})
