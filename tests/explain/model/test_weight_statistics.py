from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.stats import kurtosis

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.streamed_moments import StreamedMoments
from kerasnas.explain.model.weight_statistics import weight_statistics

layers = keras.layers


def dense(kernel):
    model = keras.Sequential([keras.Input((len(kernel),)), layers.Dense(kernel.shape[1], name="dense")])
    model.get_layer("dense").set_weights([kernel.astype("float32"), np.zeros(kernel.shape[1], "float32")])
    return model


def test_stable_rank_of_rank_one_orthogonal_and_diagonal_kernels(rng):
    rank_one = np.outer(rng.normal(size=6), rng.normal(size=4))
    orthogonal = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    diagonal = np.diag([3.0, 2.0, 1.0, 0.0])
    for kernel, expected in ((rank_one, 1), (7 * orthogonal, 6), (diagonal, 14 / 9)):
        row = weight_statistics(dense(kernel)).of("dense")
        assert row.stable_rank == pytest.approx(expected, rel=1e-5)
        assert row.frobenius_norm == pytest.approx(np.sqrt((kernel**2).sum()), rel=1e-5)


def test_convolutions_are_matrices_of_their_filters():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 2, name="conv"),
            layers.DepthwiseConv2D(2, name="depthwise"),
            layers.Conv2D(3, 2, kernel_initializer="zeros", name="zero"),
        ]
    )
    filters = np.eye(8)[:, :4].reshape(2, 2, 2, 4).astype("float32")  # four orthogonal filters
    model.get_layer("conv").set_weights([filters, np.zeros(4, "float32")])
    windows = np.eye(4).reshape(2, 2, 4, 1).astype("float32")  # each channel looks at another place
    model.get_layer("depthwise").set_weights([windows, np.zeros(4, "float32")])
    found = weight_statistics(model)
    assert found.of("conv").stable_rank == pytest.approx(4)
    (depthwise,) = [row for row in found.rows if row.layer == "depthwise" and row.part != "bias"]
    assert np.isnan(found.of("zero").stable_rank)
    assert found.of("zero").zeros_share == 1
    assert np.isnan(found.of("zero").kurtosis)
    assert np.isnan(found.of("conv", "bias").stable_rank)
    assert found.samples == 0
    assert depthwise.stable_rank == pytest.approx(4)


@given(
    st.lists(arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-100, 100, width=32)), min_size=1)
)
def test_moments_in_parts_are_those_of_the_whole(parts):
    whole, moments = np.concatenate(parts).astype(np.float64), StreamedMoments("it", 7)
    for take in (moments.look, moments.measure):
        for part in parts:
            take(part)
    assert moments.count == whole.size
    assert moments.mean == pytest.approx(whole.mean(), abs=1e-9)
    assert moments.sd == pytest.approx(whole.std(), abs=1e-9)
    assert moments.zeros == (whole == 0).sum()
    np.testing.assert_array_equal(moments.low, whole.min(axis=0))
    np.testing.assert_array_equal(moments.histogram, np.histogram(whole, 7)[0])
    if whole.std() > 1e-6:
        assert moments.kurtosis == pytest.approx(kurtosis(whole.ravel()), abs=1e-6)


def with_dead_units(activation="relu", dead=(1, 4)):
    bias = np.zeros(6, "float32")
    bias[list(dead)] = -100
    model = keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            layers.Conv2D(6, 3, activation=activation, name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    model.get_layer("conv").set_weights([model.get_layer("conv").get_weights()[0], bias])
    return model


@pytest.mark.parametrize("dead", [(), (1, 4), (0, 2, 5)])
def test_units_with_a_bias_of_minus_100_are_dead(dead, rng):
    images = rng.normal(size=(60, 5, 5, 1)).astype("float32")
    model = with_dead_units(dead=dead)
    found = weight_statistics(model, images)
    row = found.of("conv", "activation")
    assert (row.units, row.dead_units, row.zero_units) == (6, len(dead), len(dead))
    assert found.dead_units == len(dead)
    assert found.samples == 60
    values = keras.ops.convert_to_numpy(model.layers[0](images)).astype(np.float64)
    assert row.count == values.size
    assert row.zeros_share == (values == 0).mean()
    np.testing.assert_allclose([row.mean, row.sd, row.maximum], [values.mean(), values.std(), values.max()], rtol=1e-4)
    assert row.kurtosis == pytest.approx(kurtosis(values.ravel()), rel=1e-3)
    assert found.of("flat", "activation").dead_units is None
    assert found.of("scores", "activation").dead_units is None  # before the softmax


def test_saturated_units_are_dead_but_not_zero(rng):
    model = with_dead_units("tanh")  # tanh(-100) is -1
    row = weight_statistics(model, rng.normal(size=(20, 5, 5, 1))).of("conv", "activation")
    assert (row.dead_units, row.zero_units, row.minimum) == (2, 0, -1)


def test_a_unit_that_lives_on_one_sample_in_many_chunks_is_not_dead(rng):
    images = np.zeros((600, 5, 5, 1), "float32")
    model = with_dead_units()
    kernel, bias = model.get_layer("conv").get_weights()
    model.get_layer("conv").set_weights([np.abs(kernel), bias])
    assert weight_statistics(model, images).dead_units == 6
    images[571] = 1
    assert weight_statistics(model, images).dead_units == 2


def test_separate_activations_residuals_nested_models_and_attention(rng):
    inputs = keras.Input((4, 4, 2))
    inner = keras.Input((4, 4, 2))
    x = layers.Conv2D(2, 1, name="conv")(inner)
    block = keras.Model(inner, layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x)), name="block")
    x = layers.Reshape((16, 2))(block(inputs) + inputs)
    x = layers.Flatten()(layers.MultiHeadAttention(2, 3, name="attention")(x, x))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="scores")(x))
    block.get_layer("norm").set_weights([np.ones(2), np.array([0, -100]), np.zeros(2), np.ones(2)])
    found = weight_statistics(model, rng.normal(size=(30, 4, 4, 2)))
    assert found.of("block/relu", "activation").dead_units == 1
    assert found.of("block/norm", "activation").dead_units is None
    assert found.of("block/norm", "moving_variance").mean == 1
    assert found.of("attention", "query/kernel").count == 2 * 2 * 3
    parts = [(row.layer, row.part) for row in found.rows]
    assert len(parts) == len(set(parts))
    assert sum(row.count for row in found.rows if row.units is None) == model.count_params()


