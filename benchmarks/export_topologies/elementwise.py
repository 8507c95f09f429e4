"""Normalisations, activations and regularisers."""

import keras
from keras import layers

from export_topologies.topology import Topology, on, single

__all__ = ["ACTIVATIONS", "NORMALIZATIONS", "REGULARIZERS"]

ROW, IMAGE = (6, 8), (6, 6, 4)

NORMALIZATIONS = {
    "BatchNormalization": single(IMAGE, layers.BatchNormalization),
    "BatchNormalization of a row": single((8,), layers.BatchNormalization, center=False),
    "BatchNormalization after Conv2D": on(IMAGE, lambda x: layers.BatchNormalization()(layers.Conv2D(4, 3)(x))),
    "BatchNormalization after DepthwiseConv2D": on(
        IMAGE, lambda x: layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(x))
    ),
    "LayerNormalization": single(IMAGE, layers.LayerNormalization),
    "LayerNormalization over several axes": single(IMAGE, layers.LayerNormalization, axis=[1, 2, 3]),
    "RMSNormalization": single(ROW, layers.RMSNormalization),
    "GroupNormalization": single(IMAGE, layers.GroupNormalization, 2),
    "GroupNormalization of each channel": single(IMAGE, layers.GroupNormalization, -1),
    "UnitNormalization": single(ROW, layers.UnitNormalization),
    "SpectralNormalization of Conv2D": on(IMAGE, lambda x: layers.SpectralNormalization(layers.Conv2D(4, 3))(x)),
    "SpectralNormalization of Dense": on(ROW, lambda x: layers.SpectralNormalization(layers.Dense(4))(x)),
}


def exact_gelu(x):
    """Return x * Phi(x), with the error function."""
    return keras.activations.gelu(x, approximate=False)


NAMES = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid log_softmax mish "
    "relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh "
    "tanh_shrink threshold"
).split()
ARGUMENTS = {"threshold": {"threshold": 0.2, "default_value": -0.3}}


def activation(name: str) -> Topology:
    """Return the topology of an activation between two dense layers, over inputs on both sides of 0."""

    def function(x):
        return getattr(keras.activations, name)(x, **ARGUMENTS.get(name, {}))

    return on((8,), lambda x: layers.Dense(5)(layers.Activation(function)(layers.Dense(6)(x))), value_range=(-3.0, 3.0))


ACTIVATIONS = {
    **{f"activation {name}": activation(name) for name in NAMES},
    "activation exact GELU": on((8,), lambda x: layers.Dense(5)(layers.Activation(exact_gelu)(layers.Dense(6)(x)))),
    "activation GLU": on((8,), lambda x: layers.Dense(5)(keras.activations.glu(layers.Dense(6)(x)))),
    "ReLU, leaky, with threshold and ceiling": single((8,), layers.ReLU, max_value=0.8, negative_slope=0.1, threshold=0.2),
    "LeakyReLU": single((8,), layers.LeakyReLU, 0.2),
    "PReLU": single(IMAGE, layers.PReLU),
    "PReLU with shared axes": single(IMAGE, layers.PReLU, shared_axes=[1, 2]),
    "ELU": single((8,), layers.ELU, 0.7),
    "Softmax over several axes": single(IMAGE, layers.Softmax, axis=(1, 2)),
}

REGULARIZERS = {
    "Dropout": single(ROW, layers.Dropout, 0.5),
    "AlphaDropout": single(ROW, layers.AlphaDropout, 0.5),
    "GaussianDropout": single(ROW, layers.GaussianDropout, 0.5),
    "GaussianNoise": single(ROW, layers.GaussianNoise, 1.0),
    "SpatialDropout1D": single(ROW, layers.SpatialDropout1D, 0.5),
    "SpatialDropout2D": single(IMAGE, layers.SpatialDropout2D, 0.5),
    "SpatialDropout3D": single((4, 4, 4, 2), layers.SpatialDropout3D, 0.5),
    "ActivityRegularization": single(ROW, layers.ActivityRegularization, l2=0.1),
}
