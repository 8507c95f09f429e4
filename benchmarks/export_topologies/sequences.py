"""Attention and recurrent layers."""

import keras
from keras import layers

from export_topologies.topology import Topology, on, single

__all__ = ["ATTENTION", "RECURRENT"]

ROW = (6, 8)
TOKENS = {"dtype": "int32", "value_range": (0, 9)}


def of_two(body, **settings) -> Topology:
    """Return the topology of a query and the sequence that it asks."""

    def build() -> keras.Model:
        query, value = keras.Input((5, 8), name="query"), keras.Input(ROW, name="value")
        return keras.Model([query, value], body(query, value))

    return Topology(build, **settings)


def masked(length: int):
    """Return a mask that hides the last places of a sequence from the first ones."""
    return keras.ops.arange(length)[:, None] >= keras.ops.arange(6)[None] - 2


def block(x, *, causal: bool = False):
    """Return a transformer block (pre-norm)."""
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y, use_causal_mask=causal)])
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dropout(0.1)(layers.Dense(8)(y))])


def positions(x):
    """Return token embeddings with those of their places."""
    return x + layers.Embedding(6, 8)(keras.ops.arange(6)[None])


ATTENTION = {
    "Attention": of_two(lambda q, v: layers.Attention(use_scale=True)([q, v])),
    "Attention by concatenation": of_two(lambda q, v: layers.Attention(score_mode="concat")([q, v])),
    "Attention, causal": on(ROW, lambda x: layers.Attention()([x, x], use_causal_mask=True)),
    "AdditiveAttention": of_two(lambda q, v: layers.AdditiveAttention()([q, v])),
    "MultiHeadAttention to itself": on(ROW, lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "MultiHeadAttention, causal": on(ROW, lambda x: layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)),
    "MultiHeadAttention to another": of_two(lambda q, v: layers.MultiHeadAttention(2, 4, value_dim=3)(q, v)),
    "MultiHeadAttention with a mask": of_two(
        lambda q, v: layers.MultiHeadAttention(2, 4)(q, v, attention_mask=keras.ops.cast(masked(5), "bool")[None])
    ),
    "MultiHeadAttention with its scores": on(
        ROW, lambda x: layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)
    ),
    "MultiHeadAttention, free length": on((None, 8), lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "MultiHeadAttention over two axes": on((4, 3, 8), lambda x: layers.MultiHeadAttention(2, 4, attention_axes=(1, 2))(x, x)),
    "GroupQueryAttention": on(ROW, lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x)),
    "GroupQueryAttention, causal": on(ROW, lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x, use_causal_mask=True)),
    "transformer block": on(ROW, block),
    "transformer block, causal, on tokens": on(
        (6,), lambda x: block(positions(layers.Embedding(10, 8)(x)), causal=True), **TOKENS
    ),
    "transformer block on tokens with padding": on(
        (6,), lambda x: layers.GlobalAveragePooling1D()(block(layers.Embedding(10, 8, mask_zero=True)(x))), **TOKENS
    ),
}


def stateful(layer):
    """Return what goes out and the states of a layer that was given its first states."""

    def build() -> keras.Model:
        x, states = keras.Input(ROW, name="x"), [keras.Input((4,), name=name) for name in ("h", "c")]
        return keras.Model([x, *states], layer(4, return_state=True)(x, initial_state=states))

    return Topology(build)


RECURRENT = {
    "SimpleRNN": single(ROW, layers.SimpleRNN, 4),
    "LSTM": single(ROW, layers.LSTM, 4),
    "LSTM, all steps": single(ROW, layers.LSTM, 4, return_sequences=True, dropout=0.2, recurrent_dropout=0.2),
    "LSTM, backwards": single(ROW, layers.LSTM, 4, go_backwards=True, return_sequences=True),
    "LSTM, unrolled": single(ROW, layers.LSTM, 4, unroll=True),
    "LSTM, other activations": single(ROW, layers.LSTM, 4, activation="relu", recurrent_activation="hard_sigmoid"),
    "LSTM without bias": single(ROW, layers.LSTM, 4, use_bias=False),
    "LSTM, free length": single((None, 8), layers.LSTM, 4),
    "LSTM with states": stateful(layers.LSTM),
    "LSTM, two deep": on(ROW, lambda x: layers.LSTM(3)(layers.LSTM(4, return_sequences=True)(x))),
    "LSTM behind Masking": on(ROW, lambda x: layers.LSTM(4)(layers.Masking(0.0)(layers.ReLU()(x)))),
    "LSTM on tokens with padding": on((6,), lambda x: layers.LSTM(4)(layers.Embedding(10, 5, mask_zero=True)(x)), **TOKENS),
    "GRU": single(ROW, layers.GRU, 4),
    "GRU, reset before": single(ROW, layers.GRU, 4, reset_after=False, return_sequences=True),
    "GRU behind Masking": on(ROW, lambda x: layers.GRU(4)(layers.Masking(0.0)(layers.ReLU()(x)))),
    "Bidirectional LSTM": on(ROW, lambda x: layers.Bidirectional(layers.LSTM(4))(x)),
    "Bidirectional LSTM, all steps": on(ROW, lambda x: layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)),
    "Bidirectional GRU, summed": on(ROW, lambda x: layers.Bidirectional(layers.GRU(4), merge_mode="sum")(x)),
    "RNN of LSTMCell and GRUCell": on(ROW, lambda x: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])(x)),
    "RNN of StackedRNNCells": on(
        ROW, lambda x: layers.RNN(layers.StackedRNNCells([layers.SimpleRNNCell(4), layers.LSTMCell(3)]))(x)
    ),
    "ConvLSTM1D": single((4, 6, 2), layers.ConvLSTM1D, 3, 3),
    "ConvLSTM2D": single((3, 5, 5, 2), layers.ConvLSTM2D, 3, 3, padding="same", return_sequences=True),
    "ConvLSTM3D": single((3, 4, 4, 4, 2), layers.ConvLSTM3D, 2, 3),
    "TimeDistributed Dense": on(ROW, lambda x: layers.TimeDistributed(layers.Dense(3))(x)),
    "TimeDistributed Conv2D": on((3, 6, 6, 2), lambda x: layers.TimeDistributed(layers.Conv2D(3, 3))(x)),
}
