from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasnas.errors import InvalidArgument
from kerasnas.explain import weight_statistics
from kerasnas.explain.model.gini import gini
from kerasnas.explain.model.interpretability import Interpretability, interpretability

layers = keras.layers


def conv(x):
    return layers.Conv2D(2, 1)(x)


def classifier(body):
    inputs = keras.Input((4, 4, 2))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(body(inputs))))


def chain(x):
    return conv(conv(x))


def diamond(x):
    x = conv(x)
    return layers.Concatenate()([conv(x), conv(layers.ReLU()(conv(x)))])


def residual(x):
    x = conv(x)
    return layers.Add()([x, conv(conv(x))])


def three_residuals(x):
    for _ in range(3):
        x = conv(x) + x
    return x


def nested(x):
    inner = keras.Input((4, 4, 2))
    return keras.Model(inner, residual(inner))(conv(x))


def dense_block(x):
    for _ in range(2):
        x = layers.Concatenate()([x, conv(x)])
    return x


# depth, paths, branches, merges, skips, unique operators
STRUCTURES = {
    "chain": (chain, 3, 1, 0, 0, 0, 3),
    "diamond": (diamond, 4, 2, 1, 1, 0, 5),
    "residual": (residual, 4, 2, 1, 1, 1, 4),
    "three residuals": (three_residuals, 4, 8, 3, 3, 3, 4),
    "nested": (nested, 5, 2, 1, 1, 1, 4),
    "dense block": (dense_block, 3, 4, 2, 2, 2, 4),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_of_graphs_drawn_by_hand(name):
    body, *expected = STRUCTURES[name]
    found = interpretability(classifier(body))
    measures = ("depth_layers", "paths_count", "branches_count", "merges_count", "skips_count", "unique_operators_count")
    assert [found[measure] for measure in measures] == expected


def test_a_sequential_model_with_a_sigmoid_unit():
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(1, activation="sigmoid")])
    found = interpretability(model)
    assert (found["depth_layers"], found["paths_count"], found["skips_count"]) == (1, 1, 0)
    assert (found["parameters_count"], found["macs_count"]) == (17, 16)


def test_a_value_that_is_taken_twice_is_one_connection():
    found = interpretability(classifier(lambda x: layers.Multiply()([conv(x)] * 2)))
    assert (found["paths_count"], found["merges_count"], found["branches_count"]) == (1, 0, 0)


def test_what_no_output_depends_on_is_not_counted():
    inputs = keras.Input((4, 4, 2))
    inner = keras.Input((4, 4, 2))
    two = keras.Model(inner, [conv(inner), layers.ReLU()(conv(conv(inner)))])
    model = keras.Model(inputs, two(inputs)[0])
    found = interpretability(model)
    assert (found["depth_layers"], found["branches_count"], found["unique_operators_count"]) == (1, 0, 1)


def test_parameters_are_aggregated_over_the_kernels():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")])
    rank_one = np.outer([1, 1, 0, 0], [1, 2]).astype("float32")
    model.get_layer("a").set_weights([np.eye(4, dtype="float32"), np.full(4, 9, "float32")])
    model.get_layer("b").set_weights([rank_one, np.zeros(2, "float32")])
    found = interpretability(model)
    assert found["kernel_stable_rank_mean"] == pytest.approx((4 + 1) / 2)
    assert found["kernel_zeros_share"] == (12 + 4) / 24
    assert found["kernel_norm"] == pytest.approx(np.sqrt(4 + 10))
    # Twelve zeros and four ones: kurtosis of a Bernoulli variable with p = 1/4.
    p, row = 0.25, rank_one.ravel().astype(float)
    other = ((row - row.mean()) ** 4).mean() / row.var() ** 2 - 3
    assert found["kernel_kurtosis_mean"] == pytest.approx(((1 - 6 * p * (1 - p)) / (p * (1 - p)) + other) / 2)


def test_biases_of_attention_and_slopes_are_no_kernels():
    inputs = keras.Input((4, 6))
    x = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = keras.layers.PReLU()(keras.layers.LSTM(3)(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    rows = [row for row in weight_statistics(model).rows if row.part.rpartition("/")[2] in ("kernel", "recurrent_kernel")]
    assert len(rows) == 4 + 2 + 1
    found = interpretability(model)
    assert found["kernel_zeros_share"] == 0  # of the biases all are zero
    assert found["kernel_norm"] == pytest.approx(np.sqrt(sum(row.frobenius_norm**2 for row in rows)))
    assert found["depth_layers"] == 3  # attention, LSTM, Dense
    words = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(5, 2), keras.layers.Flatten(), keras.layers.PReLU()])
    assert interpretability(words)["depth_layers"] == 1