def test_the_weights_of_wrapped_layers_have_names_of_their_own():
    model = keras.Sequential([keras.Input((4, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(2)])
    found = weight_statistics(model)
    parts = [(row.layer, row.part) for row in found.rows]
    assert len(parts) == len(set(parts))
    assert sum(row.count for row in found.rows) == model.count_params()


def test_the_weights_of_a_wrapped_model_are_told_apart(tmp_path):
    stack = [layers.Conv2D(2, 3, name="one"), layers.Conv2D(4, 3, name="two"), layers.Flatten(), layers.Dense(3, name="dense")]
    frame = keras.Sequential([keras.Input((8, 8, 1)), *stack], name="frame")
    inputs = keras.Input((5, 8, 8, 1))
    model = keras.Model(inputs, layers.LSTM(2)(layers.TimeDistributed(frame, name="frames")(inputs)))
    for name in ("built", "loaded"):
        found = weight_statistics(model)
        parts = [(row.layer, row.part) for row in found.rows]
        assert len(parts) == len(set(parts)), name
        assert sum(row.count for row in found.rows) == model.count_params()
        (two,) = (part for layer, part in parts if layer == "frames" and part.endswith("two/kernel"))
        assert found.of("frames", two).count == 3 * 3 * 2 * 4
        model.save(tmp_path / "m.keras")
        model = keras.models.load_model(tmp_path / "m.keras")


def test_of_two_rows_of_one_name_none_is_taken():
    found = weight_statistics(keras.Sequential([keras.Input((2,)), layers.Dense(2, name="dense")]))
    twice = replace(found, rows=(*found.rows, found.rows[0]))
    with pytest.raises(InvalidArgument, match="there once; came 'dense', 'kernel', of which there are 2"):
        twice.of("dense")
    assert twice.of("dense", "bias").count == 2


def test_a_shared_weight_counts_once():
    inputs, shared = keras.Input((3,)), layers.Dense(3, name="shared")
    inner = keras.Input((3,))
    model = keras.Model(inputs, keras.Model(inner, shared(inner))(shared(inputs)))
    assert sum(row.count for row in weight_statistics(model).rows) == 12


def test_the_table_and_the_picture(rng, tmp_path):
    found = weight_statistics(with_dead_units(), rng.normal(size=(20, 5, 5, 1)), bins=9)
    table = found.to_dataframe()
    assert len(table) == len(found.rows)
    assert table["dead_units"].dropna().tolist() == [2]
    assert all(row.histogram.sum() == row.count and len(row.edges) == 10 for row in found.rows)
    path = found.save(tmp_path / "new" / "statistics.png")
    assert np.asarray(Image.open(path).convert("L")).std() > 0
    assert weight_statistics(dense(np.eye(3))).save(tmp_path / "weights.png").exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "weights.png"]
    with pytest.raises(InvalidArgument, match="png"):
        found.save(tmp_path / "statistics.jpg")


def test_what_is_refused():
    model = with_dead_units()
    with pytest.raises(InvalidArgument, match="at least two"):
        weight_statistics(model, np.zeros((1, 5, 5, 1)))
    with pytest.raises(InvalidArgument, match="came 0"):
        weight_statistics(model, bins=0)
    with pytest.raises(InvalidArgument, match=r"conv \(kernel\)"):
        weight_statistics(model).of("nowhere")
    with pytest.raises(InvalidArgument, match=r"keras\.Model"):
        weight_statistics("model")
    model.get_layer("conv").set_weights([np.full((3, 3, 1, 6), np.nan), np.zeros(6)])
    with pytest.raises(InvalidArgument, match="kernel of layer 'conv'"):
        weight_statistics(model)
