"""A Normalization that does not compute with its weights is refused wherever a model is compressed or exported."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasnas.compress import cluster, prune, prune_channels
from kerasnas.derived_state import check_derived
from kerasnas.errors import InvalidArgument
from kerasnas.export import certify, to_litert, to_onnx

X = np.random.default_rng(0).normal(50, 20, (40, 4)).astype("float32")
Y = np.arange(40) % 2


def build(policy="float32", place="plain"):
    scale = layers.Normalization(dtype=policy, name="scale")
    inputs = keras.Input((4,))
    if place == "nested":
        inner = keras.Input((4,))
        x = keras.Model(inner, scale(inner), name="inner")(inputs)
    elif place == "wrapped":
        x = layers.Flatten()(layers.TimeDistributed(scale)(layers.Reshape((1, 4))(inputs)))
    else:
        x = scale(inputs)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Dense(4)(x))), scale


def stale(place="plain"):
    adapted, scale = build(place=place)
    scale.adapt(X)
    copy, scale = build(place=place)
    copy.set_weights(adapted.get_weights())
    return copy, scale


@pytest.mark.parametrize("place", ["plain", "nested", "wrapped"])
def test_set_weights_alone_is_refused_and_the_advice_works(place):
    model, scale = stale(place)
    with pytest.raises(InvalidArgument, match=r"'scale'.*set_weights.*finalize_state\(\)"):
        check_derived(model)
    scale.finalize_state()
    check_derived(model)


@pytest.mark.parametrize(
    "use",
    [
        lambda model, folder: to_onnx(model, folder / "m.onnx"),
        lambda model, folder: to_litert(model, folder / "m.tflite"),
        lambda model, folder: prune_channels(model),
        lambda model, folder: prune(model, X, Y),
        lambda model, folder: cluster(model, X, Y),
    ],
    ids=["to_onnx", "to_litert", "prune_channels", "prune", "cluster"],
)
def test_neither_export_nor_compression_takes_such_a_model(tmp_path, use):
    with pytest.raises(InvalidArgument, match=r"finalize_state\(\)"):
        use(stale()[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_gets_no_certificate_beside_such_a_copy_of_its_model(tmp_path):
    model, scale = stale()
    scale.finalize_state()
    file = to_onnx(model, tmp_path / "m.onnx", x=X)
    copy, _ = build()
    copy.set_weights(model.get_weights())
    with pytest.raises(InvalidArgument, match=r"finalize_state\(\)"):
        certify(file, model=copy, x=X, y=Y)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_models_that_compute_with_their_weights_pass(policy):
    model, scale = build(policy)
    check_derived(model)  # not adapted
    scale.adapt(X)
    check_derived(model)
    scale.adapt(X * np.nan)
    check_derived(model)
    given = layers.Normalization(mean=3.0, variance=2.0, dtype=policy)
    check_derived(keras.Sequential([keras.Input((4,)), given]))


def test_averaged_weights_are_those_that_it_computes_with_but_for_the_last_bit():
    model, scale = build()
    scale.adapt(X)
    weights = model.get_weights()
    model.set_weights([np.mean([w, w, w, w, w], axis=0) if w.dtype == np.float32 else w for w in weights])
    check_derived(model)
    scale.adapt_mean.assign(np.nextafter(scale.adapt_mean.numpy(), np.float32(1e9)))
    check_derived(model)
    scale.adapt_mean.assign(scale.adapt_mean.numpy() * 1.0001)
    with pytest.raises(InvalidArgument, match="finalize_state"):
        check_derived(model)


class _Around(layers.Layer):
    """A layer of one's own whose parts Keras builds while it traces the call."""

    def __init__(self):
        super().__init__()
        self.scale = layers.Normalization(name="scale")

    def call(self, x):
        return self.scale(x)


def test_a_mean_that_was_only_traced_is_told_and_the_advice_works():
    inputs = keras.Input((4,))
    around = _Around()
    model = keras.Model(inputs, layers.Dense(2)(around(inputs)))
    with pytest.raises(InvalidArgument, match=r"'scale'.*traced.*finalize_state\(\)"):
        check_derived(model)
    around.scale.finalize_state()
    check_derived(model)
    assert np.isfinite(model.predict(X, verbose=0)).all()
