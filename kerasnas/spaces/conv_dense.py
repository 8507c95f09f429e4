"""The convolution-and-dense search space for image classifiers."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import keras_tuner as kt
import numpy as np
from keras import layers

from kerasnas.errors import InvalidArgument
from kerasnas.spaces.blocks import BLOCKS, LAST, BlockStyle, block, pool

__all__ = ["ConvDense"]

# Pixels across the last feature maps that the default network comes to, if it has stages enough; those of ResNet and VGG.
_LAST_SIDE = 7


class ConvDense(kt.HyperModel):
    """Image classifiers of one to a few stages of convolution blocks and a dense head.

    Each stage chooses its block kind, depth, width, kernel, squeeze-and-excitation and shortcut; between stages the picture is
    halved. The raw pixels are scaled inside the model, so that a file made from it takes raw pixels. The defaults are a small
    network that trains fast: two stages of one convolution each, more until the picture is 7 pixels wide, and a flat head.
    `fit` takes integer or one-hot labels; the models are compiled for one-hot labels, since label smoothing needs them.

    Args:
        input_shape: (height, width, channels), each >= 1.
        classes: number of classes, >= 2.
        mean: mean raw pixel value, one number or one per channel, subtracted first.
        standard_deviation: raw pixels are divided by it after that, > 0.
        stages: largest number of stages, >= 1.
        blocks: largest number of blocks in a stage, >= 1.
        filters: choices for the width of the first stage; each further stage may double it.
        dense_layers: largest number of hidden dense layers, >= 0.
        dense_units: choices for their width.
        flip: whether augmentation may mirror pictures; wrong for digits and text.
    Raises:
        InvalidArgument: for sizes that no network can be built from.
    Example:
        >>> space = ConvDense.tiny((8, 8, 1), 10)
        >>> model = space.build(kt.HyperParameters())
        >>> model.output_shape
        (None, 10)
    """

    # Read by NASTuner: one call of declare_hyperparameters registers every entry, no model need be built for it.
    declares_whole_space = True
    # Likewise: what `fit` reads besides `build`. Two configurations that agree in it, and whose networks are the same, are one.
    fit_hyperparameters = ("schedule",)

    metrics = ("accuracy",)  # that its models are compiled with

    def __init__(
        self,
        input_shape: Sequence[int],
        classes: int,
        *,
        mean: float | Sequence[float] = 0.0,
        standard_deviation: float | Sequence[float] = 255.0,
        stages: int = 3,
        blocks: int = 2,
        filters: Sequence[int] = (8, 16, 32),
        dense_layers: int = 2,
        dense_units: Sequence[int] = (32, 64, 128),
        flip: bool = False,
    ) -> None:
        super().__init__(name="conv_dense")
        if len(input_shape) != 3 or not all(_is_count(n) for n in input_shape):
            raise InvalidArgument(f"Expected `input_shape` to be (height, width, channels), each >= 1, got {input_shape}.")
        if not _is_count(classes) or classes < 2:
            raise InvalidArgument(f"Expected `classes` to be at least 2, got {classes}.")
        if not (_is_count(stages) and _is_count(blocks) and _is_count(dense_layers, least=0)):
            raise InvalidArgument(
                "Expected integers `stages` >= 1, `blocks` >= 1 and `dense_layers` >= 0, "
                f"got {stages}, {blocks} and {dense_layers}."
            )
        for name, widths in (("filters", filters), ("dense_units", dense_units)):
            if np.ndim(widths) != 1 or not len(widths) or not all(_is_count(n) for n in widths):
                raise InvalidArgument(f"Expected `{name}` to list at least one width, each >= 1, got {widths}.")
        # Python numbers throughout: Keras 3 refuses NumPy integers, and a config must be JSON.
        self.input_shape = tuple(int(n) for n in input_shape)
        self.classes = int(classes)
        self.mean = _per_channel("mean", mean, self.input_shape[-1])
        self.standard_deviation = _per_channel("standard_deviation", standard_deviation, self.input_shape[-1])
        if min(self.standard_deviation) <= 0:
            raise InvalidArgument(f"Expected `standard_deviation` to be > 0, got {standard_deviation}.")
        self.stages, self.blocks, self.dense_layers = int(stages), int(blocks), int(dense_layers)
        self.filters, self.dense_units = [int(n) for n in filters], [int(n) for n in dense_units]
        self.flip = flip

    @classmethod
    def tiny(cls, input_shape: Sequence[int], classes: int, **kwargs: Any) -> "ConvDense":
        """Nine in ten have 500 to 100 thousand parameters at 8x8; for such small pictures and for microcontrollers."""
        sizes: dict[str, Any] = {
            "stages": 2,
            "blocks": 2,
            "filters": (8, 16, 24),
            "dense_layers": 1,
            "dense_units": (16, 32, 64),
        }
        return cls(input_shape, classes, **(sizes | kwargs))

    @classmethod
    def small(cls, input_shape: Sequence[int], classes: int, **kwargs: Any) -> "ConvDense":
        """Nine in ten have 2 thousand to 1 million parameters at 28x28, 4 million at 64x64; for pictures of such sizes."""
        return cls(input_shape, classes, **kwargs)

    @classmethod
    def base(cls, input_shape: Sequence[int], classes: int, **kwargs: Any) -> "ConvDense":
        """Nine in ten have 20 thousand to 40 million parameters at 96x96; for larger pictures and a GPU."""
        sizes: dict[str, Any] = {"stages": 5, "blocks": 3, "filters": (24, 32, 48, 64), "dense_units": (64, 128, 256)}
        return cls(input_shape, classes, **(sizes | kwargs))

    def declare_hyperparameters(self, hp: kt.HyperParameters) -> None:
        """Register every entry of the space in `hp`, without building a model."""
        hp.Choice("activation", ["relu", "swish", "gelu", "elu"])
        hp.Choice("normalization", ["batch", "layer", "none"])
        hp.Choice("filters", self.filters, default=self.filters[(len(self.filters) - 1) // 2])
        halvings = math.ceil(math.log2(max(min(self.input_shape[:2]) / _LAST_SIDE, 1.0)))
        hp.Int("stages", 1, self.stages, default=min(max(halvings, 2), self.stages))
        hp.Choice("pooling", ["max", "average", "stride"])
        hp.Choice("pool_size", [2, 3])
        for s in range(1, self.stages + 1):
            with hp.conditional_scope("stages", list(range(s, self.stages + 1))):
                hp.Int(f"stage_{s}_blocks", 1, self.blocks)
                hp.Choice(f"stage_{s}_kind", list(BLOCKS))
                hp.Choice(f"stage_{s}_kernel", [3, 5, 7])
                hp.Boolean(f"stage_{s}_squeeze_excite")
                if s > 1:
                    hp.Boolean(f"stage_{s}_double_filters", default=True)
                with hp.conditional_scope(f"stage_{s}_kind", ["conv", "separable"]):
                    hp.Boolean(f"stage_{s}_skip")
        hp.Choice("head", ["global_average", "global_max", "flatten"], default="flatten")
        hp.Int("dense_layers", 0, self.dense_layers)
        for i in range(1, self.dense_layers + 1):
            with hp.conditional_scope("dense_layers", list(range(i, self.dense_layers + 1))):
                hp.Choice(f"dense_{i}_units", self.dense_units)
        hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.2)
        hp.Choice("l2", [0.0, 1e-5, 1e-4, 1e-3])
        hp.Boolean("augment")
        with hp.conditional_scope("augment", [True]):
            hp.Float("shift", 0.0, 0.15, step=0.05)
            hp.Float("rotation", 0.0, 0.1, step=0.025)
            hp.Float("zoom", 0.0, 0.2, step=0.1)
            if self.flip:
                hp.Boolean("mirror")
        hp.Choice("optimizer", ["adam", "adamw", "sgd"])
        # Plain SGD wants rates some thirty times those of Adam.
        with hp.conditional_scope("optimizer", ["adam", "adamw"]):
            hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=2e-3)
        with hp.conditional_scope("optimizer", ["sgd"]):
            hp.Float("sgd_learning_rate", 1e-2, 3e-1, sampling="log", default=5e-2)
        hp.Choice("schedule", ["constant", "cosine"], default="cosine")
        hp.Choice("label_smoothing", [0.0, 0.05, 0.1])

    def build(self, hp: kt.HyperParameters) -> keras.Model:
        """Return the compiled model that `hp` describes."""
        self.declare_hyperparameters(hp)
        style = BlockStyle(hp.get("activation"), hp.get("normalization"), hp.get("l2"))
        inputs = keras.Input(self.input_shape, name="image")
        x = layers.Normalization(mean=self.mean, variance=[s**2 for s in self.standard_deviation], name="scale")(inputs)
        if hp.get("augment"):
            x = self._augment(hp, x)

        filters = hp.get("filters")
        for s in range(1, hp.get("stages") + 1):
            if s > 1:
                x = pool(x, hp.get("pooling"), hp.get("pool_size"), style=style, name=f"pool_{s - 1}")
                filters *= 2 if hp.get(f"stage_{s}_double_filters") else 1
            kind = hp.get(f"stage_{s}_kind")
            for b in range(1, hp.get(f"stage_{s}_blocks") + 1):
                x = block(
                    x,
                    kind,
                    filters,
                    hp.get(f"stage_{s}_kernel"),
                    style=style,
                    squeeze=hp.get(f"stage_{s}_squeeze_excite"),
                    skip=kind in ("conv", "separable") and hp.get(f"stage_{s}_skip"),
                    name=f"stage_{s}_block_{b}",
                )

        heads = {
            "global_average": layers.GlobalAveragePooling2D,
            "global_max": layers.GlobalMaxPooling2D,
            "flatten": layers.Flatten,
        }
        x = heads[hp.get("head")](data_format=LAST, name="head")(x)
        for i in range(1, hp.get("dense_layers") + 1):
            units, penalty = hp.get(f"dense_{i}_units"), style.regularizer
            x = layers.Dense(units, activation=style.activation, kernel_regularizer=penalty, name=f"dense_{i}")(x)
        if hp.get("dropout"):
            x = layers.Dropout(hp.get("dropout"), name="dropout")(x)
        outputs = layers.Dense(self.classes, activation="softmax", dtype="float32", name="probabilities")(x)

        model = keras.Model(inputs, outputs, name="classifier")
        model.compile(
            optimizer=_optimizer(hp),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=hp.get("label_smoothing")),
            metrics=[*self.metrics],
        )
        return model

    def fit(self, hp: kt.HyperParameters, model: keras.Model, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train `model` with the learning-rate schedule of `hp`; takes what `keras.Model.fit` takes.

        Raises:
            InvalidArgument: for labels that are not classes.
        """
        if hp.get("schedule") == "cosine":
            rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            epochs = kwargs.get("epochs", args[1] if len(args) > 1 else 1)
            callback = keras.callbacks.LearningRateScheduler(partial(_cosine, initial=rate, epochs=epochs))
            # First, so that the callbacks of the caller see the rate among the logs.
            kwargs["callbacks"] = [callback, *(kwargs.get("callbacks") or [])]
        validation = kwargs.get("validation_data")
        if isinstance(validation, tuple | list):
            kwargs["validation_data"] = (validation[0], self._one_hot(validation[1]), *validation[2:])
        return model.fit(x, self._one_hot(y), *args, **kwargs)

    def _one_hot(self, y: Any) -> Any:
        """Return integer labels, shape (samples,) or (samples, 1), as one-hot rows; anything else is left as it is."""
        shape: tuple[int, ...] = np.shape(y) if y is not None else ()
        if len(shape) == 2 and shape[1] not in (1, self.classes):
            raise InvalidArgument(f"Expected one-hot labels of {self.classes} columns, got shape {shape}.")
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
            return y
        labels = np.asarray(y).reshape(-1)
        if labels.dtype.kind not in "biuf" or not (labels == np.floor(labels)).all():
            raise InvalidArgument(f"Expected integer or one-hot labels, got {labels[:5]} of dtype {labels.dtype}.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.classes:
            raise InvalidArgument(
                f"Expected labels from 0 to {self.classes - 1}, got {labels.min()} to {labels.max()}. "
                "Number the classes from 0, or pass the right `classes`."
            )
        return keras.utils.to_categorical(labels, self.classes)

    def _augment(self, hp: kt.HyperParameters, x: Any) -> Any:
        how = {"fill_mode": "nearest", "data_format": LAST}
        if self.flip and hp.get("mirror"):
            x = layers.RandomFlip("horizontal", data_format=LAST, name="mirror")(x)
        if hp.get("shift"):
            x = layers.RandomTranslation(hp.get("shift"), hp.get("shift"), **how, name="shift")(x)
        if hp.get("rotation"):
            x = layers.RandomRotation(hp.get("rotation"), **how, name="rotation")(x)
        if hp.get("zoom"):
            x = layers.RandomZoom(hp.get("zoom"), **how, name="zoom")(x)
        return x


def _optimizer(hp: kt.HyperParameters) -> keras.optimizers.Optimizer:
    if hp.get("optimizer") == "sgd":
        return keras.optimizers.SGD(hp.get("sgd_learning_rate"), momentum=0.9, nesterov=True, clipnorm=1.0)
    kinds = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}
    return kinds[hp.get("optimizer")](hp.get("learning_rate"))


def _cosine(epoch: int, _: float, *, initial: float, epochs: int) -> float:
    """Half a cosine from `initial` to 1 % of it (Loshchilov & Hutter 2017, eq. 5)."""
    progress = min(epoch / max(epochs - 1, 1), 1.0)
    return initial * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _is_count(value: Any, *, least: int = 1) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least


def _per_channel(name: str, value: float | Sequence[float], channels: int) -> list[float]:
    values = np.asarray(value, "float64")
    if values.shape not in ((), (1,), (channels,)) or not np.isfinite(values).all():
        raise InvalidArgument(f"Expected `{name}` to be one finite number, or {channels}, one per channel, got {value}.")
    return [float(v) for v in np.broadcast_to(values, (channels,))]
