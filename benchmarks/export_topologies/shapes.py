"""Layers that merge, cut, pad, enlarge and reorder, dense layers and embeddings, and operations of `keras.ops`."""

import keras
from keras import layers, ops

from export_topologies.topology import Topology, on, single

__all__ = ["DENSE", "MERGING", "OPERATIONS", "SHAPES"]

ROW, IMAGE, CUBE = (6, 8), (6, 5, 4), (4, 4, 4, 2)
TOKENS = {"dtype": "int32", "value_range": (0, 9)}


def merged(layer: type, **settings) -> Topology:
    """Return the topology of a layer that merges two inputs of one shape."""

    def build() -> keras.Model:
        inputs = [keras.Input(ROW, name=name) for name in ("a", "b")]
        return keras.Model(inputs, layer(**settings)(inputs))

    return Topology(build)


MERGING = {
    "Add": merged(layers.Add),
    "Average": merged(layers.Average),
    "Concatenate": merged(layers.Concatenate, axis=1),
    "Dot": merged(layers.Dot, axes=2),
    "Dot, normalised": merged(layers.Dot, axes=(1, 1), normalize=True),
    "Maximum": merged(layers.Maximum),
    "Minimum": merged(layers.Minimum),
    "Multiply": merged(layers.Multiply),
    "Subtract": merged(layers.Subtract),
}

SHAPES = {
    "Cropping1D": single(ROW, layers.Cropping1D, (1, 2)),
    "Cropping2D": single(IMAGE, layers.Cropping2D, ((1, 2), (0, 1))),
    "Cropping3D": single(CUBE, layers.Cropping3D, 1),
    "Flatten": single(IMAGE, layers.Flatten),
    "Identity": single(ROW, layers.Identity),
    "Permute": single(IMAGE, layers.Permute, (3, 1, 2)),
    "RepeatVector": single((8,), layers.RepeatVector, 3),
    "Reshape": single(IMAGE, layers.Reshape, (10, -1)),
    "UpSampling1D": single(ROW, layers.UpSampling1D, 2),
    "UpSampling2D": single(IMAGE, layers.UpSampling2D, 2),
    "UpSampling2D, bilinear": single(IMAGE, layers.UpSampling2D, (2, 3), interpolation="bilinear"),
    "UpSampling2D, bicubic": single(IMAGE, layers.UpSampling2D, 2, interpolation="bicubic"),
    "UpSampling3D": single(CUBE, layers.UpSampling3D, (2, 1, 2)),
    "ZeroPadding1D": single(ROW, layers.ZeroPadding1D, (1, 2)),
    "ZeroPadding2D": single(IMAGE, layers.ZeroPadding2D, ((1, 2), (0, 1))),
    "ZeroPadding3D": single(CUBE, layers.ZeroPadding3D, 1),
}


def tied(x):
    """Return scores of all tokens through the transposed embeddings."""
    embedding = layers.ReversibleEmbedding(10, 4)
    return embedding(layers.Dense(4, activation="tanh")(embedding(x)), reverse=True)


DENSE = {
    "Dense": single((8,), layers.Dense, 5, activation="softmax"),
    "Dense on rows": single(ROW, layers.Dense, 5),
    "Dense of low rank": on(ROW, lambda x: low_rank(layers.Dense(5), x)),
    "EinsumDense": single(ROW, layers.EinsumDense, "abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"),
    "Embedding": on((6,), lambda x: layers.Embedding(10, 4)(x), **TOKENS),
    "Embedding, masked, averaged": on(
        (6,), lambda x: layers.GlobalAveragePooling1D()(layers.Embedding(10, 4, mask_zero=True)(x)), **TOKENS
    ),
    "ReversibleEmbedding": on((6,), tied, **TOKENS),
    "Masking": on(ROW, lambda x: layers.Masking(0.0)(layers.ReLU()(x))),
}


def low_rank(layer: keras.Layer, x):
    """Return the output of a dense layer with adapters of rank 2."""
    y = layer(x)
    layer.enable_lora(2)
    return y


def largest(x):
    """Return the two largest values of each row and where they are."""
    values, places = ops.top_k(x, 2)
    return [values, places]


OPERATIONS = {
    "Lambda": on(ROW, lambda x: layers.Lambda(lambda y: ops.sin(y) * 2 + 1, name="wave")(x)),
    "arithmetic": on(ROW, lambda x: (x * 2 - 1) / (ops.abs(x) + 1) + x**2),
    "slices": on(ROW, lambda x: x[:, 1:-1:2, ::-1]),
    "einsum": on(ROW, lambda x: ops.einsum("bij,bkj->bik", x, x)),
    "arg max": on(ROW, lambda x: ops.argmax(x, axis=-1)),
    "top k": on(ROW, largest),
    "where": on(ROW, lambda x: ops.where(ops.logical_and(x > 0.1, x < 0.7), x, -x)),
    "cumulative sum": on(ROW, lambda x: ops.cumsum(x, axis=1)),
    "clip and round": on(ROW, lambda x: ops.round(ops.clip(x * 3, -2, 2)) + ops.floor(x)),
    "statistics": on(
        ROW, lambda x: ops.concatenate([ops.mean(x, 1), ops.std(x, 1), ops.max(x, 1), ops.logsumexp(x, 1)], axis=1)
    ),
    "stack and split": on(ROW, lambda x: ops.stack(ops.split(x, 2, axis=-1), axis=1)),
    "transpose and matmul": on(ROW, lambda x: ops.matmul(ops.transpose(x, (0, 2, 1)), x)),
    "tile and repeat": on(ROW, lambda x: ops.tile(ops.repeat(x, 2, axis=1), (1, 1, 2))),
    "take": on(ROW, lambda x: ops.take(x, [3, 0], axis=1)),
    "one hot": on((6,), lambda x: ops.one_hot(x, 10), **TOKENS),
    "norms": on(ROW, lambda x: ops.normalize(x, axis=-1, order=2)),
    "error function": on(ROW, lambda x: ops.erf(x) + ops.expm1(x) + ops.log1p(ops.abs(x))),
    "triangle": on(ROW, lambda x: ops.triu(x)),
    "Cholesky factor": on(
        (2, 2),
        lambda x: layers.Lambda(ops.cholesky, output_shape=(2, 2), name="culprit")(ops.matmul(x, x) * 0 + ops.eye(2)),
        refused="no operator factorises a matrix",
    ),
}