def test_a_kernel_of_a_layer_of_ones_own_need_not_be_named():
    class Own(layers.Layer):
        def build(self, shape):
            self.w, self.b = self.add_weight(shape=(shape[-1], 4)), self.add_weight(shape=(4,))

        def call(self, x):
            return x @ self.w + self.b

    found = interpretability(keras.Sequential([keras.Input((3,)), own := Own()]))
    assert found["depth_layers"] == 1
    assert found["kernel_norm"] == pytest.approx(np.linalg.norm(own.w.numpy()))


def test_a_model_without_kernels_has_no_number_for_them():
    found = interpretability(keras.Sequential([keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D()]))
    assert found["depth_layers"] == found["macs_count"] == 0
    assert np.isnan(found["kernel_norm"])
    assert np.isnan(found["kernel_zeros_share"])


def test_sparseness_of_maps():
    one, even = np.zeros((2, 3, 4)), np.ones((2, 3, 4))
    one[0, 1, 2] = -5  # the second map is zero and left out
    maps = [SimpleNamespace(values=one, method="grad_cam"), SimpleNamespace(values=even, method="grad_cam")]
    found = interpretability(classifier(chain), attributions=[*maps, SimpleNamespace(values=0 * one)])
    assert found["grad_cam_gini_mean"] == pytest.approx(1 - 1 / 12)
    assert found["grad_cam_gini_mean_2"] == 0
    assert np.isnan(found["attribution_gini_mean"])


def test_the_maps_of_a_method(cnn, rng):
    from kerasnas.explain import grad_cam

    found = interpretability(cnn(), attributions=[grad_cam(cnn(), rng.normal(size=(2, 12, 12, 3)), target=1)])
    assert 0 < found["grad_cam_gini_mean"] < 1
    assert "grad_cam_mu_fidelity_mean" in found


def test_stable_maps_and_maps_that_follow_the_noise(rng):
    """The gradient of a linear score is its weight wherever it is taken; that of a steep wave is another one nearby."""
    from kerasnas.explain import vanilla_gradients

    images = rng.random((8, 10, 10, 1)).astype("float32")
    found = []
    for wave, weights in ((lambda x: x, "glorot_uniform"), (lambda x: keras.ops.sin(1000 * x), "ones")):
        inputs = keras.Input((10, 10, 1))
        outputs = keras.layers.Dense(3, kernel_initializer=weights)(keras.layers.Flatten()(wave(inputs)))
        model = keras.Model(inputs, outputs)
        maps = vanilla_gradients(model, images, target=0)
        found.append(interpretability(model, attributions=[maps])["vanilla_gradients_stability_mean"])
    assert found[0] == pytest.approx(1)
    assert abs(found[1]) < 0.3


@given(st.lists(st.just(0.0) | st.floats(1e-290, 1e300), min_size=1).filter(any), st.floats(0.1, 10), st.integers(1, 4))
def test_gini_is_bounded_and_blind_to_scale_repeats_and_order(values, scale, repeats):
    values = np.array(values)
    index = gini(values)
    assert 0 <= index <= 1 - 1 / values.size + 1e-12
    assert gini(np.tile(-values[::-1] / scale, repeats)) == pytest.approx(index, abs=1e-9)
    mean = values / values.max()
    by_pairs = np.abs(mean[:, None] - mean).mean() / (2 * mean.mean())  # the definition by differences of all pairs
    assert index == pytest.approx(by_pairs, abs=1e-9)


def test_the_result_is_a_frozen_mapping(cnn):
    found = interpretability(cnn())
    assert isinstance(found, Interpretability)
    assert dict(found) == {name: found[name] for name in found}
    assert all(type(value) is float for value in found.values())
    assert found.to_dataframe()["value"].tolist() == list(found.values())
    assert "depth_layers=4" in repr(found)
    with pytest.raises(TypeError):
        found.measures["depth_layers"] = 1


@pytest.mark.parametrize("attributions", [[np.zeros((2, 3))], [SimpleNamespace(values=np.zeros((3, 3)))], [None]])
def test_what_is_refused(attributions):
    with pytest.raises(InvalidArgument, match="batch, height, width"):
        interpretability(classifier(chain), attributions=attributions)
    with pytest.raises(InvalidArgument, match=r"keras\.Model"):
        interpretability(None)
    with pytest.raises(InvalidArgument, match="not all zero"):
        gini(np.zeros(3))


def test_a_map_that_marks_nothing_both_times_is_stable():
    from kerasnas.explain import vanilla_gradients

    model = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(2, kernel_initializer="zeros")]
    )
    maps = vanilla_gradients(model, np.random.default_rng(0).random((3, 6, 6, 1)), target=0)
    assert maps.blank.all()
    assert interpretability(model, attributions=[maps])["vanilla_gradients_stability_mean"] == 1
